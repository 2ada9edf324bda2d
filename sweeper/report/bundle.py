"""``best/``: the winner, ready to be taken elsewhere."""

from __future__ import annotations

import shutil
from typing import Any

import yaml

from sweeper.core.exported import exported_settings
from sweeper.core.folder import StudyFolder, read_json, write_json, write_text
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.report.launch_script import launch_script
from sweeper.report.markdown import not_in_the_json
from sweeper.report.verdict import verdict

_SETTINGS_HEAD = """\
# What ds_config.json cannot carry of the winner; sweeper.best.prepare and launch.sh apply it.
"""


def write_bundle(folder: StudyFolder, how: Standing) -> None:
    """Replaces what an earlier report left there; without a winner there is no bundle."""
    best = how.winner
    shutil.rmtree(folder.best, ignore_errors=True)
    if best is None:
        return
    trial_folder, bundle = folder.trial(best.number), folder.bundle
    spec = read_json(trial_folder.spec) or {}
    settings = exported_settings(best.settings, ops=spec.get("ops", ()))
    write_json(bundle.ds_config, read_json(trial_folder.ds_config))
    write_text(
        bundle.settings,
        _SETTINGS_HEAD + yaml.safe_dump(settings, sort_keys=False, default_flow_style=False),
    )
    title = f"trial {best.number} of {folder.path.name}"
    write_text(bundle.launch, launch_script(settings, title=title))
    bundle.launch.chmod(0o755)
    write_text(bundle.readme, _readme(folder, how, best, settings))


def _use_with_its_script(best: Trial) -> list[str]:
    """A script takes the file in the place of its own, and what a file cannot say as arguments."""
    given = best.settings
    micro_size, ranks = given["batch.micro_size"], given["hardware.ranks"]
    steps = given["workload.global_batch_size"] // (micro_size * ranks)
    checkpointing = "on" if given["checkpointing.every_nth_block"] else "off"
    return [
        f"Give `{given['script.path']}` this folder's `ds_config.json` in the place of its own "
        "configuration, and start it with `./launch.sh`. What it sets itself must agree:",
        "",
        f"* micro-batch size {micro_size}, gradient accumulation {steps}, precision "
        f"{given['precision.mode']}, activation checkpointing {checkpointing};",
        f"* for a Trainer: `--per_device_train_batch_size {micro_size} --gradient_accumulation_steps "
        f"{steps}{_trainers_precision(str(given['precision.mode']))}"
        f"{' --gradient_checkpointing' if checkpointing == 'on' else ''}`;",
        f"* for an Accelerator: `gradient_accumulation_steps={steps}`.",
    ]


def _trainers_precision(mode: str) -> str:
    return f" --{mode}" if mode in ("bf16", "fp16") else ""


def _readme(folder: StudyFolder, how: Standing, best: Trial, settings: dict[str, Any]) -> str:
    hardware, parallel = settings["hardware"], settings["parallel"]
    missing = not_in_the_json(best)
    shared = parallel["tensor"] * parallel["sequence"]
    lines = [
        f"# {folder.path.name}: the fastest configuration",
        "",
        f"* {verdict(how)}.",
        f"* For {hardware['ranks']} {hardware['accelerator']} rank(s) and a global "
        f"batch of {best.settings['workload.global_batch_size']}.",
        f"* Measured by the command in `../trials/{best.number:04d}/command.txt`.",
        "",
        "## Use it",
        "",
    ]
    if best.settings.get("script.path"):
        return "\n".join([*lines, *_use_with_its_script(best), ""])
    lines += [
        "Two lines in the training script, in the place of `deepspeed.initialize`:",
        "",
        "```python",
        "from sweeper.best import prepare",
        'engine = prepare("best", model)  # this folder',
        "```",
        "",
        "and `./launch.sh train.py ...` in the place of `deepspeed train.py ...`. A script ends with "
        "`torch.distributed.destroy_process_group()`: without it a rank may abort at its exit.",
        "",
    ]
    if parallel["pipeline"] > 1:
        lines += [
            "The model is one of `sweeper.models`, or a `deepspeed.pipe.PipelineModule` of "
            f"{parallel['pipeline']} stages; a step is `engine.train_batch(iterator)`.",
            "",
        ]
    elif shared > 1:
        lines += [
            f"Each {shared} neighbouring ranks share their samples: give rank r the batches of data "
            f"rank r // {shared}, of {hardware['ranks'] // shared}. A step is `engine(batch)`, "
            "`engine.backward(loss)`, `engine.step()`.",
            "",
        ]
    lines += [
        "Without this package: give `ds_config.json` to `deepspeed.initialize(config=...)` as it is. "
        + (missing or "It carries everything that the winner trains with."),
        "",
    ]
    return "\n".join(lines)
