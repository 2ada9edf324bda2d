"""What a rank's forward and backward pass holds beside the model's states, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.core.memory.pieces import HEAP_BLOCK_BYTES, Phase, Piece, Place, page_locked
from sweeper.core.memory.share import Share
from sweeper.core.model_profile import ModelProfile
from sweeper.core.settings import Settings

# Of what a block saves these many are of its input's shape and on every tensor-parallel rank: the
# outputs of its two norms and its two sums.
_WHOLE_INPUTS = 4
# The widest tensor within a block, as a multiple of its input.
_WIDEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Bytes of one block on this rank."""

    input: float
    saved: float
    backward: float


def activations(settings: Settings, profile: ModelProfile, share: Share) -> list[Piece]:
    """The moments of core.model_profile.Activations, for as many blocks as the rank has."""

    def traced(name: str) -> float:
        return profile.activation_bytes(settings.precision.mode, name, share.samples, share.tokens)

    block = _block(traced, share)
    every = settings.checkpointing.every_nth_block
    recomputed = -(-share.blocks // every) if every else 0
    waiting = share.in_flight - 1  # whole micro-batches of a pipeline
    saved = (share.blocks - recomputed) * block.saved
    if share.has_embedding:
        saved += traced("embedding_saved")
    again = block.saved - block.input if recomputed else 0.0
    working = max(block.backward + again, 0.0) if share.blocks else 0.0
    on_heap = _WIDEST * block.input < HEAP_BLOCK_BYTES
    pieces: list[Piece] = []

    def add(
        component: str, phase: Phase, size: float, small: bool, place: Place = "device"
    ) -> None:
        pieces.append(
            Piece(component=component, phase=phase, bytes=size, on_heap=small, place=place)
        )

    # When the loss has just been computed every block has left what it saves; autocast caches the
    # weights that it has cast until the forward pass ends.
    cast = recomputed * profile.cast_bytes(settings.precision.mode) * share.sharded
    add("activations", "forward", saved * (1 + waiting) + cast, on_heap)
    # A little later the first block to go backward is at work.
    table = share.largest_parameter * _gradient_bytes(settings)
    add("activations", "backward", saved * (1 + waiting) + working, on_heap)
    if share.has_head:
        add("logits and loss", "forward", traced("head"), _is_small_head(profile, share))
        if settings.precision.mode != "fp32" and not _is_small_head(profile, share):
            # Of half the width where the loss is not: the logits, and later their gradient.
            logits = 2.0 * (profile.vocab_size or 0) * share.samples * share.tokens
            if logits < HEAP_BLOCK_BYTES:
                add("workspace", "backward", logits, True)
        carried = traced("carried")
        add("gradients", "backward", carried, min(carried, table) < HEAP_BLOCK_BYTES)
        if settings.parallel.pipeline > 1:
            # pipe/engine.py: the last stage's outputs wait in its buffers until the backward pass ends.
            logits = 4.0 * (profile.vocab_size or 0) * share.samples * share.tokens
            add("logits and loss", "forward", logits, _is_small_head(profile, share))
    place: Place = "host" if settings.checkpointing.on_cpu else "device"
    inputs = recomputed * block.input * share.in_flight
    add("activations", "forward", inputs, on_heap, place)
    add("activations", "backward", inputs, on_heap, place)
    if settings.checkpointing.on_cpu:  # worker/building.py, save_on_cpu: page-locked on CUDA
        pieces[-2:] = page_locked(pieces[-2:], block.input)
    if not share.has_embedding:
        return pieces
    # With all blocks behind it, the embedding: a tied table has a gradient from each end.
    last = traced("embedding_backward")
    if share.accumulation_steps == 1 and settings.zero.stage < 2:
        # One of them becomes the gradient, which is counted with the others.
        last = max(last - table, 0.0)
    add("gradients", "embedding", last, min(last, table) < HEAP_BLOCK_BYTES)
    return pieces


def _gradient_bytes(settings: Settings) -> int:
    return 2 if settings.precision.mode in ("bf16", "fp16") else 4


def _block(traced: Callable[[str], float], share: Share) -> _Sizes:
    whole = traced("block_input")

    def on_rank(name: str) -> float:
        replicated = min(_WHOLE_INPUTS * whole, traced(name))
        return replicated + (traced(name) - replicated) * share.sharded

    return _Sizes(input=whole, saved=on_rank("block_saved"), backward=on_rank("block_backward"))


def _is_small_head(profile: ModelProfile, share: Share) -> bool:
    vocab_size = profile.vocab_size or 0
    return 4 * vocab_size * share.samples * share.tokens < HEAP_BLOCK_BYTES
