"""Studies whose winner's configuration is what a user might have written."""

from pathlib import Path
from typing import Any

from sweeper.core.files import read_json, write_json, write_text
from sweeper.core.folder import StudyFolder
from tests.support import ds_config_of, measured, trial_of

SETTINGS = {
    "zero.stage": 2,
    "hardware.ranks": 2,
    "batch.micro_size": 2,
    "workload.global_batch_size": 8,
}
# Of these settings on two ranks.
SIZES = {
    "train_batch_size": 8,
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
}
ADAM = {"type": "Adam", "params": {"lr": 0.001, "torch_adam": True}}


def study_of_script(
    path: Path, config: Any, *, facts: dict[str, Any] | None = None, **changes: Any
) -> StudyFolder:
    """``config`` is that of its winner, trial 1, whose settings are ``SETTINGS`` but for ``changes``."""
    folder = StudyFolder(path / "study")
    script = {
        "script.path": str(path / "train.py"),
        "script.folder": str(path),
        "script.args": "--deepspeed ds.json",
    }
    for number, rate in enumerate((100.0, 200.0)):
        trial = trial_of(number, measured(rate), **(SETTINGS | changes))
        own = folder.trial(number)
        write_json(own.trial, trial.to_json())
        document = read_json(own.trial)
        document["settings"] |= script
        write_json(own.trial, document)
        write_json(own.ds_config, config if number else ds_config_of(trial))
        write_text(own.command, "python -m sweeper.worker spec.json\n")
    seen = {"framework": None, "config_file": "ds.json", "config_in_code": False}
    write_json(folder.script, {"notes": [], "facts": {**seen, **(facts or {})}})
    return folder
