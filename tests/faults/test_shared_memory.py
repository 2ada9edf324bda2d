import mmap
import os
import time

from sweeper.run.shared_memory import clear_shared_memory

NAMES = (
    "deepspeed_allreduce_buffer_0_127.0.0.1_29500_0",
    "deepspeed_allreduce_buffer_0_127.0.0.1_29501_0",
    "somebody_elses",
)


def segments(folder, *, age_seconds):
    paths = [folder / name for name in NAMES]
    for path in paths:
        path.write_bytes(bytes(4096))
        then = time.time() - age_seconds
        os.utime(path, (then, then))
    return paths


def test_an_old_segment_that_nobody_maps_is_removed_and_one_in_use_stays(tmp_path):
    left, used, other = segments(tmp_path, age_seconds=3600)
    with used.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert [left] == clear_shared_memory(tmp_path)
        assert {used, other} == set(tmp_path.iterdir())
    assert [used] == clear_shared_memory(tmp_path)


def test_a_new_segment_belongs_to_ranks_that_are_starting_unless_their_run_has_ended(tmp_path):
    ended, starting, other = segments(tmp_path, age_seconds=0)
    assert [] == clear_shared_memory(tmp_path)
    assert [ended] == clear_shared_memory(tmp_path, port="29500")
    assert {starting, other} == set(tmp_path.iterdir())
