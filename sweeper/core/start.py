"""How a winner is trained with: the line to type, and what a script has to be changed in before."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.core.files import read_json
from sweeper.core.folder import BundleFolder, StudyFolder
from sweeper.core.script import words
from sweeper.core.whole_config import batch_sizes, section

# What a script is called that we do not know.
YOUR_SCRIPT = "your_script.py"
_ACCELERATES = ("ACCELERATE_USE_DEEPSPEED=true", "ACCELERATE_DEEPSPEED_CONFIG_FILE={}")
_LIGHTNINGS = ("PL_DEEPSPEED_CONFIG_PATH={}",)
# Framework -> where its code takes a configuration
_IN_CODE = {
    "transformers": "TrainingArguments(deepspeed={!r})",
    "accelerate": "DeepSpeedPlugin(hf_ds_config={!r})",
    "lightning": "DeepSpeedStrategy(config={!r})",
}
_PLAINLY = "deepspeed.initialize(config={!r})"
# What DeepSpeed's launcher gives a script, unless it is told not to.
LAUNCHERS_LOCAL_RANK = "--local_rank"
# Stands for a rank's own number until the line is quoted: no shell's word has it.
_RANK = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``command`` is typed in ``folder``, anywhere where that is None; ``changes`` come before it.

    ``form`` is the format whose configuration the script reads, ``needs`` the files that it takes.
    """

    folder: str | None
    command: str
    changes: tuple[str, ...] = ()
    form: str = "native"
    needs: tuple[Path, ...] = ()


def script_facts(folder: StudyFolder) -> Mapping[str, Any]:
    """What the probe saw of the study's script; nothing where it has none."""
    return section(read_json(folder.script), "facts")


def start_of(settings: Mapping[str, Any], seen: Mapping[str, Any], bundle: BundleFolder) -> Start:
    """``settings`` are the winner's under their dotted names, ``seen`` what the probe saw of a script."""
    if settings.get("script.path"):
        return _Script(settings, seen, bundle).start()
    command = f"{shlex.quote(_runnable(bundle.launch))} {YOUR_SCRIPT}"
    return Start(folder=None, command=command, needs=(bundle.launch,))


