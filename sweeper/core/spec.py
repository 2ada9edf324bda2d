"""The document that tells a trial's processes everything they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sweeper.core.script import ScriptSpec, script_from_json

SPEC_SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """Lengths are in tokens, sizes in samples or bytes, ``ops`` are DeepSpeed builder names.

    A trial whose optimizer steps surely take longer than ``beaten_step_seconds`` ends early.
    ``batch_target`` and ``loss_target`` name functions of the user's own; with a ``script`` that trains,
    the model and its batches are the script's.
    """

    ds_config: dict[str, Any]
    model_target: str
    model_arguments: dict[str, Any]
    checkpoint_every_nth_block: int
    checkpoint_on_cpu: bool
    compile: str
    tensor_parallel: int
    pipeline_stages: int
    sequence_parallel: int
    expert_parallel: int
    data_parallel: int
    precision: str
    accelerator: str
    ranks: int
    memory_limit_bytes: int
    micro_size: int
    accumulation_steps: int
    global_batch_size: int
    sequence_length: int
    tokens_file: str | None
    seed: int
    min_warmup_steps: int
    max_warmup_steps: int
    settled_within: float
    min_steps: int
    max_steps: int
    interval: float
    max_seconds: float
    breakdown_steps: int
    timeout_seconds: float
    hang_seconds: float
    bind_cores: bool
    omp_threads: int | None
    cuda_allocator: str | None
    ops: tuple[str, ...]
    beaten_step_seconds: float | None = None
    script: ScriptSpec | None = None
    batch_target: str | None = None
    loss_target: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": SPEC_SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> TrialSpec:
        """Raises ValueError for a document of another schema."""
        if document.get("schema_version") != SPEC_SCHEMA:
            raise ValueError(
                f"spec has schema_version={document.get('schema_version')}, this sweeper reads {SPEC_SCHEMA}"
            )
        values = {f.name: document[f.name] for f in fields(TrialSpec) if f.name in document}
        script = values.get("script")
        values["script"] = None if script is None else script_from_json(script)
        return TrialSpec(**(values | {"ops": tuple(values["ops"])}))
