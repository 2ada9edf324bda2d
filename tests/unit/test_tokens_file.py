import numpy as np
import pytest

from sweeper.errors import UsageError
from sweeper.run.tokens_file import check_tokens_file
from tests.support import nano


def looked_at(path, length=32):
    check_tokens_file(
        nano(**{"workload.tokens_file": str(path), "workload.sequence_length": length})
    )


def test_whole_files_of_enough_tokens_are_taken(tmp_path):
    np.arange(33, dtype=np.uint16).tofile(tmp_path / "a.bin")
    np.save(tmp_path / "b.npy", np.zeros(33, dtype=np.int64))
    np.save(tmp_path / "c.npy", np.zeros((3, 11), dtype=np.uint8))
    for name in ("a.bin", "b.npy", "c.npy"):
        looked_at(tmp_path / name)
    check_tokens_file(nano())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.bin", None, "No such file or directory"),
        ("odd.bin", b"abc", "has 3 bytes, and a token is 2"),
        ("short.bin", b"ab" * 10, "holds 10 tokens, fewer than one sample of 33"),
        ("empty.bin", b"", "holds 0 tokens"),
        ("text.npy", b"not an array at all", "is no .npy array"),
        ("tiny.npy", b"\x93NUMPY", "is no .npy array"),
        ("floats.npy", np.zeros(99), "token ids are whole numbers"),
        ("objects.npy", np.array([{}], dtype=object), "token ids are whole numbers|plain numbers"),
    ],
)
def test_a_file_that_no_trial_could_read_is_refused_with_what_to_type(
    tmp_path, name, content, said
):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UsageError, match=said) as error:
        looked_at(path)
    assert f"workload.tokens_file={path}" in str(error.value)
    assert "type workload." in str(error.value)


def test_an_array_that_was_cut_is_refused(tmp_path):
    path = tmp_path / "cut.npy"
    np.save(path, np.zeros(1000, dtype=np.int32))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UsageError, match="is not whole"):
        looked_at(path)


def test_a_folder_is_no_file_of_tokens(tmp_path):
    with pytest.raises(UsageError, match="Is a directory"):
        looked_at(tmp_path)
