"""What a rank's result says of an exception, whatever the exception does when it is asked."""

import json

import pytest

from sweeper.worker.failures import chain, failure


class Silent(Exception):
    def __str__(self):
        raise ValueError("no words")


class Leaving(Exception):
    @property
    def __cause__(self):
        raise ValueError("no cause")

    def __str__(self):
        raise SystemExit(4)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no data\nmore"), "RuntimeError: no data"),
        (RuntimeError(), "RuntimeError: RuntimeError"),
        (Silent(), "Silent: its text cannot be had (ValueError)"),
        (Leaving(), "Leaving: its text cannot be had (SystemExit)"),
        (RuntimeError("\udcff"), r"RuntimeError: \udcff"),
        (RuntimeError("x" * 2**20), f"RuntimeError: {'x' * 500}..."),
        (
            KeyError(
                "Caught KeyError\nOriginal Traceback (most recent call last):\n  x\nKeyError: 'col'\n"
            ),
            "KeyError: ",
        ),
    ],
)
def test_any_exception_is_told_in_a_line_that_a_file_takes(error, reason):
    told = failure(error, phase="script", limited=False)
    assert told["reason"].startswith(reason)
    assert len(told["reason"].splitlines()) == 1
    json.dumps(told).encode()
    told["evidence"].encode()


def test_what_a_process_of_a_data_loader_raised_is_told_by_its_last_line():
    text = (
        "Caught OSError\nOriginal Traceback (most recent call last):\n  x\nOSError: no such image\n"
    )
    told = failure(OSError(text), phase="script", limited=False)
    assert told["reason"] == "OSError: OSError: no such image (in a process of its data loader)"


def test_a_chain_that_bites_its_tail_ends():
    error = RuntimeError("one")
    error.__cause__ = other = RuntimeError("two")
    other.__cause__ = error
    assert [error, other] == list(chain(error))
