"""A model of the user's own, in a file where they type."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, environment, run_sweeper

OWN = ("model._target_=my_package.build", "model._batch_=my_package.batch")


@pytest.fixture
def here(tmp_path):
    shutil.copy(ROOT / "examples" / "factory" / "my_package.py", tmp_path)
    return tmp_path


@pytest.mark.parametrize("more", [(), ("hydra/sweeper=optuna",)], ids=["trial", "study"])
def test_a_mistake_is_one_line_before_anything_is_written(here, more):
    finished = run_sweeper(*OWN, *more, cwd=here)
    assert 2 == finished.returncode, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert "the loss of the model is a tensor of float32 (2, 32), no scalar" in line
    assert "docs/models-factory.md" in line
    assert not (here / "results").exists()


def test_an_argument_of_the_factory_is_checked_by_its_source(here):
    finished = run_sweeper(*OWN, "model.width=abc", cwd=here)
    assert 2 == finished.returncode
    assert "model.width=abc: is not a whole number" in finished.stderr


def test_the_memory_model_knows_a_model_in_the_folder_where_one_types(here):
    loss = "model._loss_=my_package.loss"
    finished = run_sweeper("explain", *OWN, loss, "model.layers=3", cwd=here)
    assert 0 == finished.returncode, finished.stderr
    assert "my_package.build" in finished.stdout
    assert "cannot be traced" not in finished.stdout


def test_the_installed_command_looks_there_too(here):
    command = Path(sys.executable).parent / "sweeper"
    arguments = [str(command), "explain", *OWN, "model._loss_=my_package.loss"]
    finished = subprocess.run(
        arguments, cwd=here, env=environment(), capture_output=True, text=True, check=False
    )
    assert 0 == finished.returncode, finished.stderr
    assert "cannot be traced" not in finished.stdout
