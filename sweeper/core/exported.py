"""What of a winner a ds_config.json cannot carry, as it stands in ``best/settings.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sweeper.core.spec import TrialSpec
from sweeper.errors import UsageError

EXPORT_SCHEMA = 1

# group -> setting -> what it is in a trial of before there was such a setting
EXPORTED: Mapping[str, Mapping[str, Any]] = {
    "hardware": {"accelerator": "cpu", "ranks": 1},
    "checkpointing": {"every_nth_block": 0, "on_cpu": False},
    "compile": {"mode": "none"},
    "parallel": {"tensor": 1, "pipeline": 1, "sequence": 1, "expert": 1},
    "launch": {"bind_cores": False, "omp_threads": None, "cuda_allocator": None},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a model is recomputed, compiled and spread over the ranks; the names are TrialSpec's."""

    checkpoint_every_nth_block: int
    checkpoint_on_cpu: bool
    compile: str
    tensor_parallel: int
    pipeline_stages: int
    sequence_parallel: int
    expert_parallel: int

    @property
    def ranks_of_a_sample(self) -> int:
        """Neighbouring ranks that work on the same samples; a pipeline's stages are counted by DeepSpeed."""
        return self.tensor_parallel * self.sequence_parallel


def layout_of_spec(spec: TrialSpec) -> Layout:
    """The part of a specification that is a layout."""
    return Layout(**{f.name: getattr(spec, f.name) for f in fields(Layout)})


def exported_settings(flat: Mapping[str, Any], *, ops: Sequence[str] = ()) -> dict[str, Any]:
    """The document, from a trial's settings under their dotted names; ``ops`` are DeepSpeed builder names.

    A null is what a training script decides itself.
    """
    groups = {
        group: {name: flat.get(f"{group}.{name}", absent) for name, absent in names.items()}
        for group, names in EXPORTED.items()
    }
    if flat.get("script.path"):
        groups["compile"]["mode"] = None
    return {"schema_version": EXPORT_SCHEMA, **groups, "ops": list(ops)}


def exported_layout(document: Any, *, where: str) -> Layout:
    """Raises UsageError for a document of another schema; ``where`` it was read."""
    if not isinstance(document, Mapping) or document.get("schema_version") != EXPORT_SCHEMA:
        given = document.get("schema_version") if isinstance(document, Mapping) else document
        raise UsageError(
            f"{where}: has schema_version={given}, this sweeper reads {EXPORT_SCHEMA}; "
            "type python -m sweeper report results/<study> to write it again"
        )
    parallel = document["parallel"]
    return Layout(
        checkpoint_every_nth_block=document["checkpointing"]["every_nth_block"],
        checkpoint_on_cpu=document["checkpointing"]["on_cpu"],
        compile=document["compile"]["mode"] or "none",
        tensor_parallel=parallel["tensor"],
        pipeline_stages=parallel["pipeline"],
        sequence_parallel=parallel["sequence"],
        expert_parallel=parallel["expert"],
    )
