"""What people call an option, or a setting, and what that is here: a table, and how it is applied."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from sweeper.errors import UsageError
from sweeper.hydra_edge.options import group_of, known_groups, known_options

# Without capitals and punctuation, which nobody is held to: BF16 and stage-3 need no row.
_OFF = ("none", "no", "off", "false", "0", "null")
_ON = ("true", "yes", "on")
_DTYPES = {
    "fp32": ("32", "float32", "float", "f32", "single", "full", "32true"),
    "bf16": ("bfloat16", "bf", "b16", "brainfloat16", "bf16true"),
    "fp16": ("16", "float16", "half", "f16", "16mixed", "fp16mixed", "16true"),
}
_KINDS = {
    "tensor": ("tp", "tensorparallel", "autotp"),
    "pipeline": ("pp", "pipelineparallel", "pipe"),
    "sequence": ("sp", "sequenceparallel", "ulysses"),
    "expert": ("ep", "expertparallel", "moe"),
}
OPTIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "zero": {
        **{f"stage{n}": (f"{n}", f"z{n}", f"zero{n}", f"zerostage{n}", f"s{n}") for n in (1, 2, 3)},
        "stage0": (*_OFF, "z0", "zero0", "zerostage0", "s0", "ddp"),
        "stage3_hpz": ("hpz", "zero3hpz"),
    },
    "offload": {
        "none": _OFF,
        "optimizer": ("optimizerstates", "optim", "opt", "optimizercpu", "cpuoptimizer"),
        "optimizer_and_params": (
            *("all", "both", "everything", "optimizerparams", "optimizerandparameters"),
            *("optimizerparam", "paramsandoptimizer"),
        ),
        "nvme": ("disk", "ssd"),
        "nvme_optimizer": ("optimizernvme",),
        "partial": ("twinflow",),
    },
    "precision": {**_DTYPES, "autocast_bf16": ("autocast", "bf16autocast", "ampbf16", "bf16amp")},
    "comm": {**_DTYPES, "default": (*_OFF, "same")},
    "checkpointing": {
        "none": _OFF,
        "full": (*_ON, "1", "all", "every", "everyblock"),
        "every_second": ("2", "half", "second"),
        "full_on_cpu": ("cpu", "oncpu", "fullcpu"),
    },
    "compile": {
        "none": _OFF,
        "engine": (*_ON, "1", "torch", "torchcompile", "inductor"),
        "deepcompile": ("deep", "deepspeed"),
    },
    "parallel": {
        "data": (*_OFF, "1", "dp", "ddp", "dataparallel"),
        **{
            f"{kind}{degree}": [f"{word}{degree}" for word in words]
            for kind, words in _KINDS.items()
            for degree in (2, 4)
        },
    },
    "optimizer": {"adamw": ("adamwfused", "fusedadamw", "adamwtorchfused", "default")},
    "measure": {"quick": ("fast",), "standard": ("default", "normal"), "careful": ("thorough",)},
    "launch": {"warm": ("default",), "torchrun": ("torch", "torchelastic"), "deepspeed": ("ds",)},
    "hardware": {"cuda": ("gpu", "gpus", "nvidia"), "cpu": ("host",)},
    "workload": {"cuda": ("gpu",)},
    "objective": {
        "throughput": ("speed", "tput", "fastest", "tokens", "tokenspersecond", "default"),
        "memory": ("mem", "leastmemory"),
        "cost": ("price", "money", "cheapest"),
        "pareto": ("paretofront", "both"),
        "time_to_target": ("timetotrain",),
    },
    "space": {
        "none": _OFF,
        "quick": ("fast", "small"),
        "standard": ("default", "normal"),
        "full": ("all", "everything", "large"),
    },
    "callbacks": {
        "none": _OFF,
        "tensorboard": ("tb",),
        "wandb": ("weightsandbiases", "wb"),
    },
    "hydra/sweeper": {"basic": ("grid", "none")},
    "hydra/sweeper/sampler": {
        "guided": ("default", "guide"),
        "tpe": ("tpesampler",),
        "gp": ("gpsampler", "gaussianprocess"),
        "nsgaii": ("nsga2", "nsgaiisampler"),
        "random": ("randomsampler",),
        "grid": ("gridsampler",),
        "qmc": ("qmcsampler", "sobol"),
    },
}
# Words with two meanings and more: why, and the options that may be meant.
SEVERAL: Mapping[str, Mapping[str, tuple[str, Sequence[str]]]] = {
    "zero": {
        **dict.fromkeys(
            (*_ON, "zero"), ("which stage is not said", ("stage1", "stage2", "stage3"))
        ),
        "infinity": ("ZeRO-Infinity is stage 3 beside offload=nvme", ("stage3",)),
    },
    "offload": dict.fromkeys(
        (*_ON, "1", "cpu", "host", "ram"),
        (
            "goes to the CPU the optimizer alone, or the parameters too",
            ("optimizer", "optimizer_and_params"),
        ),
    ),
    "precision": {
        "bf16mixed": (
            "parameters in bf16 beside fp32 master weights, or fp32 parameters under autocast",
            ("bf16", "autocast_bf16"),
        ),
        **dict.fromkeys(
            ("mixed", "amp", *_ON),
            ("mixed with what is not said", ("bf16", "fp16", "autocast_bf16")),
        ),
    },
    "parallel": {
        **{
            n: (
                f"what {n} ranks share is not said",
                tuple(f"{kind}{n}" for kind in _KINDS),
            )
            for n in ("2", "4")
        },
        **{
            word: (f"the degree of {kind} parallelism is missing", (f"{kind}2", f"{kind}4"))
            for kind, words in _KINDS.items()
            for word in (kind, *words)
        },
    },
    "model": {
        "bert": ("it comes in several sizes", ("bert-base", "bert-large", "bert-nano")),
        "llama": ("it comes in several sizes", ("llama-1b", "llama-3b", "llama-8b", "llama-nano")),
        "moe": ("it comes in several sizes", ("moe-nano", "moe-small")),
    },
}
# A name of another framework, or a shorter one, for the same thing with the same values.
NAMES: Mapping[str, str] = {
    **dict.fromkeys(("stage", "zero_stage", "zero_optimization.stage", "deepspeed_stage"), "zero"),
    **dict.fromkeys(("dtype", "mixed_precision", "torch_dtype"), "precision"),
    **dict.fromkeys(
        (
            *("micro_batch", "micro_batch_size", "train_micro_batch_size_per_gpu"),
            *("per_device_train_batch_size", "micro_size", "batch.micro_batch_size"),
        ),
        "batch.micro_size",
    ),
    **dict.fromkeys(
        (
            *("global_batch_size", "train_batch_size", "batch.global_batch_size"),
            "batch.global_size",
        ),
        "workload.global_batch_size",
    ),
    **dict.fromkeys(
        ("sequence_length", "seq_len", "seq_length", "max_seq_length"), "workload.sequence_length"
    ),
    **dict.fromkeys(
        ("gradient_checkpointing", "activation_checkpointing", "checkpoint"), "checkpointing"
    ),
    **dict.fromkeys(("torch_compile", "compile_mode"), "compile"),
    **dict.fromkeys(("lr", "learning_rate"), "optimizer.lr"),
    **dict.fromkeys(
        ("gpus", "num_gpus", "nproc_per_node", "world_size", "ranks"), "hardware.ranks"
    ),
    **dict.fromkeys(("device", "accelerator"), "hardware"),
    **dict.fromkeys(("n_trials", "trials", "num_trials"), "hydra.sweeper.n_trials"),
    **{
        name: f"hydra.sweeper.{name}"
        for name in ("timeout", "patience", "storage", "study_name", "warm_start", "n_seeds")
    },
    **dict.fromkeys(("sweeper", "hydra.sweeper"), "hydra/sweeper"),
    **dict.fromkeys(("sampler", "hydra.sweeper.sampler"), "hydra/sweeper/sampler"),
    **dict.fromkeys(("launcher", "hydra.launcher"), "hydra/launcher"),
}
# Switches: with true they are one option of a group; what else is meant by false is not said.
SWITCHES: Mapping[str, str] = {
    "bf16": "precision=bf16",
    "fp16": "precision=fp16",
    "bf16.enabled": "precision=bf16",
    "fp16.enabled": "precision=fp16",
    "fp32": "precision=fp32",
}
# Before the name of a model on the hub whose shapes are ours.
ORGANISATIONS = (
    *("meta-llama", "openai-community", "google-bert", "google", "facebook", "FacebookAI"),
    *("mistralai", "microsoft", "EleutherAI", "Qwen", "distilbert", "google-t5"),
)
_DEGREES: Mapping[str, str] = {
    **{f"{kind}_parallel": f"parallel.{kind}" for kind in _KINDS},
    **{f"{kind}_parallel_size": f"parallel.{kind}" for kind in _KINDS},
    "tp": "parallel.tensor",
    "pp": "parallel.pipeline",
    "sp": "parallel.sequence",
    "ep": "parallel.expert",
}
_WITHOUT_PLUS = tuple(group for group in known_groups() if group != "model")
_PARAMS = "hydra.sweeper.params."
_WORD = re.compile(r"[^\s(),\[\]]+(?!\s*\()(?![^\s(),\[\]])")
_NOT_WORDS = re.compile(r"[{}$'\"\\]|\b(?:range|interval|glob)\s*\(")


def as_named_here(argument: str) -> str:
    """``zero=3`` as ``zero=stage3``; what is not in the table, or no word, as it is.

    Raises UsageError for a word that may mean several of our options.
    """
    head, equals, value = argument.partition("=")
    if not equals or head.startswith(("-", "~")):
        return argument
    name = head.lstrip("+")
    if name.startswith(_PARAMS):
        return as_named_here(f"{name.removeprefix(_PARAMS)}={value}")
    if name in SWITCHES and value.strip().lower() in (*_ON, "1"):
        return SWITCHES[name]
    ours = NAMES.get(name) or _DEGREES.get(name)
    if ours is not None and not (value.startswith(("{", "[")) or value == ""):
        head, name = ours, ours
    group = group_of(name)
    if group in _WITHOUT_PLUS and name == group:
        head = name  # they are there, to be overridden, not to be added
    elif group == "model" and head.startswith("++"):
        head = head[1:]
    if group is None or _NOT_WORDS.search(value):
        return f"{head}={value}"

    def named(match: re.Match[str]) -> str:
        return _option(group, match[0], argument)

    return f"{head}={_WORD.sub(named, value)}"


def _option(group: str, word: str, argument: str) -> str:
    """The option that a word is, or the word."""
    known = known_options(group)
    if word in known or "=" in word:
        return word
    plain = normal(word)
    if plain in (several := SEVERAL.get(group, {})):
        why, options = several[plain]
        plus = "+" if group == "model" else ""
        raise UsageError(
            f"{argument}: {why}; allowed are {', '.join(known)}; type "
            + ", or ".join(f"{plus}{group}={option}" for option in options)
        )
    found = _by_word(group).get(plain)
    organisation, _, shape = word.rpartition("/")
    if found is None and organisation in ORGANISATIONS:
        found = _by_word(group).get(normal(f"hf/{shape}"))
    return found or word


@functools.cache
def _by_word(group: str) -> Mapping[str, str]:
    words = {normal(option): option for option in known_options(group)}
    for option, others in OPTIONS.get(group, {}).items():
        words.update(dict.fromkeys(others, option))
    return words


def normal(word: str) -> str:
    """Without capitals, and what people put between the parts of a word."""
    return re.sub(r"[^a-z0-9]", "", word.lower())
