"""From settings and a machine to a trial's specification, or to the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sweeper.core.ds_config import ds_config, ops_needed, unknown_top_level_keys
from sweeper.core.machine import Machine
from sweeper.core.memory_limit import enforced_bytes
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.rules import FORBIDDEN, IGNORED, NEEDS, OWN_VALUES
from sweeper.core.rules.conditions import value
from sweeper.core.script import PROBE_SECONDS, ScriptSpec
from sweeper.core.settings import HUGGING_FACE, ScriptSettings, Settings, with_values
from sweeper.core.spec import TrialSpec

# Settings that change how a trial is started and how long we wait, or that tell of hardware, not what
# is trained.
_NO_WORK = (
    "hardware.device_name",
    "hardware.device_link_gigabytes_per_second",
    "hardware.host_cores",
    "hardware.host_link_gigabytes_per_second",
    "hardware.host_memory",
    "hardware.network_gigabytes_per_second",
    "hardware.ranks_per_node",
    "launch.runner",
    "launch.timeout_seconds",
    "launch.hang_seconds",
    "measure.beaten_seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``settings`` are those that act; equal work has an equal ``key``, whatever was typed.

    ``ready`` is the specification to run, or the outcome that is known without running.
    """

    key: str
    settings: Settings
    notes: tuple[str, ...]
    ready: TrialSpec | Infeasible | Unsupported


def plan(settings: Settings, machine: Machine) -> Plan:
    """Takes out what does not act, then judges by the rules; starts nothing."""
    acting, notes = settings, [*unknown_top_level_keys(settings), *_what_is_fixed(settings)]
    for own in OWN_VALUES:
        acting, _ = own.without(acting)
    given = acting.flat()
    for ignored in IGNORED:
        acting, said = ignored.without(acting)
        notes.extend(said)
    without = tuple(n for n, value in acting.flat().items() if given.get(n) != value)
    if settings.is_script:
        acting, left_out = _without_what_is_refused(acting)
        notes.extend(left_out)
    return Plan(
        key=candidate_key(acting),
        # When a study gives up on a trial is no property of the candidate.
        settings=with_values(acting, {"measure.beaten_seconds": None}),
        notes=tuple(notes),
        ready=next(refusals(acting, machine), None)
        or specification(acting, machine, ignored=without),
    )


# What a script's own configuration may say beside the options that a study turns.
_OF_THE_CONFIGURATION = (
    ("offload.optimizer_ratio",),
    ("precision.bf16_master_weights", "precision.bf16_optimizer_states"),
    ("precision.grad_accum_dtype",),
    ("zero.quantized_weights",),
    ("zero.hpz_partition_size",),
)


def _without_what_is_refused(acting: Settings) -> tuple[Settings, list[str]]:
    """Details of a script's own configuration do not follow it where the rules forbid them, with a note."""
    notes = []
    for names in _OF_THE_CONFIGURATION:
        given = {n: v for n in names if (v := value(acting, n)) is not None}
        without = with_values(acting, dict.fromkeys(given))
        lifted = [r for r in FORBIDDEN if r.applies(acting) and not r.applies(without)]
        if given and lifted:
            what = " and ".join(f"{n}={v}" for n, v in given.items())
            notes.append(f"{what} is left out: {lifted[0].reason(acting)}")
            acting = without
    return acting, notes


def _what_is_fixed(settings: Settings) -> tuple[str, ...]:
    """Of an architecture that has it otherwise in its config, or leaves it to its library."""
    if settings.model_target != HUGGING_FACE:
        return ()
    dropout = "as its config says" if settings.model.get("dropout") else "off"
    attention = settings.model.get("attention") or "sdpa (eager where it has none)"
    return (f"every candidate has attention {attention} and dropout {dropout}",)


def acts(settings: Settings, name: str) -> bool:
    """Whether DeepSpeed would look at the setting ``name`` beside the other settings."""
    return not any(name in ignored.names and ignored.applies(settings) for ignored in IGNORED)


