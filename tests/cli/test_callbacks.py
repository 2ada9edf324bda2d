import pytest

from tests.support import run_sweeper


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["callbacks=mlfow", "hydra/sweeper=optuna"], "callbacks=mlfow: allowed are mlflow, none,"),
        (["callbacks=mlflow"], "callbacks follow a study; type hydra/sweeper=optuna too"),
        (["-m", "callbacks=mlflow", "zero=stage1,stage2"], "callbacks follow a study"),
        (
            ["callbacks=mlflow,wandb", "hydra/sweeper=optuna"],
            "type 'callbacks=[tensorboard,mlflow]'",
        ),
        (
            ["callbacks.mlflow.experiment=x", "hydra/sweeper=optuna"],
            "callbacks.mlflow: no callback of this name was chosen",
        ),
    ],
)
def test_a_mistyped_callback_is_one_line_before_anything_is_written(tmp_path, arguments, said):
    done = run_sweeper(*arguments, "+model=gpt2-nano", cwd=tmp_path)
    assert 2 == done.returncode
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "results").exists()
