import pytest

from tests.support import run_sweeper


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["hydra/sweeper=basic"],
        ["-m", "zero=stage1,stage2"],
        ["hydra/sweeper=optuna", "hydra/sweeper=basic"],
        ["hydra/sweeper=optuna", "hydra.mode=RUN"],
    ],
    ids=" ".join,
)
def test_a_script_without_a_study_is_told_what_to_type_before_anything_is_written(
    tmp_path, arguments
):
    (tmp_path / "train.py").write_text("import deepspeed\n")
    done = run_sweeper(*arguments, "+script=train.py", cwd=tmp_path)
    assert 2 == done.returncode
    (line,) = done.stderr.splitlines()
    assert "a script is tuned by a study" in line
    assert line.endswith("hydra/sweeper=optuna")
    assert ["train.py"] == [path.name for path in tmp_path.iterdir()]
