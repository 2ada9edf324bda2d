"""Checks what is asked of a Hugging Face architecture without importing transformers, and so torch."""

from __future__ import annotations

import difflib
import importlib.util
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.core.extras import install_line
from sweeper.errors import EnvironmentUnfit, UsageError
from sweeper.places import models_dir

TASKS = ("causal", "masked", "seq2seq", "image")
_INSTALL = f"type {install_line('hf')}"
_ATTENTION_PACKAGES = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
}
# The end of an architecture's name that we have a loss for
ENDINGS = (
    "ForCausalLM",
    "LMHeadModel",
    "ForMaskedLM",
    "ForConditionalGeneration",
    "ForImageClassification",
)


def check_architecture(arguments: Mapping[str, Any], *, sequence_length: int) -> None:
    """Raises UsageError for a config that there is not or that cannot be trained as asked.

    EnvironmentUnfit where what it takes is not installed.
    """
    _check_installed("transformers", "a Hugging Face architecture (model=hf)")
    if arguments.get("lora_rank"):
        _check_installed("peft", f"model.lora_rank={arguments['lora_rank']}")
    attention = arguments.get("attention")
    if attention is not None and not isinstance(attention, str):
        raise UsageError(f"model.attention={attention}: is no name; type model.attention=eager")
    _check_attention_installed(str(attention))
    config = arguments.get("config")
    document = _read(config)
    task = arguments.get("task")
    if task is not None and task not in TASKS:
        raise UsageError(
            f"model.task={task}: allowed are {', '.join(TASKS)}; type model.task={TASKS[0]}"
        )
    architectures = _architectures(config, document)
    if task is None and not any(name.endswith(ENDINGS) for name in architectures):
        named = ", ".join(architectures) or "no architecture"
        raise UsageError(
            f"model.config={config}: names {named}, for which there is no loss; "
            f"type model.task={'|'.join(TASKS)}"
        )
    if document.get("auto_map") and not arguments.get("trust_remote_code"):
        raise UsageError(
            f"model.config={config}: its architecture is code of its own (auto_map), which would be "
            "run here; where you trust it, type model.trust_remote_code=true"
        )
    _check_adapters(arguments)
    positions = _max_positions({**document, **(arguments.get("override") or {})})
    if positions is not None and task != "image" and sequence_length > positions:
        raise UsageError(
            f"workload.sequence_length={sequence_length}: {config} has {positions} positions; "
            f"type workload.sequence_length={positions}"
        )


def _architectures(config: Any, document: Mapping[str, Any]) -> list[str]:
    named = document.get("architectures") or []
    if not isinstance(named, list):
        raise UsageError(f"model.config={config}: architectures is {named!r}, no list; {_WANTED}")
    return [str(name) for name in named]


def _check_adapters(arguments: Mapping[str, Any]) -> None:
    rank, targets = arguments.get("lora_rank"), arguments.get("lora_targets")
    if isinstance(rank, int) and rank < 0:
        raise UsageError(f"model.lora_rank={rank}: 0 is without adapters; type model.lora_rank=8")
    if isinstance(targets, str):
        raise UsageError(
            f"model.lora_targets={targets}: is no list of layers; type model.lora_targets=[{targets}]"
        )


def _check_attention_installed(attention: str) -> None:
    """Without the package itself transformers takes it from where kernels fetches it."""
    package = _ATTENTION_PACKAGES.get(attention)
    if package is not None and not (_is_installed(package) or _is_installed("kernels")):
        raise EnvironmentUnfit(
            f"model.attention={attention} needs {package}, which is not installed; "
            f"type pip install {package.replace('_', '-')}, or leave model.attention out"
        )


def located(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """With the place of a config that is a path, so that a trial can be run again from elsewhere."""
    return {**arguments, "config": _place(str(arguments["config"]))}


def _place(config: str) -> str:
    return config if config in shapes() else str(Path(config).absolute())


def shapes() -> list[str]:
    """The names of those that we bring."""
    return sorted(path.stem for path in (models_dir() / "hf_shapes").glob("*.json"))


def config_file(config: str) -> Path:
    """Of a shape by its name, or of a path."""
    shipped = models_dir() / "hf_shapes" / f"{config}.json"
    return shipped if shipped.is_file() else Path(config)


def model_type(config: str) -> str | None:
    """What transformers calls the architecture; None where the config cannot be read (any more)."""
    try:
        return str(_read(config)["model_type"])
    except UsageError:
        return None


def _read(config: Any) -> dict[str, Any]:
    if config is None:
        raise UsageError(
            f"model.config is missing: shapes are {', '.join(shapes())}; "
            "type model.config=path/to/config.json, or +model=hf/gpt2"
        )
    path = config_file(str(config))
    if path.is_dir():
        raise UsageError(
            f"model.config={config}: is a folder; type model.config={path / 'config.json'}"
        )
    if not path.is_file():
        close = difflib.get_close_matches(str(config), shapes(), n=1, cutoff=0.5)
        hint = f"+model=hf/{close[0]}" if close else "model.config=path/to/config.json"
        raise UsageError(
            f"model.config={config}: there is no such file, and no such shape; "
            f"shapes are {', '.join(shapes())}; type {hint}"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"model.config={config}: cannot be read ({error}); {_WANTED}") from error
    except ValueError as error:
        raise UsageError(f"model.config={config}: is no JSON ({error}); {_WANTED}") from error
    if not isinstance(document, dict) or not isinstance(document.get("model_type"), str):
        raise UsageError(f"model.config={config}: has no model_type; {_WANTED}")
    return document


_WANTED = "type model.config=<the config.json of a Hugging Face model>"


def _max_positions(document: Mapping[str, Any]) -> int | None:
    """As the model itself has it; from its file, since models/ may lie beside this package or in it."""
    found: int | None = runpy.run_path(str(models_dir() / "hf_positions.py"))["max_positions"](
        document
    )
    return found


def _check_installed(package: str, what: str) -> None:
    if not _is_installed(package):
        raise EnvironmentUnfit(f"{what} needs {package}, which is not installed; {_INSTALL}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
