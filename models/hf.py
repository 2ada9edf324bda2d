"""Hugging Face architectures from their config: random weights, the loss of their task, LoRA."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from transformers import masking_utils
from transformers.initialization import no_init_weights
from transformers.integrations import moe

from .bert import split_masked
from .hf_positions import max_positions
from .hf_sizes import flops_per_sample, sides
from .hf_weights import in_single_precision, units
from .language_model import mean_loss, split_next_token

# The last part of a published config's architecture -> its task
TASKS = {
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
    "ForMaskedLM": "masked",
    "ForConditionalGeneration": "seq2seq",
    "ForImageClassification": "image",
}
_CLASSES = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
    "image": transformers.AutoModelForImageClassification,
}
# What convolutions are commonly trained on, where a config names no size.
_IMAGE_SIZE = 224
_ATTENTION = "sdpa"
_DISTINCT_IMAGES = 16

Whole = Callable[[list[nn.Parameter]], AbstractContextManager[Any]]


class HuggingFaceModel(nn.Module):
    """An architecture that is given a batch and returns its loss, as ``LanguageModel`` says.

    A causal model predicts the next token, a masked one the masked tokens (as our BERT), a seq2seq
    model reads the sample and writes it, an image model tells the class.
    """

    def __init__(self, model: Any, task: str) -> None:
        super().__init__()
        self.model = model
        self.task = task
        config = model.config
        self._config = config
        self._images: Tensor | None = None
        self.vocab_size: int | None = getattr(config, "vocab_size", None)
        self.max_positions = None if task == "image" else max_positions(config.to_dict())

    def forward(self, batch: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.task == "image":
            assert labels is not None
            return F.cross_entropy(self.model(pixel_values=batch).logits.float(), labels)
        if self.task == "masked":
            assert self.vocab_size is not None
            inputs, labels = split_masked(batch, mask_id=self.vocab_size - 1)
        else:
            inputs, labels = split_next_token(batch)
        written = {"decoder_input_ids": inputs} if self.task == "seq2seq" else {}
        with _computable() if is_fake(batch) else contextlib.nullcontext():
            logits = self.model(input_ids=inputs, **written).logits
        return mean_loss(logits, labels)

    def make_batch(self, *, samples: int, length: int, generator: torch.Generator) -> Any:
        """Images and their classes; each class has its image, so that a training that works shows."""
        if self._images is None:
            channels = getattr(self._config, "num_channels", 3)
            shape = (_DISTINCT_IMAGES, channels, *self._image)
            self._images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        classes = torch.randint(0, self._config.num_labels, (samples,), generator=generator)
        contrast = 0.5 + torch.rand((samples, 1, 1, 1), generator=generator)
        return self._images[classes % _DISTINCT_IMAGES] * contrast, classes

    @property
    def makes_batches(self) -> bool:
        """Whether its batches are other than token ids."""
        return self.task == "image"

    def tokens_per_sample(self, length: int) -> int:
        """What the model computes on: an image's patches, or what is read and what is written.

        An image that is not cut into patches is one.
        """
        if self.task == "image":
            patch = getattr(self._config, "patch_size", None)
            patches = zip(self._image, sides(patch or self._image), strict=True)
            return math.prod(whole // part for whole, part in patches)
        return 2 * length if self.task == "seq2seq" else length

    def flops_per_sample(self, length: int) -> float | None:
        """Of forward and backward, as ``Pipeline.flops_per_token`` counts them."""
        tokens = self.tokens_per_sample(length)
        return flops_per_sample(self.model, self.task, length=length, tokens=tokens)

    @property
    def _image(self) -> tuple[int, int]:
        """Height and width: convolutions take any."""
        return sides(getattr(self._config, "image_size", None) or _IMAGE_SIZE)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """As Hugging Face's own."""
        self.model.gradient_checkpointing_enable(**options)

    def draw_weights(self, seed: int, whole: Whole) -> None:
        """Draws what the architecture's own initialisation draws, the same at every ZeRO stage.

        ``whole(parameters)`` is a context in which the parameters are there at their full size.
        """
        for number, (modules, parameters) in enumerate(
            units(self.model, transformers.PreTrainedModel)
        ):
            torch.manual_seed(seed + number)
            with whole(parameters), in_single_precision(parameters), torch.no_grad():
                for module, owner in modules:
                    if hasattr(module, "reset_lora_parameters"):
                        module.reset_lora_parameters("default", True)
                    else:
                        owner._init_weights(module)
        torch.manual_seed(seed)


