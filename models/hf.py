"""Hugging Face architectures from their config: random weights, the loss of their task, LoRA."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from .bert import split_masked
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
_POSITIONS = ("n_positions", "max_position_embeddings")
# Their table of positions begins behind the padding token's.
_POSITIONS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
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
        with _one_sequence_a_sample() if is_fake(batch) else contextlib.nullcontext():
            logits = self.model(input_ids=inputs, **written).logits
        return mean_loss(logits, labels)

    def make_batch(self, *, samples: int, length: int, generator: torch.Generator) -> Any:
        """Images and their classes; each class has its image, so that a training that works shows."""
        if self._images is None:
            shape = (_DISTINCT_IMAGES, self._config.num_channels, *_sides(self._config.image_size))
            self._images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        classes = torch.randint(0, self._config.num_labels, (samples,), generator=generator)
        contrast = 0.5 + torch.rand((samples, 1, 1, 1), generator=generator)
        return self._images[classes % _DISTINCT_IMAGES] * contrast, classes

    @property
    def makes_batches(self) -> bool:
        """Whether its batches are other than token ids."""
        return self.task == "image"

    def tokens_per_sample(self, length: int) -> int:
        """What the model computes on: an image's patches, or what is read and what is written."""
        if self.task == "image":
            height, width = _sides(self._config.image_size)
            patch_height, patch_width = _sides(self._config.patch_size)
            return (height // patch_height) * (width // patch_width)
        return 2 * length if self.task == "seq2seq" else length

    def flops_per_sample(self, length: int) -> float | None:
        """Of forward and backward, as ``Pipeline.flops_per_token`` counts them.

        A frozen weight has no gradient of its own: four, not six, for each use. None where experts
        are idle, or the config does not name the sizes.
        """
        config = self._config
        layers, heads = (
            getattr(config, name, None) for name in ("num_hidden_layers", "num_attention_heads")
        )
        if layers is None or heads is None or any(hasattr(config, name) for name in _EXPERTS):
            return None
        head_width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
        width = heads * (head_width or config.hidden_size // heads)
        tokens = self.tokens_per_sample(length)
        if self.task == "seq2seq":
            tokens = length  # each part has its own
            # One attention in a block of the encoder, two in one of the decoder
            layers = 2 * (getattr(config, "num_decoder_layers", None) or layers) + layers
        flops = 12.0 * layers * width * tokens**2
        for name, parameter in _multiplied(self.model):
            # An image has one class.
            uses = 1 if self.task == "image" and "classifier" in name else tokens
            flops += uses * _numel(parameter) * (6.0 if parameter.requires_grad else 4.0)
        return flops

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """As Hugging Face's own."""
        self.model.gradient_checkpointing_enable(**options)

    def draw_weights(self, seed: int, whole: Whole) -> None:
        """Draws what the architecture's own initialisation draws, the same at every ZeRO stage.

        ``whole(parameters)`` is a context in which the parameters are there at their full size.
        """
        for number, (modules, parameters) in enumerate(_units(self.model)):
            torch.manual_seed(seed + number)
            with whole(parameters), _in_single_precision(parameters), torch.no_grad():
                for module, owner in modules:
                    if hasattr(module, "reset_lora_parameters"):
                        module.reset_lora_parameters("default", True)
                    else:
                        owner._init_weights(module)
        torch.manual_seed(seed)


@contextlib.contextmanager
def _one_sequence_a_sample() -> Iterator[None]:
    """On tensors without values transformers cannot see it, and would build masks that no training has."""
    original = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original


_Drawn = tuple[list[tuple[nn.Module, Any]], list[nn.Parameter]]


def _units(model: nn.Module, owner: Any = None) -> Iterator[_Drawn]:
    """Modules that are initialised together, each with the model that knows how, and the parameters.

    A module without lists of blocks is one unit: an attention may draw what its own layers hold.
    """
    owner = model if isinstance(model, transformers.PreTrainedModel) else owner
    if not any(isinstance(module, nn.ModuleList) for module in model.modules()):
        yield list(_with_owners(model, owner)), list(model.parameters())
        return
    parameters = list(model.parameters(recurse=False))
    for child in model.children():
        yield from _units(child, owner)
        parameters += child.parameters(recurse=False)
    if owner is not None and not isinstance(model, nn.ModuleList):
        yield [(model, owner)], list(dict.fromkeys(parameters))


def _with_owners(module: nn.Module, owner: Any) -> Iterator[tuple[nn.Module, Any]]:
    """From the inside out, as Hugging Face does."""
    owner = module if isinstance(module, transformers.PreTrainedModel) else owner
    for child in module.children():
        yield from _with_owners(child, owner)
    if owner is not None:
        yield module, owner


@contextlib.contextmanager
def _in_single_precision(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """On the CPU, so that a seed gives the same weights whatever they are created in and on."""
    places = [(parameter, parameter.data) for parameter in parameters]
    for parameter, data in places:
        parameter.data = torch.empty(data.shape, dtype=torch.float32)
        parameter.data.copy_(data)
    yield
    for parameter, data in places:
        data.copy_(parameter.data)
        parameter.data = data


def _multiplied(model: Any) -> list[tuple[str, nn.Parameter]]:
    """All but tables that are looked up; one that is the output projection too is multiplied with."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    kept = set() if head is None else set(head.parameters())
    tables = {
        parameter
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    return [(n, p) for n, p in model.named_parameters() if p not in tables or p in kept]


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; a square has one size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _numel(parameter: nn.Parameter) -> int:
    """Also of one that is partitioned, which holds nothing itself."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def max_positions(config: Mapping[str, Any]) -> int | None:
    """The longest sample that a published config allows; None where positions are relative."""
    if config["model_type"] == "t5":
        return None
    for name in _POSITIONS:
        if config.get(name):
            offset = 0
            if config["model_type"] in _POSITIONS_FROM_PADDING:
                offset = (config.get("pad_token_id") or 0) + 1
            return int(config[name]) - offset
    return None


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
    attention: str = "sdpa",
    dropout: bool = False,
    lora_rank: int = 0,
    lora_alpha: int = 16,
    lora_targets: list[str] | None = None,
    trust_remote_code: bool = False,
    override: dict[str, Any] | None = None,
) -> HuggingFaceModel:
    """The model that ``conf/model/hf.yaml`` names: a shape of ours by its name, or a config.json.

    ``task`` is told from the config's architecture where it is None. Without ``dropout`` all of
    the config's dropout is off. ``lora_rank`` > 0 freezes the weights and adds adapters.
    ``override`` changes keys of the config.
    """
    path = shape_file(config)
    document = json.loads(path.read_text(encoding="utf-8"))
    task = task or _task_of(document)
    # Code of the architecture's own lies beside its config.json.
    place = path.parent if path.name == "config.json" else path
    settings: Any = transformers.AutoConfig.from_pretrained(
        str(place), trust_remote_code=trust_remote_code
    )
    for name, value in (override or {}).items():
        if not hasattr(settings, name):
            raise ValueError(f"model.override.{name}: the config of {config} has no {name}")
        setattr(settings, name, value)
    settings.use_cache = False  # of generation; it would be filled in each forward pass
    if not dropout:
        _switch_off_dropout(settings)
    with no_init_weights():
        model = _CLASSES[task].from_config(
            settings,
            # A config's own would take effect before DeepSpeed's.
            dtype=torch.float32,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
        )
    model.tie_weights()
    if lora_rank:
        model = _with_adapters(model, rank=lora_rank, alpha=lora_alpha, targets=lora_targets)
    return HuggingFaceModel(model, task)


def _switch_off_dropout(config: Any) -> None:
    for name, value in config.to_dict().items():
        if ("drop" in name) and isinstance(value, float):
            setattr(config, name, 0.0)
        elif isinstance(getattr(config, name, None), transformers.PreTrainedConfig):
            _switch_off_dropout(getattr(config, name))


def _with_adapters(model: Any, *, rank: int, alpha: int, targets: list[str] | None) -> Any:
    import peft

    adapters = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,  # None: peft's choice for the architecture
        init_lora_weights=False,  # drawn with the other weights
    )
    # All parameters have one dtype, as DeepSpeed wants it.
    return peft.get_peft_model(model, adapters, autocast_adapter_dtype=False)


__all__ = ["TASKS", "HuggingFaceModel", "build", "max_positions", "shape_file"]
