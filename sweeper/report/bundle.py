"""The files of an exported winner: ``best/``, and what ``export`` writes elsewhere."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from sweeper.core.files import read_json, read_text, remove, write_bytes, write_text
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
from sweeper.core.whole_config import section
from sweeper.errors import UsageError
from sweeper.report.carried import added, left_on, not_found, not_in_the_json
from sweeper.report.export_readme import Winner, export_readme, format_section, script_section
from sweeper.report.failures import Failures
from sweeper.report.launch_script import deepspeed_script, slurm_script, torchrun_script
from sweeper.report.verdict import verdict
from sweeper.run.kept import ds_config_of, ops_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """``files`` are by their path; ``left`` says of a format why it is not among them.

    ``carried`` are sentences on what its ds_config.json holds beside what the study found.
    """

    files: Mapping[Path, str]
    left: Mapping[str, str] = field(default_factory=dict)
    carried: Sequence[str] = ()


def bundle_of(folder: StudyFolder, how: Standing, failures: Failures) -> Export:
    """What is to stand in ``best/``; nothing without a winner, or where its own files are lost."""
    if how.winner is None:
        return Export(files={})
    trial, formats = how.winner, [*FORMATS.values()]
    return failures.attempt(
        "best/",
        lambda: made_export(folder, how, winner_of(folder, trial), folder.best, formats, failures),
        Export(files={}),
    )


def write_bundle(folder: StudyFolder, export: Export, failures: Failures) -> None:
    """In the place of what an earlier report left there."""
    remove(folder.best)
    failures.attempt("best/", lambda: write_files(export.files), None)


def winner_of(folder: StudyFolder, trial: Trial) -> Winner:
    """What is exported of a trial. Raises UsageError where its folder has lost it."""
    trial_folder = folder.trial(trial.number)
    config = ds_config_of(folder, trial)
    if config is None:
        raise UsageError(
            f"{trial_folder.ds_config}: missing or damaged, so there is nothing to export; "
            "type python -m sweeper +model=... hydra/sweeper=optuna for a new study"
        )
    seen = script_facts(folder)
    return Winner(
        trial=trial,
        config=publishable(config, temporary=tempfile.gettempdir()),
        settings=exported_settings(trial.settings, ops=ops_of(folder, trial)),
        command=read_text(trial_folder.command),
        seen=seen,
        own=section(seen, "config") or section(read_json(folder.trial(0).ds_config)),
    )


def made_export(
    folder: StudyFolder,
    how: Standing,
    winner: Winner,
    target: Path,
    formats: Sequence[Format],
    failures: Failures,
) -> Export:
    """What is to stand in ``target``: the files of ``formats`` that can carry the winner, and a README.

    Each format is made by itself: one that cannot be costs no other.
    """
    bundle = BundleFolder(target)
    left = {f.name: why for f in formats if (why := refusal(f, winner.settings))}
    missing = not_in_the_json(winner.trial, place=target.name)
    files: dict[Path, str] = {}
    sections: dict[str, str] = {}
    for form in formats:
        if form.name in left:
            continue
        what = f"export {form.name}"
        make = functools.partial(_made, form, winner, bundle, missing)
        made = failures.attempt(what, make, None)
        if made is None:
            left[form.name] = str(failures.why(what))
        else:
            files |= made[0]
            sections[form.name] = made[1]
    carried: tuple[str, ...] = ()
    carried = failures.attempt("what the JSON carries", lambda: _carried(winner, how), carried)
    readme = failures.attempt(
        f"{target.name}/{bundle.readme.name}",
        lambda: export_readme(
            winner,
            sections,
            left,
            title=folder.path.resolve().name,
            verdict=verdict(how),
            carried=carried,
            start=script_section(winner, bundle, files),
        ),
        None,
    )
    if readme is not None:
        files[bundle.readme] = readme
    return Export(files=files, left=left, carried=carried)


def _made(
    form: Format, winner: Winner, bundle: BundleFolder, missing: str
) -> tuple[dict[Path, str], str]:
    return _files(form, winner, bundle), format_section(form, winner, bundle, missing=missing)


def _carried(winner: Winner, how: Standing) -> tuple[str, ...]:
    said = [not_found(winner.config, how.trials)]
    if winner.is_of_a_script:
        said += [added(winner.config, winner.own), left_on(winner.config)]
    return tuple(filter(None, said))


def write_files(files: Mapping[Path, str]) -> None:
    """Each with its text; scripts can be run."""
    for path, text in files.items():
        if path.suffix == ".sh":
            write_bytes(path, _as_typed(text))
            path.chmod(0o755)
        else:
            write_text(path, text)


def _as_typed(text: str) -> bytes:
    """A shell wants the bytes of a name, also of one that is not UTF-8."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", errors="backslashreplace")


def _files(form: Format, winner: Winner, bundle: BundleFolder) -> dict[Path, str]:
    settings, keeps = winner.settings, winner.keeps_optimizer(form)
    local_rank = winner.seen.get("local_rank_option")
    match form.name:
        case "native":
            return {
                bundle.ds_config: _json(winner.config),
                bundle.settings: _yaml(settings),
                bundle.launch: deepspeed_script(settings, local_rank),
            }
        case "deepspeed":
            return {bundle.launch: deepspeed_script(settings, local_rank)}
        case "torchrun":
            return {bundle.launch_torchrun: torchrun_script(settings, local_rank)}
        case "slurm":
            return {bundle.launch_slurm: slurm_script(settings, local_rank)}
    config = winner.whole
    trainer_path = str(bundle.trainer_ds_config.resolve())
    trainer: dict[Path, str] = {}
    if form.trainer:
        variant = trainer_variant(config, keeps_optimizer=keeps)
        trainer[bundle.trainer_ds_config] = _json(variant)
    match form.name:
        case "hf":
            arguments = trainer_arguments(config, settings, keeps_optimizer=keeps)
            return {
                **trainer,
                bundle.trainer_arguments: _command_line(arguments),
                bundle.launch: deepspeed_script(settings, local_rank),
            }
        case "axolotl":
            lines = axolotl_lines(config, settings, ds_config=trainer_path, keeps_optimizer=keeps)
            return {**trainer, bundle.axolotl: _yaml(lines)}
        case "llamafactory":
            lines = llamafactory_lines(
                config, settings, ds_config=trainer_path, keeps_optimizer=keeps
            )
            return {**trainer, bundle.llamafactory: _yaml(lines)}
        case "accelerate":
            path = bundle.accelerate_ds_config
            launched = accelerate_config(config, settings, ds_config=str(path.resolve()))
            variant = accelerate_variant(config, keeps_optimizer=keeps)
            return {path: _json(variant), bundle.accelerate: _yaml(launched)}
        case "lightning":
            variant = lightning_variant(config, keeps_optimizer=keeps)
            return {bundle.lightning_ds_config: _json(variant)}
    raise AssertionError(form.name)


def _command_line(arguments: Mapping[str, Any]) -> str:
    """One argument a line, without a blank in a value: a shell takes ``$(cat file)`` apart at blanks."""
    return "".join(f"--{name} {_word(value)}\n" for name, value in arguments.items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _json(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=False)
