"""How long a sample of a Hugging Face architecture may be, by its config alone; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = ("n_positions", "max_position_embeddings")
# Their table of positions begins behind the padding token's (run, transformers 5.23).
_FROM_PADDING = (
    *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
_PADDING = 1  # theirs, where a config.json does not say


def max_positions(config: Mapping[str, Any]) -> int | None:
    """The longest sample that a config allows; None where positions are relative, or not told."""
    if config["model_type"] == "t5":
        return None  # relative, whatever n_positions says
    positions = next((config[name] for name in _NAMES if config.get(name)), None)
    if not isinstance(positions, int):
        return None
    if config["model_type"] not in _FROM_PADDING:
        return positions
    fixed = config["model_type"] == "mpnet"  # whatever its padding token is
    padding = _PADDING if fixed else config.get("pad_token_id", _PADDING)
    return positions - (padding or 0) - 1
