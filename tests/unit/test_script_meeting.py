"""Where ranks meet, and what a script that thinks otherwise is told."""

import pytest

pytest.importorskip("torch")

from sweeper.worker.script.children import why_not_timed
from sweeper.worker.script.meeting import contradiction, met_at

STARTED = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4000"}


@pytest.mark.parametrize(
    ("now", "arguments"),
    [
        ({}, {}),
        ({"MASTER_PORT": "29500", "MASTER_ADDR": "localhost"}, {}),
        ({"LOCAL_RANK": "0"}, {"rank": -1, "world_size": -1}),
        ({"WORLD_SIZE": "1"}, {"world_size": 2, "rank": 1}),
    ],
)
def test_a_rank_that_is_what_it_was_started_as_goes_on(now, arguments):
    assert "" == contradiction(STARTED, {**STARTED, **now}, arguments)


@pytest.mark.parametrize(
    ("now", "arguments", "said"),
    [
        (
            {"WORLD_SIZE": "1"},
            {},
            "sets WORLD_SIZE to 1, where this process was started with WORLD_SIZE=2",
        ),
        ({"RANK": "0"}, {}, "sets RANK to 0, where this process was started with RANK=1"),
        ({}, {"world_size": 4}, "calls init_process_group with world_size = 4"),
    ],
)
def test_a_rank_that_is_another_is_told_which_variable_says_so(now, arguments, said):
    assert contradiction(STARTED, {**STARTED, **now}, arguments).startswith(said)


@pytest.mark.parametrize(
    ("method", "place"),
    [
        (None, None),
        ("env://", None),
        ("tcp://10.0.0.1:29500", "tcp://127.0.0.1:4000"),
        ("tcp://localhost:29500?rank=0&world_size=2", "tcp://127.0.0.1:4000?rank=0&world_size=2"),
        ("file:///tmp/meeting", "tcp://127.0.0.1:4000"),
    ],
)
def test_a_place_of_the_scripts_own_gives_way_to_the_trials(method, place):
    assert place == met_at(STARTED, method)


def test_workers_of_another_file_are_told_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = why_not_timed("launch.py", "there it trains", str(tmp_path / "a" / "worker.py"), "4")
    assert "type +script=a/worker.py hardware.ranks=4, its arguments in script.args" in line
    assert "hardware.ranks" in why_not_timed("train.py", "there it trains", None, "4")