def shape_file(config: str) -> Path:
    """Of a shape by its name, or of a path."""
    shipped = Path(__file__).parent / "hf_shapes" / f"{config}.json"
    return shipped if shipped.is_file() else Path(config)


def _task_of(document: Mapping[str, Any]) -> str:
    for architecture in document.get("architectures") or ():
        for ending, task in TASKS.items():
            if architecture.endswith(ending):
                return task
    raise ValueError("the config names no architecture: say model.task=" + "|".join(_CLASSES))


def build(
    *,
    config: str,
    task: str | None = None,
    attention: str | None = None,
    dropout: bool = False,
    lora_rank: int = 0,
    lora_alpha: int = 16,
    lora_targets: list[str] | None = None,
    trust_remote_code: bool = False,
    override: dict[str, Any] | None = None,
) -> HuggingFaceModel:
    """The model that ``conf/model/hf.yaml`` names: a shape of ours by its name, or a config.json.

    ``task`` is told from the config's architecture where it is None; ``attention`` is then sdpa, or
    eager where the architecture has no other. Without ``dropout`` all of
    the config's dropout is off. ``lora_rank`` > 0 freezes the weights and adds adapters.
    ``override`` changes keys of the config. Raises ValueError where there is no such model.
    """
    path = shape_file(config)
    document = json.loads(path.read_text(encoding="utf-8"))
    task = task or _task_of(document)
    settings = _settings(path, document, trust_remote_code)
    _override(settings, override or {})
    if getattr(settings, "vocab_size", None) == 0:
        raise ValueError(
            "vocab_size is 0, so there are no tokens; type model.override.vocab_size=32000"
        )
    settings.use_cache = False  # of generation; it would be filled in each forward pass
    if not dropout:
        _switch_off_dropout(settings)
    model = _architecture(settings, task, attention, trust_remote_code)
    model.tie_weights()
    if lora_rank:
        model = _with_adapters(model, rank=lora_rank, alpha=lora_alpha, targets=lora_targets)
    return HuggingFaceModel(model, task)


def _settings(path: Path, document: Mapping[str, Any], trust_remote_code: bool) -> Any:
    """The config as transformers reads it."""
    known, given = transformers.CONFIG_MAPPING, document["model_type"]
    if given not in known and not document.get("auto_map"):
        close = difflib.get_close_matches(str(given), list(known), n=1)
        raise ValueError(
            f"model_type {given} is unknown to transformers {transformers.__version__}"
            + (f", which knows {close[0]}" if close else "")
            + "; where a later one knows it, type pip install --upgrade transformers"
        )
    # Code of the architecture's own lies beside its config.json.
    place = path.parent if path.name == "config.json" else path
    with _in_one_line():
        return transformers.AutoConfig.from_pretrained(
            str(place), trust_remote_code=trust_remote_code
        )


