import mmap

from sweeper.run.shared_memory import clear_shared_memory


def test_a_segment_that_nobody_maps_is_removed_and_one_in_use_stays(tmp_path):
    left, used, other = (
        tmp_path / name
        for name in (
            "deepspeed_allreduce_buffer_0_127.0.0.1_29500_0",
            "deepspeed_allreduce_buffer_0_127.0.0.1_29501_0",
            "somebody_elses",
        )
    )
    for path in (left, used, other):
        path.write_bytes(bytes(4096))
    with used.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert [left] == clear_shared_memory(tmp_path)
        assert {used, other} == set(tmp_path.iterdir())
    assert [used] == clear_shared_memory(tmp_path)
