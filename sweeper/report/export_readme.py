"""``README.md`` of an export: what each file holds, the line to add, what is left behind, how it was measured."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.core.ds_config_variants import NVME_PATH
from sweeper.core.export_formats import FORMATS, Format, left_out
from sweeper.core.folder import BundleFolder
from sweeper.core.framework_arguments import lightning_arguments, trainer_arguments
from sweeper.core.start import start_of
from sweeper.core.trial import Trial
from sweeper.core.whole_config import whole_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """What every format is made of: ``config`` is the native configuration, ``settings`` what it lacks.

    ``command`` measured it, "" where that is not known; ``seen`` is what the probe saw of its script, ``own``
    the configuration that the study began from.
    """

    trial: Trial
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    command: str
    seen: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> dict[str, Any]:
        """The configuration for frameworks.

        Of those that were added for a script the key that has Accelerate leave an offloaded optimizer as it
        is stays behind: in the trial it had put in DeepSpeed's.
        """
        ours = {"zero_force_ds_cpu_optimizer"} - {*self.own} if self.is_of_a_script else ()
        config = {name: value for name, value in self.config.items() if name not in ours}
        seen = self.seen.get("data_parallel")
        return whole_config(config, self.trial.settings, data_parallel=seen)

    @property
    def is_of_a_script(self) -> bool:
        return bool(self.trial.settings.get("script.path"))

    def keeps_optimizer(self, form: Format) -> bool:
        """Whether ``form`` is of the framework of a script that leaves optimizer and schedule to its file."""
        framework = "transformers" if form.trainer else form.name
        return self.is_of_a_script and self.seen.get("framework") == framework


def export_readme(
    winner: Winner,
    sections: Mapping[str, str],
    left: Mapping[str, str],
    *,
    title: str,
    verdict: str,
    carried: Sequence[str],
    start: str,
) -> str:
    """``sections`` are by format; ``left`` says of a format why it is not among them.

    ``carried`` is what a ds_config.json carries that the study did not find, ``start`` how a script is started.
    """
    parts = [f"# {title}: the configuration to use", _measured(winner, verdict), *carried]
    parts += [part for part in (start, *sections.values()) if part]
    if left:
        lines = [f"* `{name}`: {why}." for name, why in left.items()]
        parts.append("\n".join(["## Not exported", "", *lines]))
    return "\n\n".join(parts) + "\n"


def format_section(form: Format, winner: Winner, bundle: BundleFolder, *, missing: str) -> str:
    """What its files hold, the line to add, what stays behind; ``missing`` is what a bare JSON cannot carry."""
    section = _SECTIONS[form.name](winner, bundle)
    if form.name == "native":
        section += ["", missing or "It carries everything that the winner trains with."]
    text = "\n".join([f"## {form.title} (`--format {form.name}`)", "", *section])
    keeps = winner.keeps_optimizer(form)
    if left := left_out(form, winner.whole, winner.settings, keeps_optimizer=keeps):
        text += "\n\nNot carried:\n\n" + "\n".join(f"* {part}" for part in left)
    return text


def _measured(winner: Winner, verdict: str) -> str:
    hardware, config = winner.settings["hardware"], winner.whole
    environment = winner.trial.environment.items()
    seen = ", ".join(f"{name} {value}" for name, value in environment if value is not None)
    lines = [
        f"* {verdict}.",
        f"* For {_counted(hardware['ranks'], hardware['accelerator'] + ' rank')} and a global batch of "
        f"{winner.trial.settings['workload.global_batch_size']}: a micro-batch of "
        f"{config['train_micro_batch_size_per_gpu']}, accumulated over "
        f"{_counted(config['gradient_accumulation_steps'], 'micro-step')}.",
        f"* Measured with {seen}.",
    ]
    if NVME_PATH in str(config.get("zero_optimization")):
        lines.append(f"* `nvme_path` is to be a folder of yours in the place of `{NVME_PATH}`.")
    by = f"* Measured by trial {winner.trial.number}"
    if not winner.command.strip():
        return "\n".join([*lines, f"{by}; its command was not kept."])
    return "\n".join(
        [*lines, f"{by}, with this command:", "", "```sh", winner.command.rstrip(), "```"]
    )


def script_section(winner: Winner, bundle: BundleFolder, files: Container[Path]) -> str:
    """The line that trains a user's script with the winner, where the ``files`` that it names are there."""
    start = start_of(winner.trial.settings, winner.seen, bundle)
    if start.folder is None or any(file not in files for file in start.needs):
        return ""
    lines = ["## Your script", ""]
    if start.changes:
        lines += ["First:", "", *(f"* {change}" for change in start.changes), "", "Then:", ""]
    return "\n".join([*lines, "```sh", f"cd {shlex.quote(start.folder)}", start.command, "```"])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _native(winner: Winner, bundle: BundleFolder) -> list[str]:
    if winner.is_of_a_script:
        return _with_its_script(winner, bundle)
    hardware, parallel = winner.settings["hardware"], winner.settings["parallel"]
    shared = parallel["tensor"] * parallel["sequence"]
    lines = [
        f"`{bundle.ds_config.name}` is what was measured, `{bundle.settings.name}` what that JSON "
        "cannot carry. Two lines in the training script, in the place of `deepspeed.initialize`, "
        "apply both:",
        "",
        "```python",
        "from sweeper.best import prepare",
        f'engine = prepare("{bundle.path.name}", model)  # this folder',
        "```",
        "",
        f"`./{bundle.launch.name} your_script.py ...` starts it as the trial was started. A script ends with "
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
    return [
        *lines,
        f"Without this package: give `{bundle.ds_config.name}` to "
        "`deepspeed.initialize(config=...)` as it is.",
    ]


def _with_its_script(winner: Winner, bundle: BundleFolder) -> list[str]:
    """A script takes the file in the place of its own; what a file cannot say it has to say itself."""
    given = winner.trial.settings
    checkpointing = "on" if given["checkpointing.every_nth_block"] else "off"
    return [
        f"`{bundle.ds_config.name}` is what DeepSpeed had, whatever put it together. A script that calls "
        "`deepspeed.initialize` takes it in the place of its own, be that a file or a dictionary in its "
        f"code, and is started with `./{bundle.launch.name}`. What it sets itself must agree: "
        f"micro-batch size {winner.whole['train_micro_batch_size_per_gpu']}, gradient accumulation "
        f"{winner.whole['gradient_accumulation_steps']}, precision {given['precision.mode']}, "
        f"activation checkpointing {checkpointing}.",
    ]


def _deepspeed(winner: Winner, bundle: BundleFolder) -> list[str]:
    binding = " Binding needs numactl." if winner.settings["launch"]["bind_cores"] else ""
    return [
        f"`./{bundle.launch.name} your_script.py ...` in the place of `deepspeed your_script.py ...`, with the "
        "ranks, the environment and the binding of the trial. Words before the script are the "
        f"launcher's: `--master_port=29501`. A rank finds its number in `LOCAL_RANK`.{binding}",
    ]


def _torchrun(_: Winner, bundle: BundleFolder) -> list[str]:
    return [
        f"`./{bundle.launch_torchrun.name} your_script.py ...` in the place of `torchrun your_script.py ...`, "
        "with the ranks and the environment of the trial.",
    ]


def _slurm(_: Winner, bundle: BundleFolder) -> list[str]:
    return [
        f"`sbatch {bundle.launch_slurm.name} your_script.py ...`: one node of its own, torchrun under "
        "`srun`. Partition, account and time are `sbatch`'s options.",
    ]


def _trainer(winner: Winner, bundle: BundleFolder) -> list[str]:
    arguments = trainer_arguments(
        winner.whole, winner.settings, keeps_optimizer=winner.keeps_optimizer(FORMATS["hf"])
    )
    named = "".join(f"    {name}={value!r},\n" for name, value in arguments.items())
    return [
        f"`{bundle.trainer_ds_config.name}` has `auto` where a `TrainingArguments` says the same, "
        f"`{bundle.trainer_arguments.name}` has those, `{bundle.launch.name}` starts the ranks. Add to "
        "the script's command",
        "",
        "```sh",
        f"./{bundle.launch.name} your_script.py --deepspeed {bundle.trainer_ds_config.name} "
        f"$(cat {bundle.trainer_arguments.name})",
        "```",
        "",
        "or to its code, before the model is made:",
        "",
        "```python",
        f'TrainingArguments(\n    deepspeed="{bundle.trainer_ds_config.name}",\n{named})',
        "```",
    ]


def _accelerate(winner: Winner, bundle: BundleFolder) -> list[str]:
    micro = winner.whole["train_micro_batch_size_per_gpu"]
    return [
        f"`accelerate launch --config_file {bundle.accelerate.name} your_script.py ...`; it names "
        f"`{bundle.accelerate_ds_config.name}` by its path, so export again for another place "
        "(`--to`). The script is to have",
        "",
        "```python",
        f"DataLoader(dataset, batch_size={micro})",
        "with accelerator.accumulate(model):  # around each micro-step",
        "```",
        "",
        "and no `gradient_accumulation_steps` or `mixed_precision` of its own.",
    ]


def _lightning(winner: Winner, bundle: BundleFolder) -> list[str]:
    arguments = lightning_arguments(winner.whole, winner.settings)
    named = "".join(f"    {name}={value!r},\n" for name, value in arguments.items())
    micro = winner.whole["train_micro_batch_size_per_gpu"]
    return [
        f"`{bundle.lightning_ds_config.name}` has no accumulation steps and no clipping: Lightning "
        "takes those from its Trainer. Its strategy runs on CUDA alone.",
        "",
        "```python",
        f'strategy = DeepSpeedStrategy(config="{bundle.lightning_ds_config.name}")',
        f"Trainer(\n    strategy=strategy,\n{named})",
        f"DataLoader(dataset, batch_size={micro})",
        "```",
    ]


def _axolotl(_: Winner, bundle: BundleFolder) -> list[str]:
    return _lines_to_add(bundle, bundle.axolotl.name, "axolotl train")


def _llamafactory(_: Winner, bundle: BundleFolder) -> list[str]:
    return _lines_to_add(bundle, bundle.llamafactory.name, "llamafactory-cli train")


def _lines_to_add(bundle: BundleFolder, name: str, command: str) -> list[str]:
    return [
        f"The lines of `{name}` go into the YAML that `{command}` is given, in the place of those of "
        f"the same name. The first names `{bundle.trainer_ds_config.name}` by its path; export again "
        "for another place (`--to`).",
    ]


_SECTIONS = {
    "native": _native,
    "deepspeed": _deepspeed,
    "torchrun": _torchrun,
    "slurm": _slurm,
    "hf": _trainer,
    "accelerate": _accelerate,
    "lightning": _lightning,
    "axolotl": _axolotl,
    "llamafactory": _llamafactory,
}
