"""``--local_rank`` for a script that parses it, as DeepSpeed's launcher gives it."""

import argparse
import sys

import pytest

from sweeper.worker.script.local_rank import LocalRank


@pytest.fixture
def local_rank(monkeypatch):
    monkeypatch.setattr(
        argparse.ArgumentParser, "parse_known_args", argparse.ArgumentParser.parse_known_args
    )
    monkeypatch.setattr(sys, "argv", ["train.py", "--epochs", "2"])
    made = LocalRank("1")
    made.patch_argparse()
    return made


def parser(*spellings):
    made = argparse.ArgumentParser()
    made.add_argument("--epochs", type=int)
    if spellings:
        made.add_argument(*spellings, type=int, default=-1, dest="local_rank")
    return made


@pytest.mark.parametrize(
    ("spellings", "option"),
    [
        (["--local_rank"], "--local_rank"),
        (["--local-rank"], "--local-rank"),
        (["--local-rank", "--local_rank"], "--local_rank"),
    ],
)
def test_a_parser_that_asks_for_it_gets_this_ranks(local_rank, spellings, option):
    args = parser(*spellings).parse_args()
    assert (1, 2, option) == (args.local_rank, args.epochs, local_rank.option)


def test_a_command_line_that_is_handed_on_is_the_scripts_too(local_rank):
    assert 1 == parser("--local_rank").parse_known_args(sys.argv[1:])[0].local_rank


def test_a_parser_that_does_not_ask_gets_nothing(local_rank):
    assert {"epochs": 2} == vars(parser().parse_args())
    assert local_rank.option is None


@pytest.mark.parametrize("given", [["--local_rank", "5"], ["--local_rank=5"]])
def test_what_is_typed_stays(local_rank, monkeypatch, given):
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    assert 5 == parser("--local_rank").parse_args().local_rank
    assert local_rank.option is None


def test_what_is_not_the_command_line_is_parsed_as_it_is(local_rank):
    assert -1 == parser("--local_rank").parse_args(["--epochs", "3"]).local_rank
    assert local_rank.option is None