def _override(settings: Any, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if not hasattr(settings, name):
            keys = [key for key in settings.to_dict() if not key.startswith("_")]
            close = difflib.get_close_matches(name, keys, n=1, cutoff=0.5) or ["<key>"]
            raise ValueError(
                f"model.override.{name}={value}: the config of {settings.model_type} has no {name}; "
                f"type model.override.{close[0]}=..., with a key that is there"
            )
        with _in_one_line(f"model.override.{name}={value}: "):
            setattr(settings, name, value)


def _architecture(settings: Any, task: str, attention: str | None, trust_remote_code: bool) -> Any:
    """With weights that are still to be drawn."""
    models = _CLASSES[task]._model_mapping
    if type(settings) in models:
        attention = _attention(attention, models[type(settings)])
    elif not trust_remote_code:
        raise ValueError(_no_such_model(settings, task))
    attention = attention or _ATTENTION
    if attention.startswith("flash_attention") and _without_values():
        # A device's kernel, which cannot be had here; the memory is the same.
        attention = "sdpa"
    with no_init_weights():
        return _CLASSES[task].from_config(
            settings,
            # A config's own would take effect before DeepSpeed's.
            dtype=torch.float32,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
        )


def _attention(asked: str | None, architecture: Any) -> str:
    """Names with a slash are kernels that transformers fetches."""
    architecture = architecture[0] if isinstance(architecture, tuple) else architecture
    offered = {
        "sdpa": architecture._supports_sdpa,
        "flash_attention_2": architecture._supports_flash_attn,
        "flash_attention_3": architecture._supports_flash_attn,
        "flex_attention": architecture._supports_flex_attn,
    }
    if asked is None:
        return _ATTENTION if offered[_ATTENTION] else "eager"
    known = asked == "eager" or asked in transformers.AttentionInterface().valid_keys()
    if "/" not in asked and not (known and offered.get(asked, True)):
        allowed = [*(name for name, offers in offered.items() if offers), "eager"]
        raise ValueError(
            f"model.attention={asked}: {architecture.__name__} has {', '.join(allowed)}; "
            "leave it out, or type model.attention=eager"
        )
    return asked


def _no_such_model(settings: Any, task: str) -> str:
    others = [name for name, auto in _CLASSES.items() if type(settings) in auto._model_mapping]
    hint = f"type model.task={'|'.join(others)}"
    if not others:
        hint = "what is trained here has one kind of input; of a model of texts and images, give "
        hint += "the part (its text_config) as a config.json of its own: type model.config=<path>"
    return f"transformers has no {task} model of model_type {settings.model_type}; {hint}"


def _switch_off_dropout(config: Any) -> None:
    for name, value in config.to_dict().items():
        if ("drop" in name) and isinstance(value, float):
            setattr(config, name, 0.0)
        elif isinstance(getattr(config, name, None), transformers.PreTrainedConfig):
            _switch_off_dropout(getattr(config, name))


def _with_adapters(model: Any, *, rank: int, alpha: int, targets: list[str] | None) -> Any:
    import peft

    _check_targets(model, targets)
    adapters = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,  # None: peft's choice for the architecture
        init_lora_weights=False,  # drawn with the other weights
    )
    try:
        with _adapters_stay() if _without_values() else contextlib.nullcontext():
            # All parameters have one dtype, as DeepSpeed wants it.
            return peft.get_peft_model(model, adapters, autocast_adapter_dtype=False)
    except ValueError as error:
        said = f"model.lora_targets is not given, and peft chooses none for {type(model).__name__}"
        if targets:
            said = f"{_given(targets)}: {' '.join(str(error).split())}"
        raise ValueError(f"{said}; {_linear_layers(model)}") from error


def _check_targets(model: Any, targets: list[str] | None) -> None:
    names = {name for name, _ in model.named_modules()}
    for target in targets or ():
        if not any(name == target or name.endswith(f".{target}") for name in names):
            said = f"{_given(targets)}: {type(model).__name__} has no {target}"
            raise ValueError(f"{said}; {_linear_layers(model)}")


def _given(targets: list[str] | None) -> str:
    return f"model.lora_targets=[{','.join(targets or ())}]"


def _linear_layers(model: Any) -> str:
    kinds = (nn.Linear, transformers.pytorch_utils.Conv1D)
    paths = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    names = list(dict.fromkeys(path.rpartition(".")[2] for path in paths))
    return f"its linear layers are {', '.join(names)}; type model.lora_targets=[{names[0]}]"


# On tensors without values, which cannot do all that others can


def _without_values() -> bool:
    made = torch.empty(0)
    return is_fake(made) or made.is_meta


@contextlib.contextmanager
def _adapters_stay() -> Iterator[None]:
    """Where they are made: the parameters of a module that is moved cannot be fake, wherever it is."""
    with _replaced(nn.Module, "to", lambda module, *place, **options: module):
        yield


@contextlib.contextmanager
def _computable() -> Iterator[None]:
    """What transformers decides by values, or by kernels whose shapes torch knows for bf16 alone.

    A mask of packed sequences, which no training here has; experts one by one, in the same memory.
    """
    one_sequence = _replaced(
        masking_utils, "find_packed_sequence_indices", lambda position_ids: None
    )
    one_by_one = _replaced(moe, "_can_use_grouped_mm", lambda *tensors: False)
    with one_sequence, one_by_one:
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    """Where there is such a function: it is theirs, and another version may do without."""
    original = getattr(owner, name, None)
    if original is None:
        yield
        return
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def _in_one_line(given: str = "") -> Iterator[None]:
    """The reason why a config is refused; its checks wrap the error that says it."""
    try:
        yield
    except Exception as error:
        reason: BaseException = error
        while "StrictDataclass" in type(reason).__name__ and reason.__cause__ is not None:
            reason = reason.__cause__
        lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
        raise ValueError(f"{given}{(lines or [type(reason).__name__])[0]}") from error


__all__ = ["TASKS", "HuggingFaceModel", "build", "max_positions", "shape_file"]
