"""A study of a user's training script: its own configuration as the baseline, and the space that it allows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper.core.ds_config_mistakes import broken_sections
from sweeper.core.files import read_object, write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.one_line import one_line
from sweeper.core.outcome import (
    Crashed,
    Measured,
    Outcome,
    TimedOut,
    Unsupported,
    kind_of,
    reason_of,
)
from sweeper.core.plan import plan, specification
from sweeper.core.script import called, placeholders
from sweeper.core.script_source import as_a_module, check_source
from sweeper.core.settings import Settings
from sweeper.core.space import SearchSpace
from sweeper.core.spec import TrialSpec
from sweeper.errors import NothingMeasured, UsageError
from sweeper.hydra_edge.expressions import Typed, settings_of_option
from sweeper.hydra_edge.script_knobs import (
    accumulation_steps,
    baseline_overrides,
    closed_at_once,
    loss_tolerance,
    notes_on,
    other_micro_size,
    other_precision,
    why_not_followed,
)
from sweeper.hydra_edge.script_losses import (
    SEEDS,
    explained,
    first_loss_differs,
    spread_of_first_losses,
)
from sweeper.run.machine import quick_look
from sweeper.run.probe import Probed, probe
from sweeper.terminal import Terminal

SCRIPT_SCHEMA = 1
_RELATIVE = "attempted relative import with no known parent package"
_MICRO_SIZE, _PRECISION = "batch.micro_size", "precision"
_GLOBAL_BATCH = "workload.global_batch_size"
# What of the configuration is typed acts from the first run on.
_TAKEN_AS_TYPED = (
    "zero",
    "offload",
    "precision",
    "batch",
    _GLOBAL_BATCH,
    "comm",
    "checkpointing",
    "ds",
)
_SECONDS_TO_END = 60.0
_CONSEQUENCE = {
    True: " ranked by speed alone: a winner of another size may train differently",
    False: " compared all the same: one that trains differently cannot win",
}


# Without one of these it was damaged, and is looked for again.
_FOUND = {"sha256", "left_out", "overrides", "notes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was typed with the script's own configuration below it, without what the script decides itself."""

    typed: Typed
    notes: tuple[str, ...]


def fitted_to_script(
    typed: Typed,
    compose: Callable[[Sequence[str]], Settings],
    folder: StudyFolder,
    terminal: Terminal,
) -> Fitted:
    """Runs the script some steps, unless an interrupted study has.

    ``compose`` gives the settings under overrides that come instead of ``typed``'s. Raises UsageError
    for what cannot be tuned, NothingMeasured where the script fails by itself.
    """
    settings = compose(typed.fixed)
    _check(settings, typed)
    digest = hashlib.sha256(Path(str(settings.script.path)).read_bytes()).hexdigest()
    found = read_object(folder.script)
    if not _FOUND <= set(found):
        _check_source(settings)
        found = _Probes(typed, compose, folder, terminal).look()
        write_json(folder.script, {"schema_version": SCRIPT_SCHEMA, "sha256": digest, **found})
    elif found["sha256"] != digest:
        raise UsageError(
            f"{settings.script.path} has changed since {folder.path} began; its numbers would not "
            "compare: start a new study"
        )
    parameters = {n: d for n, d in typed.space.parameters.items() if n not in found["left_out"]}
    return Fitted(
        typed=Typed(
            fixed=(*found["overrides"], *typed.fixed), space=SearchSpace(parameters=parameters)
        ),
        notes=tuple(found["notes"]),
    )


def _check(settings: Settings, typed: Typed) -> None:
    for what, given in (("path", settings.script.path), ("ds_config", settings.script.ds_config)):
        place = Path(settings.script.folder or ".", given or "")
        if given is not None and not place.is_file():
            why = "is a folder" if place.is_dir() else "there is no such file"
            raise UsageError(f"script.{what}={given}: {why}; type script.{what}=<an existing file>")
    offload, path = settings.offload, settings.offload.nvme_path
    if "nvme" in (offload.optimizer, offload.params) and path and not Path(path).is_dir():
        raise UsageError(
            f"offload.nvme_path={path}: there is no such folder; type offload.nvme_path=<an existing one>"
        )
    for mistake in broken_sections(settings.ds):
        raise UsageError(f"ds.{mistake}")
    for override in typed.fixed:
        group = override.lstrip("+").partition("=")[0].partition(".")[0]
        if group in ("parallel", "compile", "optimizer"):
            raise UsageError(
                f"{override}: the script decides that itself; leave it out, or set it in the script"
            )


def _check_source(settings: Settings) -> None:
    """Raises UsageError for a path that was typed as ``script.path`` and is no Python."""
    script = settings.script
    check_source(
        Path(str(script.path)),
        typed=f"script.path={script.path}",
        folder=Path(script.folder or "."),
        is_module=script.module is not None,
    )