def candidate_key(acting: Settings) -> str:
    """Canonical JSON of the settings that act."""
    flat = {k: v for k, v in acting.flat().items() if k not in _NO_WORK}
    if flat["hardware.device_memory"] is None:  # keys of trials from before there was the setting
        del flat["hardware.device_memory"]
    if not acting.is_script:  # likewise
        flat = {k: v for k, v in flat.items() if not k.startswith("script.")}
    return json.dumps(flat, sort_keys=True, separators=(",", ":"))


def refusals(acting: Settings, machine: Machine) -> Iterator[Infeasible | Unsupported]:
    """All that is against settings that act; a plan has the first of it."""
    for rule in FORBIDDEN:
        if rule.applies(acting):
            yield Infeasible(
                rule=rule.id, reason=rule.reason(acting), violation=rule.violation(acting)
            )
    for need in NEEDS:
        if need.lacks(acting, machine):
            yield Unsupported(reason=need.reason(acting, machine))


def specification(
    settings: Settings, machine: Machine, *, ignored: tuple[str, ...] = ()
) -> TrialSpec:
    """What would be run, whatever the rules say of it; ``ignored`` are settings that were taken out."""
    workload, hardware, degrees = settings.workload, settings.hardware, settings.parallel
    accumulation_steps = workload.global_batch_size // (
        settings.batch.micro_size * max(settings.data_parallel, 1)
    )
    config = ds_config(settings, accumulation_steps=accumulation_steps)
    if (engines := settings.script.engine_accumulation) is not None:
        # The rest of the accumulation is the script's: DeepSpeed must not divide by it once more.
        config["gradient_accumulation_steps"] = engines
        config["train_batch_size"] = settings.batch.micro_size * engines * settings.data_parallel
    return TrialSpec(
        ds_config=config,
        model_target=settings.model_target,
        model_arguments=settings.model_arguments,
        checkpoint_every_nth_block=settings.checkpointing.every_nth_block,
        checkpoint_on_cpu=settings.checkpointing.on_cpu,
        compile=settings.compile.mode,
        tensor_parallel=degrees.tensor,
        pipeline_stages=degrees.pipeline,
        sequence_parallel=degrees.sequence,
        expert_parallel=degrees.expert,
        data_parallel=settings.data_parallel,
        precision=settings.precision.mode,
        accelerator=hardware.accelerator,
        ranks=hardware.ranks,
        memory_limit_bytes=enforced_bytes(settings, machine),
        micro_size=settings.batch.micro_size,
        accumulation_steps=accumulation_steps,
        global_batch_size=workload.global_batch_size,
        sequence_length=workload.sequence_length,
        tokens_file=workload.tokens_file,
        seed=workload.seed,
        min_warmup_steps=settings.measure.min_warmup_steps,
        max_warmup_steps=settings.measure.max_warmup_steps,
        settled_within=float(settings.measure.settled_within),
        min_steps=settings.measure.min_steps,
        max_steps=settings.measure.max_steps,
        interval=float(settings.measure.interval),
        max_seconds=float(settings.measure.max_seconds),
        breakdown_steps=settings.measure.breakdown_steps,
        timeout_seconds=float(settings.launch.timeout_seconds),
        hang_seconds=float(settings.launch.hang_seconds),
        bind_cores=settings.launch.bind_cores,
        omp_threads=settings.launch.omp_threads,
        cuda_allocator=settings.launch.cuda_allocator,
        ops=ops_needed(settings),
        # Its steps would not be those that the best one's were timed over.
        beaten_step_seconds=None if settings.script.steps_grow else settings.measure.beaten_seconds,
        batch_target=settings.model.get("_batch_"),
        loss_target=settings.model.get("_loss_"),
        script=_script(settings.script, ignored),
    )


def _script(script: ScriptSettings, ignored: tuple[str, ...]) -> ScriptSpec | None:
    if script.path is None:
        return None
    return ScriptSpec(
        path=script.path,
        module=script.module,
        arguments=script.args or "",
        folder=script.folder or ".",
        ds_config=script.ds_config,
        ignored=ignored,
        engine=script.engine,
        samples=script.samples,
        units_per_sample=script.units_per_sample,
        engine_accumulation=script.engine_accumulation,
        steps_grow=bool(script.steps_grow),
        probe_seconds=script.probe_seconds or PROBE_SECONDS,
    )
