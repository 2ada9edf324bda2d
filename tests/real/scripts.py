"""What tests of real scripts share: a folder with a script in it, and the command typed there."""

import hashlib

from sweeper.core.folder import StudyFolder
from tests.support import run_sweeper

QUICK = (
    "hydra/sweeper=optuna",
    "space=none",
    "measure=quick",
    "measure.max_warmup_steps=1",
    "measure.max_steps=3",
    "measure.breakdown_steps=0",
    "hydra.sweeper.finalists=0",
    "hydra.sweep.dir=../study",
)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tune(folder, arguments, *more, script="train.py", **environment):
    """The command, typed in the script's own folder; its files must be what they were."""
    before = hashes(folder)
    done = run_sweeper(
        f"+script={script}",
        f"script.args='{arguments}'",
        *QUICK,
        *more,
        cwd=folder,
        timeout=600,
        **environment,
    )
    assert before == hashes(folder), "the script's files are not touched"
    return done, StudyFolder(folder.parent / "study")
