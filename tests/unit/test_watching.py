"""What is read of a trial's ranks while they run."""

import os

import psutil

from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.run.watching import WATCH_SECONDS, Watch
from sweeper.worker.progress import Progress


def looked(tmp_path, *progress, times=(100.0,)):
    folder, seen = TrialFolder(tmp_path), []
    for rank, document in enumerate(progress):
        if document is not None:
            write_json(folder.progress(rank), document)
    watch = Watch(folder, max(len(progress), 1), seen.append)
    for now in times:
        watch.look(now)
    return seen


def test_rank_0s_progress_comes_with_the_fullest_ranks_memory(tmp_path):
    (seen,) = looked(
        tmp_path, {"phase": "measure", "device_bytes": 5}, {"phase": "warm-up", "device_bytes": 7}
    )
    assert ("measure", 7) == (seen["phase"], seen["memory_bytes"])


def test_on_the_cpu_memory_is_what_the_rank_has_resident_with_the_pages_it_did_not_touch(tmp_path):
    more = 10 * 2**30
    (seen,) = looked(tmp_path, {"phase": "build", "pid": os.getpid(), "unmapped_bytes": more})
    resident = psutil.Process().memory_info().rss
    assert 0.5 * resident < seen["memory_bytes"] - more < 2 * resident


def test_a_rank_that_is_gone_or_says_nothing_has_no_memory(tmp_path):
    (seen,) = looked(tmp_path, {"phase": "end", "pid": 2**22 + 1}, {"phase": "end"}, None)
    assert seen["memory_bytes"] is None


def test_nothing_is_told_before_rank_0_has_written(tmp_path):
    assert [] == looked(tmp_path, None)


def test_however_often_it_is_called_it_looks_twice_a_second(tmp_path):
    times = [100.0 + 0.01 * n for n in range(200)]
    seen = looked(tmp_path, {"phase": "measure"}, times=times)
    assert 2.0 / WATCH_SECONDS == len(seen)


def test_a_rank_writes_what_its_memory_can_be_told_from(tmp_path):
    folder, seen = TrialFolder(tmp_path), []
    progress = Progress(folder.progress(0))
    progress.enter("build")
    progress.device_bytes = 123
    progress.step(2, 5)
    Watch(folder, 1, seen.append).look(1.0)
    assert ("build", 2, 5, 123) == tuple(
        seen[0][n] for n in ("phase", "step", "of", "memory_bytes")
    )