class _Script:
    def __init__(
        self, settings: Mapping[str, Any], seen: Mapping[str, Any], bundle: BundleFolder
    ) -> None:
        self._settings, self._seen, self._bundle = settings, seen, bundle
        self._folder = Path(settings.get("script.folder") or Path.cwd())
        self._path = self._from_there(Path(settings["script.path"]))
        self._module = settings.get("script.module")
        self._framework = seen.get("framework")
        form, file = {
            "transformers": ("hf", bundle.trainer_ds_config),
            "accelerate": ("accelerate", bundle.accelerate_ds_config),
            "lightning": ("lightning", bundle.lightning_ds_config),
        }.get(str(self._framework), ("native", bundle.ds_config))
        self._form, self._config = form, self._from_there(file)
        self._needs = [bundle.launch, file]
        if form == "hf":
            self._needs.append(bundle.trainer_arguments)
        self._arguments = str(settings.get("script.args") or "")
        # Of a study of before it was looked at we know nothing: it is told what to change.
        self._in_code = bool(seen.get("config_in_code", True))

    def start(self) -> Start:
        line = [shlex.quote(word) for word in self._words()]
        if self._framework == "transformers" and self._seen.get("parses_arguments"):
            arguments = shlex.quote(self._from_there(self._bundle.trainer_arguments))
            line.append(f"$(cat {arguments})")  # the last one counts
        typed = " ".join(line)
        if _RANK in typed:
            ranked = typed.replace(_RANK, "'\"$LOCAL_RANK\"'")
            whole = f"exec python -u {self._started(by='-m')} {ranked}"
            typed = f"--no_python sh -c {shlex.quote(whole)}"
        else:
            typed = f"{self._started(by='--module')} {typed}".rstrip()
        launch = shlex.quote(_runnable(Path(self._from_there(self._bundle.launch))))
        return Start(
            folder=str(self._folder),
            command=" ".join([*self._environment(), launch, typed]),
            changes=tuple(self._changes()),
            form=self._form,
            needs=tuple(self._needs),
        )

    def _started(self, *, by: str) -> str:
        return f"{by} {self._module}" if self._module else shlex.quote(self._path)

    def _words(self) -> list[str]:
        """With the winner's file wherever the script was given its own."""
        values = {
            "micro_batch": self._micro_size,
            "gradient_accumulation": self._accumulation_steps,
            "ds_config": self._config,
            "local_rank": _RANK,
        }
        filled = [self._with_winners_file(word) for word in words(self._arguments, values)]
        option = self._seen.get("local_rank_option")
        # The launcher knows one spelling, and gives that itself.
        given = [f"{option}={_RANK}"] if option not in (None, LAUNCHERS_LOCAL_RANK) else []
        return [*given, *filled]

    def _with_winners_file(self, word: str) -> str:
        own = self._seen.get("config_file")
        if not own or not (word == own or word.endswith(f"={own}")):
            return word
        return word.removesuffix(own) + self._config

    def _environment(self) -> list[str]:
        if self._in_code or self._seen.get("config_file"):
            return []
        variables = _LIGHTNINGS if self._framework == "lightning" else _ACCELERATES
        given = [variable.format(shlex.quote(self._config)) for variable in variables]
        if self._framework == "accelerate":  # whatever the shell has of another configuration
            given.append(f"ACCELERATE_MIXED_PRECISION={self._mixed_precision}")
        return given

    def _changes(self) -> list[str]:
        name, changes = Path(self._path).name, []
        given = any(self._config in word for word in self._words())
        if not given and (own := self._seen.get("config_file")):
            changes.append(f"put {self._config} in the place of {own}, which {name} reads")
        elif not given and self._in_code:
            where = _IN_CODE.get(str(self._framework), _PLAINLY).format(self._config)
            changes.append(f"in {name}, {where} in the place of its own configuration")
        if self._framework == "transformers" and not self._seen.get("parses_arguments"):
            arguments = self._from_there(self._bundle.trainer_arguments)
            changes.append(f"in {name}, TrainingArguments with what stands in {arguments}")
        if self._framework == "lightning":
            steps = self._accumulation_steps
            changes.append(f"in {name}, Trainer(accumulate_grad_batches={steps})")
        if self._framework == "accelerate" and self._is_in_another_precision():
            mode = self._mixed_precision
            changes.append(f"in {name}, Accelerator(mixed_precision={mode!r}), or none of its own")
        recomputes = bool(self._settings.get("checkpointing.every_nth_block"))
        if self._framework != "transformers" and self._seen.get("recomputes") is (not recomputes):
            call = f"model.gradient_checkpointing_{'enable' if recomputes else 'disable'}()"
            changes.append(f"in {name}, {call}")
        return changes

    @property
    def _micro_size(self) -> int:
        return int(self._settings["batch.micro_size"])

    @property
    def _accumulation_steps(self) -> int:
        sizes = batch_sizes(self._settings, data_parallel=self._seen.get("data_parallel"))
        return sizes["gradient_accumulation_steps"]

    @property
    def _mixed_precision(self) -> str:
        """By Accelerate's name: what it has none for is off there, and said in the file."""
        mode = self._settings.get("precision.mode")
        return str(mode) if mode in ("bf16", "fp16") else "no"

    def _is_in_another_precision(self) -> bool:
        """Than the script was by itself: an ``Accelerator`` may have it in its code."""
        own = section(self._seen, "resolved")
        return bool(own) and own["precision"] != self._settings.get("precision.mode")

    def _from_there(self, path: Path) -> str:
        """As it is typed in the script's folder."""
        whole = Path(os.path.abspath(path))
        inside = whole.is_relative_to(self._folder)
        return str(whole.relative_to(self._folder) if inside else whole)


def _runnable(path: Path) -> str:
    """A shell looks elsewhere for a name without a folder."""
    return str(path) if len(path.parts) > 1 else f"./{path}"
