"""What is known of a model from its shapes alone, as far as its memory depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

PROFILE_SCHEMA = 6

# How settings call a precision -> the mode that was traced: fp16 has the shapes and widths of bf16.
TRACED_MODES = ("fp32", "bf16", "autocast_bf16")
_TRACED_AS = {"fp16": "bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Bytes for B samples of T tokens: constant + B * (per_sample + per_token * T + per_token_pair * T * T)."""

    constant: float
    per_token: float
    per_token_pair: float
    per_sample: float = 0.0

    def bytes(self, samples: int, tokens: float) -> float:
        growing = self.per_token * tokens + self.per_token_pair * tokens * tokens
        return max(self.constant + samples * (self.per_sample + growing), 0.0)


NOTHING = Extent(constant=0.0, per_token=0.0, per_token_pair=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Live bytes beside parameters and their gradients, in the order in which a step meets them.

    ``embedding_saved`` lives when the first block begins. A block gets ``block_input``, needs
    ``block_forward`` at most and leaves ``block_saved``. The head, the loss and the begin of their
    backward pass need ``head`` more than the blocks left; ``carried`` is what is left of them while
    the blocks go backward, each of which needs ``block_backward`` at most over what it found. With
    all blocks behind it the rest of the backward pass needs ``embedding_backward`` in all.
    """

    embedding_saved: Extent
    block_input: Extent
    block_saved: Extent
    block_forward: Extent
    head: Extent
    carried: Extent
    block_backward: Extent
    embedding_backward: Extent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """``parameter_sizes`` are (elements, how many parameters have so many); blocks are those alike.

    ``modes`` has the activations by precision, traced with few samples and with many: a peak is the
    largest of several moments, and which one it is depends on the batch. A model without repeated
    blocks has none: all of it is then head.
    """

    num_parameters: int
    parameter_sizes: tuple[tuple[int, int], ...]
    num_blocks: int
    parameters_per_block: int
    block_parameter_sizes: tuple[tuple[int, int], ...]
    expert_parameters_per_block: int
    largest_module_parameters: int
    first_stage_parameters: int
    last_stage_parameters: int
    max_positions: int | None
    vocab_size: int | None
    modes: Mapping[str, tuple[Activations, ...]]

    @property
    def largest_parameter(self) -> int:
        return max(size for size, _ in self.parameter_sizes)

    def activation_bytes(
        self, precision_mode: str, name: str, samples: int, tokens: float
    ) -> float:
        """Of a field of Activations: the largest of the traces."""
        traces = self.modes[_TRACED_AS.get(precision_mode, precision_mode)]
        extents: list[Extent] = [getattr(trace, name) for trace in traces]
        return max(extent.bytes(samples, tokens) for extent in extents)

    def cast_bytes(self, precision_mode: str) -> float:
        """Of what a block saves, the part that does not grow with the batch: weights, cast."""
        traces = self.modes[_TRACED_AS.get(precision_mode, precision_mode)]
        return float(traces[0].block_saved.constant)

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": PROFILE_SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> ModelProfile:
        """Raises ValueError for a document of another schema."""
        if document.get("schema_version") != PROFILE_SCHEMA:
            raise ValueError(
                f"profile has schema_version={document.get('schema_version')},"
                f" this sweeper reads {PROFILE_SCHEMA}"
            )
        values = {f.name: document[f.name] for f in fields(ModelProfile)}
        for name in ("parameter_sizes", "block_parameter_sizes"):
            values[name] = tuple((int(size), int(count)) for size, count in values[name])
        values["modes"] = {
            mode: tuple(
                Activations(**{f.name: Extent(**trace[f.name]) for f in fields(Activations)})
                for trace in traces
            )
            for mode, traces in values["modes"].items()
        }
        return ModelProfile(**values)
