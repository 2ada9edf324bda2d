"""The files of an exported winner: ``best/``, and what ``export`` writes elsewhere."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sweeper.core.ds_config_variants import (
    accelerate_variant,
    lightning_variant,
    publishable,
    trainer_variant,
)
from sweeper.core.export_formats import FORMATS, Format, refusal
from sweeper.core.exported import exported_settings
from sweeper.core.files import read_json, write_text
from sweeper.core.folder import BundleFolder, StudyFolder
from sweeper.core.framework_arguments import (
    accelerate_config,
    axolotl_lines,
    llamafactory_lines,
    trainer_arguments,
)
from sweeper.core.standing import Standing
from sweeper.core.start import script_facts
from sweeper.core.trial import Trial
from sweeper.errors import UsageError
from sweeper.report.carried import not_found, not_in_the_json
from sweeper.report.export_readme import Winner, export_readme
from sweeper.report.launch_script import deepspeed_script, slurm_script, torchrun_script
from sweeper.report.verdict import verdict


def write_bundle(folder: StudyFolder, how: Standing) -> None:
    """Every format that can carry the winner, in the place of what an earlier report left there.

    Without a winner there is no bundle.
    """
    shutil.rmtree(folder.best, ignore_errors=True)
    if how.winner is not None:
        winner = winner_of(folder, how.winner)
        write_files(export_files(folder, how, winner, folder.best, [*FORMATS.values()]))


def winner_of(folder: StudyFolder, trial: Trial) -> Winner:
    """What is exported of a trial. Raises UsageError where its folder has lost it."""
    trial_folder = folder.trial(trial.number)
    config = read_json(trial_folder.ds_config)
    if config is None:
        raise UsageError(
            f"{trial_folder.ds_config}: missing or damaged, so there is nothing to export; "
            "type python -m sweeper +model=... hydra/sweeper=optuna for a new study"
        )
    spec = read_json(trial_folder.spec) or {}
    return Winner(
        trial=trial,
        config=publishable(config, temporary=tempfile.gettempdir()),
        settings=exported_settings(trial.settings, ops=spec.get("ops", ())),
        command=_text_of(trial_folder.command),
        seen=script_facts(folder),
    )


def export_files(
    folder: StudyFolder, how: Standing, winner: Winner, target: Path, formats: Sequence[Format]
) -> dict[Path, str]:
    """What is to stand in ``target``: the files of ``formats`` that can carry the winner, and a README."""
    bundle = BundleFolder(target)
    refused = {f.name: why for f in formats if (why := refusal(f, winner.settings))}
    carrying = [f for f in formats if f.name not in refused]
    files: dict[Path, str] = {}
    for form in carrying:
        files |= _files(form.name, winner, bundle)
    files[bundle.readme] = export_readme(
        winner,
        bundle,
        carrying,
        refused,
        title=folder.path.resolve().name,
        verdict=verdict(how),
        missing=not_in_the_json(winner.trial, place=target.name),
        given=not_found(winner.config, how.trials),
    )
    return files


def write_files(files: Mapping[Path, str]) -> None:
    """Each with its text; scripts can be run."""
    for path, text in files.items():
        write_text(path, text)
        if path.suffix == ".sh":
            path.chmod(0o755)


def _files(name: str, winner: Winner, bundle: BundleFolder) -> dict[Path, str]:
    config, settings = winner.config, winner.settings
    local_rank = winner.seen.get("local_rank_option")
    trainer = {bundle.trainer_ds_config: _json(trainer_variant(config))}
    trainer_path = str(bundle.trainer_ds_config.resolve())
    match name:
        case "native":
            return {
                bundle.ds_config: _json(config),
                bundle.settings: _yaml(settings),
                bundle.launch: deepspeed_script(settings, local_rank),
            }
        case "deepspeed":
            return {bundle.launch: deepspeed_script(settings, local_rank)}
        case "torchrun":
            return {bundle.launch_torchrun: torchrun_script(settings, local_rank)}
        case "slurm":
            return {bundle.launch_slurm: slurm_script(settings, local_rank)}
        case "hf":
            arguments = trainer_arguments(config, settings)
            return {
                **trainer,
                bundle.trainer_arguments: _command_line(arguments),
                bundle.launch: deepspeed_script(settings, local_rank),
            }
        case "axolotl":
            lines = axolotl_lines(config, settings, ds_config=trainer_path)
            return {**trainer, bundle.axolotl: _yaml(lines)}
        case "llamafactory":
            lines = llamafactory_lines(config, settings, ds_config=trainer_path)
            return {**trainer, bundle.llamafactory: _yaml(lines)}
        case "accelerate":
            path = bundle.accelerate_ds_config
            launched = accelerate_config(config, settings, ds_config=str(path.resolve()))
            return {path: _json(accelerate_variant(config)), bundle.accelerate: _yaml(launched)}
        case "lightning":
            return {bundle.lightning_ds_config: _json(lightning_variant(config))}
    raise AssertionError(name)


def _command_line(arguments: Mapping[str, Any]) -> str:
    """One argument a line, without a blank in a value: a shell takes ``$(cat file)`` apart at blanks."""
    return "".join(f"--{name} {_word(value)}\n" for name, value in arguments.items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _json(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=False)


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
