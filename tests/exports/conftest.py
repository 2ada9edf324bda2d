import pytest

from sweeper.core.folder import StudyFolder
from tests.support import run_sweeper


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> StudyFolder:
    """A study of two trials on two ranks, each of which accumulates."""
    cwd = tmp_path_factory.mktemp("a user's folder")
    finished = run_sweeper(
        "+model=gpt2-nano", "hydra/sweeper=optuna", "space=none", "measure=quick",
        "zero=stage2", "zero.reduce_bucket_size=1000000", "precision=bf16", "hardware.ranks=2",
        "batch.micro_size=choice(1,2)", "workload.global_batch_size=16",
        "workload.sequence_length=32", "measure.min_warmup_steps=2", "measure.min_steps=4",
        "hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0",
        cwd=cwd, timeout=300,
    )  # fmt: skip
    assert 0 == finished.returncode, finished.stderr
    (folder,) = (cwd / "results").iterdir()
    return StudyFolder(folder)