class _Probes:
    def __init__(
        self,
        typed: Typed,
        compose: Callable[[Sequence[str]], Settings],
        folder: StudyFolder,
        terminal: Terminal,
    ) -> None:
        self._typed, self._compose = typed, compose
        self._folder, self._terminal = folder, terminal
        self._settings = compose(typed.fixed)
        script = self._settings.script
        self._name = called(str(script.path), script.module)
        self._placeholders = placeholders(self._settings.script.args or "")
        self._notes: list[str] = []
        self._more_overrides: list[str] = []

    def look(self) -> dict[str, Any]:
        """What the script's own run says, and which of the space's knobs it leaves to us."""
        self._terminal.say(f"looking at {self._name}: some steps of it as it is")
        facts = self._own_facts()
        ranks = self._settings.hardware.ranks
        overrides = baseline_overrides(
            facts, ranks=ranks, name=self._name, samples=self._settings.script.samples
        )
        overrides = self._as_typed(overrides)
        left_out = closed_at_once(
            facts,
            self._typed.space.parameters,
            self._name,
            filled_in=self._placeholders,
            samples=self._settings.script.samples,
        )
        left_out |= self._tried(facts, overrides, left_out)
        notes = [f"{parameter} is left out: {why}" for parameter, why in left_out.items()]
        if self._placeholders & {
            "gradient_accumulation",
            "ds_config",
        } and not self._is_typed(_GLOBAL_BATCH):
            notes.append(
                f"script.args leaves the batch to us: the global batch is {_GLOBAL_BATCH}="
                f"{self._settings.workload.global_batch_size}; type {_GLOBAL_BATCH}=<yours>"
            )
        notes += [*notes_on(facts, self._name), *self._notes]
        overrides = [*overrides, *self._more_overrides]
        return {"overrides": overrides, "left_out": left_out, "notes": notes, "facts": facts}

    def _is_typed(self, name: str) -> bool:
        return any(override.partition("=")[0] == name for override in self._typed.fixed)

    def _as_typed(self, overrides: Sequence[str]) -> list[str]:
        """Without a detail of the configuration that an option sets which was typed: what is typed counts."""
        set_by_options = {
            name
            for override in self._typed.fixed
            for name in settings_of_option(*override.partition("=")[::2])
        }
        return [o for o in overrides if o.partition("=")[0] not in set_by_options]

    def _own_facts(self) -> Mapping[str, Any]:
        spec = self._as_it_is(specification(self._settings, quick_look()))
        where = "as_it_is"
        probed = self._run(spec, where)
        facts = probed.facts
        used = self._placeholders
        if facts and used & {"micro_batch", "gradient_accumulation"} and "ds_config" not in used:
            own = (facts["micro_size"], accumulation_steps(facts))
            if own != (spec.micro_size, spec.accumulation_steps):
                # Its arguments are ours: only its configuration could say what they are.
                spec = replace(spec, micro_size=own[0], accumulation_steps=own[1])
                where = "with_its_own_batch"
                probed = self._run(spec, where)
        self._own_spec = spec
        log = self._folder.probe(where).stderr
        if isinstance(probed.outcome, Unsupported):
            raise UsageError(f"+script={self._name}: {probed.outcome.reason}")
        if isinstance(probed.outcome, TimedOut):
            limit = "hang" if "launch.hang_seconds" in probed.outcome.reason else "timeout"
            raise NothingMeasured(
                f"{self._name} did not come to the end of some optimizer steps of a DeepSpeed engine:"
                f" {probed.outcome.reason}; type launch.{limit}_seconds=<more> where it takes that long;"
                f" its log is {log}"
            )
        if reason_of(probed.outcome).endswith(_RELATIVE) and spec.script and not spec.script.module:
            path, folder = Path(spec.script.path), Path(spec.script.folder)
            raise UsageError(f"+script={self._name}: {as_a_module(path, folder)}")
        if not isinstance(probed.outcome, Measured):
            raise NothingMeasured(
                f"{self._name} fails by itself, {kind_of(probed.outcome)}: "
                f"{reason_of(probed.outcome)}{_last_words(probed.outcome, log)}; its log is {log}"
            )
        return probed.facts

    def _tried(
        self, facts: Mapping[str, Any], overrides: Sequence[str], closed: Mapping[str, str]
    ) -> dict[str, str]:
        """Why the script does not take the micro-batch size or the precision, where it does not.

        Both are changed at once: most scripts take both. Where that goes wrong, each by itself.
        """
        changes = self._changes(facts, overrides, closed)
        if not changes:
            return {}
        why, seen = self._try(facts, overrides, list(changes.values()))
        size = changes.get(_MICRO_SIZE)
        differs = size is not None and self._loss_differs(facts, seen, overrides)
        if not why and not differs:
            return {}
        whys = {}
        for name, change in changes.items():
            if len(changes) > 1:
                why, seen = self._try(facts, overrides, [change])
            if not why and name == _MICRO_SIZE and self._loss_differs(facts, seen, overrides):
                why = self._explained(facts, seen)
            whys[name] = why
        return {name: why for name, why in whys.items() if why}

    def _loss_differs(
        self, own: Mapping[str, Any], seen: Mapping[str, Any], overrides: Sequence[str]
    ) -> bool:
        """By more than one arithmetic explains, though nobody has updated a weight."""
        measure = self._compose([*overrides, *self._typed.fixed]).measure
        return first_loss_differs(own, seen) > measure.loss_tolerance_fp32

    def _explained(self, own: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
        """Why another micro-batch trains differently, where that leaves it out; else a note."""
        difference = first_loss_differs(own, seen)
        self._terminal.say(
            f"looking at {self._name}: its loss is {difference:.2%} another in a step of other"
            " micro-batches; what do other seeds make of it?"
        )
        reseeded = [own, *(self._with_another_seed(number) for number in SEEDS)]
        found = explained(difference, spread_of_first_losses(reseeded), own, seen)
        size = seen["micro_size"]
        changed = f"with a micro-batch of {size} its first step's loss is {difference:.2%} another"
        if found.tolerance is not None:
            self._notes.append(f"{self._name}: {changed}: probably {found.why}")
            self._more_overrides += loss_tolerance(found.tolerance)
            return ""
        if self._settings.script.micro_batch_changes_training is not None:
            self._notes.append(
                f"{self._name}: {changed}: probably {found.why}; micro-batches are"
                + _CONSEQUENCE[self._settings.script.micro_batch_changes_training]
            )
            return ""
        return (
            f"{changed}, so that it trains differently: probably {found.why}; type"
            " script.micro_batch_changes_training=true to search it all the same, ranked by speed alone, or"
            " measure.loss_tolerance_fp32=<share> to allow for so much"
        )

    def _with_another_seed(self, number: int) -> Mapping[str, Any]:
        spec = self._own_spec
        assert spec.script is not None
        script = replace(spec.script, reseed=number)
        return self._run(replace(spec, script=script), f"with_another_seed_{number}").facts

    def _changes(
        self, facts: Mapping[str, Any], overrides: Sequence[str], closed: Mapping[str, str]
    ) -> dict[str, str]:
        parameters = {n: d for n, d in self._typed.space.parameters.items() if n not in closed}
        changes = {}
        size = other_micro_size(facts)
        if _MICRO_SIZE in parameters and size is not None:
            changes[_MICRO_SIZE] = f"{_MICRO_SIZE}={size}"
        if _PRECISION in parameters:
            own = self._compose([*overrides, *self._typed.fixed]).precision.mode
            other = other_precision(own, parameters[_PRECISION].points() or ())
            if other is not None:
                changes[_PRECISION] = f"{_PRECISION}={other}"
        return changes

    def _try(
        self, own: Mapping[str, Any], overrides: Sequence[str], changes: Sequence[str]
    ) -> tuple[str, Mapping[str, Any]]:
        """Why they are not followed, or "", and what was seen."""
        settings = self._compose([*overrides, *self._typed.fixed, *changes])
        ready = plan(settings, quick_look()).ready
        if not isinstance(ready, TrialSpec):
            return "", {}  # the plan rules it out where it matters
        assert ready.script is not None
        # What is seen is judged here, not by the rank.
        ready = replace(ready, script=replace(ready.script, samples=None))
        self._terminal.say(f"looking at {self._name}: does it take {' and '.join(changes)}?")
        probed = self._run(ready, "_".join(change.replace("=", "_") for change in changes))
        if not isinstance(probed.outcome, Measured):
            return reason_of(probed.outcome), {}
        samples = self._settings.script.samples
        whys = (why_not_followed(change, probed.facts, own, samples) for change in changes)
        return "; ".join(filter(None, whys)), probed.facts

    def _run(self, spec: TrialSpec, name: str) -> Probed:
        runner = self._settings.launch.runner
        return probe(spec, self._folder.probe(name), runner_name=runner, terminal=self._terminal)

    def _as_it_is(self, spec: TrialSpec) -> TrialSpec:
        assert spec.script is not None
        typed = tuple(
            name
            for override in self._typed.fixed
            if (name := override.lstrip("+").partition("=")[0]).startswith(_TAKEN_AS_TYPED)
        )
        script = replace(spec.script, as_it_is=True, typed=typed, samples=None)
        if self._settings.script.probe_seconds is None:
            return replace(spec, script=script)
        # What is typed for a look is the limit that acts on it.
        least = 2 * script.probe_seconds + _SECONDS_TO_END
        return replace(
            spec,
            script=script,
            hang_seconds=max(spec.hang_seconds, least),
            timeout_seconds=max(spec.timeout_seconds, least),
        )


def _last_words(outcome: Outcome, log: Path) -> str:
    """Of a script that ended itself: no exception says why."""
    if not (isinstance(outcome, Crashed) and "ended itself" in outcome.reason):
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f" ({one_line(lines[-1])})" if lines else ""
