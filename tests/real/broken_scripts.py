"""Broken and odd scripts, configurations and command lines: what each is told, and how the command ends."""

import base64
import json
from dataclasses import dataclass

TRAIN = """
import argparse, json, os, signal, sys, threading, time
import deepspeed, torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

parser = deepspeed.add_config_arguments(argparse.ArgumentParser())
args = parser.parse_args()
#begin
data = TensorDataset(torch.randn(400, 8), torch.randn(400, 1))
model = torch.nn.Linear(8, 1)
#before
engine, _, loader, _ = deepspeed.initialize(
    args=args, model=model, model_parameters=model.parameters(), training_data=data
)
#after
for epoch in range(3):
    for inputs, targets in loader:
        #forward
        loss = torch.nn.functional.mse_loss(engine(inputs.to(model.weight.dtype)), targets)
        #backward
        engine.backward(loss)
        #step
        engine.step()
#end
"""
ADAM = {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}}
CONFIG = {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 1, "optimizer": ADAM}
AS_USUAL = "--deepspeed_config ds_config.json"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """``says`` are words of the one line where it ``fails``, of the notes where it does not.

    ``script`` is the whole of train.py, ``puts`` stand in the place of the marks of the usual one; ``config`` is the file's
    content, None where there is no file.
    """

    code: int
    says: str | tuple[str, ...] = ()
    script: str | None = None
    puts: dict[str, str] | None = None
    config: object = None
    no_config: bool = False
    arguments: str = AS_USUAL
    more: tuple[str, ...] = ()

    def source(self) -> str:
        if self.script is not None:
            return self.script
        lines = []
        for line in TRAIN.splitlines():
            mark = line.strip()
            put = (self.puts or {}).get(mark[1:]) if mark.startswith("#") else None
            indent = line[: len(line) - len(line.lstrip())]
            lines += [line] if put is None else [indent + text for text in put.splitlines()]
        return "\n".join(lines) + "\n"

    def write(self, folder) -> None:
        (folder / "train.py").write_text(self.source())
        if self.no_config:
            return
        content = CONFIG if self.config is None else self.config
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        (folder / "ds_config.json").write_bytes(content)


def changed(**keys):
    """The usual configuration with these; ``...`` takes one out."""
    return {n: v for n, v in {**CONFIG, **keys}.items() if v is not ...}


def file(content, code, says=(), **rest):
    return Broken(config=content, code=code, says=says, **rest)


def having(code, says=(), *more, **keys):
    return Broken(config=changed(**keys), code=code, says=says, more=more)


def zero(code, says=(), *more, **section):
    return Broken(config=changed(zero_optimization=section), code=code, says=says, more=more)


def doing(code, says=(), *more, **puts):
    return Broken(puts=puts, code=code, says=says, more=more)


def whole(code, says, script, *more, **rest):
    return Broken(script=script, code=code, says=says, more=more, **rest)


def typed(code, says, *more, **rest):
    return Broken(code=code, says=says, more=more, **rest)


MICRO, STEPS, TRAIN_BATCH = (
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "train_batch_size",
)
PREAMBLE = TRAIN.partition("#begin")[0]
NO_STR = """
class Odd(Exception):
    def __str__(self):
        raise ValueError("no words")
"""

COMMENTED = """{
  // of DeepSpeed
  train_batch_size: 2 # a step
  "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": true}},
}
"""
OF_A_PLACEHOLDER = {
    "more": ("script.ds_config=ds_config.json",),
    "arguments": "--deepspeed_config {ds_config}",
}


def encoded(text):
    """As DeepSpeed takes a configuration on the command line."""
    return "--deepspeed_config " + base64.urlsafe_b64encode(text.encode()).decode()


UNSEEN = """
class Model(torch.nn.Linear):
    def forward(self, what):
        return super().forward(torch.randn(2, 8))

model = Model(8, 1)
engine = deepspeed.initialize(args=args, model=model, model_parameters=model.parameters())[0]
for step in range(400):
    engine.backward(engine("samples").pow(2).mean())
    engine.step()
"""

FILES = {
    "unclosed JSON": file('{"optimizer": {', 2, "ds_config.json cannot be read: Bad key name"),
    "Hjson, with comments and a trailing comma": file(COMMENTED, 0),
    "a duplicate key": file(
        '{"train_batch_size": 2, "train_batch_size": 4}', 2, "Duplicate keys in DeepSpeed config"
    ),
    "a list": file("[1, 2]", 2, "it is [1, 2], where an object is wanted"),
    "a number": file("7", 2, "it is 7, where an object is wanted"),
    "a string": file('"stage 2"', 2, 'it is "stage 2", where an object is wanted'),
    "null": file("null", 2, "it is null, where an object is wanted"),
    "an empty file": file("", 2, "neither train_batch_size nor train_micro_batch_size_per_gpu"),
    "an empty object": file("{}", 2, "neither train_batch_size nor"),
    "not UTF-8": file(b'{"optimizer": "\xff\xfe"}', 2, "cannot be read: 'utf-8' codec"),
    "UTF-16": file(json.dumps(CONFIG).encode("utf-16"), 2, "cannot be read: 'utf-8' codec"),
    "a byte order mark": file(b"\xef\xbb\xbf" + json.dumps(CONFIG).encode(), 0),
    "not a number": file('{"train_batch_size": NaN}', 2, "cannot be read"),
    "a folder": Broken(code=2, says=". is a folder", arguments="--deepspeed_config ."),
    "no file": Broken(
        code=2, says=("ds_config.json: there is no such file in", "theirs"), no_config=True
    ),
    "base64": Broken(code=0, no_config=True, arguments=encoded(json.dumps(CONFIG))),
    "base64 of a list": Broken(
        code=2, says="it is [1, 2]", no_config=True, arguments=encoded("[1,2]")
    ),
    "no argument": Broken(
        code=2, says="type 'script.args=\"--deepspeed_config <file>\"'", arguments=""
    ),
    "a placeholder of a broken file": file(
        '{"optimizer": {', 2, ("script.ds_config=", "cannot be read"), **OF_A_PLACEHOLDER
    ),
    "a placeholder of a list": file(
        "[1]", 2, ("script.ds_config=", "it is [1]"), **OF_A_PLACEHOLDER
    ),
    "a placeholder of a broken section": file(
        changed(zero_optimization=3),
        2,
        ("zero_optimization is 3", "zero=stage1"),
        **OF_A_PLACEHOLDER,
    ),
    "a placeholder of a broken section, typed": file(
        changed(zero_optimization=3),
        0,
        "script.args leaves the batch to us",
        **{**OF_A_PLACEHOLDER, "more": (*OF_A_PLACEHOLDER["more"], "zero=stage1")},
    ),
    "a placeholder of a folder": Broken(
        code=2,
        says="script.ds_config=.: is a folder",
        more=("script.ds_config=.",),
        arguments="--deepspeed_config {ds_config}",
    ),
}
SECTIONS = {
    **{
        f"{section} is null": having(
            2, f"{section} is null, where an object is wanted; leave it out", **{section: None}
        )
        for section in ("optimizer", "scheduler", "zero_optimization", "fp16", "flops_profiler")
    },
    "sections that may be null": having(0, (), bf16=None, aio=None, train_batch_size=None),
    "zero_optimization is a number": having(
        2, "zero_optimization is 3, where an object is wanted", zero_optimization=3
    ),
    "zero_optimization is true": having(0, (), zero_optimization=True),
    "zero_optimization is a list": having(
        2, "zero_optimization is [], where an object is wanted", zero_optimization=[]
    ),
    "bf16 is true": having(2, ("bf16 is true", "type precision=fp32"), bf16=True),
    "bf16 is text": having(2, 'bf16 is "on"', bf16="on"),
    "fp16 is a list": having(2, "fp16 is [1]", fp16=[1]),
    "optimizer is text": having(2, 'write {"type": "AdamW"', optimizer="Adam"),
    "optimizer without a type": having(
        2, "is given no optimizer, and its configuration names none", optimizer={"params": {}}
    ),
    "optimizer's params are a list": having(
        2, "optimizer.params is [1]", optimizer={"type": "Adam", "params": [1]}
    ),
    "optimizer's type is a number": having(2, "optimizer.type is 1", optimizer={"type": 1}),
    "optimizer's lr is text": having(
        2,
        ("the optimizer of its configuration", "cannot be made here"),
        optimizer={"type": "Adam", "params": {"lr": "fast", "torch_adam": True}},
    ),
    "optimizer's params are unknown": having(
        2,
        "unexpected keyword argument 'learning_rate'",
        optimizer={"type": "Adam", "params": {"learning_rate": 1}},
    ),
    "scheduler is text": having(2, 'scheduler is "WarmupLR"', scheduler="WarmupLR"),
    "scheduler is unknown": having(
        2, "does not recognize LR scheduler Nope", scheduler={"type": "Nope", "params": {}}
    ),
    "data_types is text": having(2, 'data_types is "bf16"', data_types="bf16"),
    "data_types of an unknown dtype": having(
        2, "dtypes are fp32, fp16 and bf16", data_types={"grad_accum_dtype": "int3"}
    ),
    "aio is a number": having(2, "aio is 3", aio=3),
    "torch_autocast is true": having(
        2, ("torch_autocast is true", "type precision=fp32"), torch_autocast=True
    ),
    "torch_autocast of an unknown dtype": having(
        2, "dtypes are fp32, fp16 and bf16", torch_autocast={"enabled": True, "dtype": "x"}
    ),
    "communication_data_type is unknown": having(
        2, "Invalid communication_data_type", communication_data_type="int3"
    ),
    "gradient_clipping is text": having(
        2, 'gradient_clipping is "x", and has to be a number', gradient_clipping="x"
    ),
    "activation_checkpointing is true": having(
        2, "activation_checkpointing is true", activation_checkpointing=True
    ),
    "flops_profiler is true": having(2, "flops_profiler is true", flops_profiler=True),
    "data_efficiency is a number": having(2, "data_efficiency is 3", data_efficiency=3),
    "tensorboard is text": having(2, 'tensorboard is "on"', tensorboard="on"),
    "offload_optimizer is text": zero(
        2, ('offload_optimizer is "cpu"', "type offload=none"), stage=2, offload_optimizer="cpu"
    ),
    "offload_optimizer is true": zero(
        2, "offload_optimizer is true", stage=2, offload_optimizer=True
    ),
    "offload_optimizer of an unknown device": zero(
        2,
        ("Input should be 'none', 'cpu' or 'nvme'", "type offload=none"),
        stage=2,
        offload_optimizer={"device": "gpu"},
    ),
    "offload to NVMe without a path": zero(
        2, "offload.nvme_path=<folder>", stage=3, offload_optimizer={"device": "nvme"}
    ),
    "stage 7": zero(2, ("stage is 7; allowed are 0, 1, 2, 3", "type zero=stage1"), stage=7),
    "stage as text": zero(0, (), stage="2"),
    "stage as a word": zero(2, 'stage is "two"', stage="two"),
    "stage 1.5": zero(2, "stage is 1.5", stage=1.5),
    "stage null": zero(2, "stage is null", stage=None),
    "stage true": zero(0, (), stage=True),
    "an unknown key of ZeRO": zero(
        2, "zero_optimization is refused by DeepSpeed: ofload_param", stage=1, ofload_param={}
    ),
    "a bucket as text": zero(
        2, "type zero.reduce_bucket_size=<a value>", stage=2, reduce_bucket_size="big"
    ),
    "a bucket below zero": zero(
        2, "reduce_bucket_size: Input should be greater than 0", stage=2, reduce_bucket_size=-1
    ),
    "a ratio at stage 2": zero(
        2,
        ("Partial offloading only supported", "type offload=none"),
        stage=2,
        offload_optimizer={"device": "cpu", "ratio": 0.5},
    ),
    "hpz that does not divide": zero(
        0,
        "zero.hpz_partition_size=3 is left out",
        "hardware.ranks=2",
        stage=3,
        zero_hpz_partition_size=3,
    ),
    "mics": zero(2, "MiCS ZeRO-3 sharding has been removed", stage=3, mics_shard_size=2),
    "stage 2 and what was typed in its place": zero(0, (), "zero=stage1", stage=7),
    "zero_optimization is a number, typed": having(0, (), "zero=stage1", zero_optimization=3),
    "bf16 is true, typed": having(0, (), "precision=fp32", bf16=True),
    "offload is text, typed": zero(0, (), "offload=none", stage=2, offload_optimizer="cpu"),
    "bf16 and fp16": having(
        2, "fp16 and bf16 are both enabled", bf16={"enabled": True}, fp16={"enabled": True}
    ),
    "bf16 and fp16, typed": having(
        0, (), "precision=bf16", bf16={"enabled": True}, fp16={"enabled": True}
    ),
    "fp16": having(0, (), fp16={"enabled": True}),
    "bf16 is auto": having(0, (), bf16={"enabled": "auto"}),
    "everything is auto": file(
        {
            "train_batch_size": "auto",
            MICRO: "auto",
            STEPS: "auto",
            "optimizer": {"type": "Adam", "params": {"lr": "auto"}},
            "bf16": {"enabled": "auto"},
            "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
        },
        2,
        "which only a Trainer and Accelerate fill in",
    ),
    "amp": having(2, "AMP integration has been removed", amp={"enabled": True}),
    "curriculum learning": having(
        2,
        "data_efficiency.data_sampling.curriculum_learning",
        curriculum_learning={"enabled": True},
    ),
    "elasticity": having(2, "Elastic training has been removed", elasticity={"enabled": True}),
    "1-bit Adam": having(
        2,
        "OneBitAdam is not a supported DeepSpeed Optimizer",
        optimizer={"type": "OneBitAdam", "params": {"lr": 0.01}},
    ),
    "sparse gradients": having(2, "has been removed", sparse_gradients=True),
    "an unknown optimizer": having(
        2,
        "Adamm is not a supported DeepSpeed Optimizer",
        optimizer={"type": "Adamm", "params": {"lr": 0.01}},
    ),
    "Lamb": having(
        2,
        ("'type': 'Lamb'", "not been implemented on CPU"),
        optimizer={"type": "Lamb", "params": {"lr": 0.01}},
    ),
    "Lion": having(
        2,
        ("'type': 'Lion'", "not been implemented on CPU"),
        optimizer={"type": "Lion", "params": {"lr": 0.01}},
    ),
    "SGD of torch": having(0, (), optimizer={"type": "SGD", "params": {"lr": 0.01}}),
    "sequence parallel": having(
        2,
        "sequence_parallel_size is 2, and only scripts are tuned whose ranks are all data-parallel",
        "hardware.ranks=2",
        sequence_parallel_size=2,
    ),
    "sequence parallel for more": having(
        2, "sequence_parallel_size is 2", sequence_parallel_size=2
    ),
    "sequence parallel as text": having(
        2, 'sequence_parallel_size is "2"', sequence_parallel_size="2"
    ),
    "tensor parallel": having(
        2,
        "tensor_parallel.autotp_size is 2, and only scripts are tuned",
        "hardware.ranks=2",
        tensor_parallel={"autotp_size": 2},
    ),
    "tensor parallel for more": having(
        2, "tensor_parallel.autotp_size is 2", tensor_parallel={"autotp_size": 2}
    ),
    "tensor parallel is a number": having(2, "tensor_parallel is 2", tensor_parallel=2),
    "keys at the wrong place": having(
        0,
        (
            "DeepSpeed does not read stage here; it belongs into zero_optimization",
            "did you mean zero_optimization?",
        ),
        stage=2,
        zero_optimisation={"stage": 2},
    ),
}
BATCH = {
    "micro-batch 0": having(
        2, "train_micro_batch_size_per_gpu is 0, and has to be a whole number from 1", **{MICRO: 0}
    ),
    "micro-batch below zero": having(
        2, "is -2, and has to be a whole number from 1", **{MICRO: -2}
    ),
    "micro-batch 2.5": having(2, "is 2.5, and has to be", **{MICRO: 2.5}),
    "micro-batch as text": having(
        2, ('is "4", and has to be', "batch.micro_size="), **{MICRO: "4"}
    ),
    "micro-batch true": having(2, "is true, and has to be", **{MICRO: True}),
    "micro-batch a list": having(2, "is [2], and has to be", **{MICRO: [2]}),
    "micro-batch auto": having(2, "which only a Trainer and Accelerate fill in", **{MICRO: "auto"}),
    "micro-batch auto, typed": having(
        0, (), "batch.micro_size=2", "workload.global_batch_size=4", **{MICRO: "auto"}
    ),
    "accumulation 0": having(2, "gradient_accumulation_steps is 0", **{STEPS: 0}),
    "a batch that does not divide": having(
        2,
        "type workload.global_batch_size=8 batch.micro_size=2 to keep nearly",
        "hardware.ranks=2",
        **{TRAIN_BATCH: 7, MICRO: ..., STEPS: ...},
    ),
    "three that contradict": having(
        2, "type workload.global_batch_size=7 batch.micro_size=1", **{TRAIN_BATCH: 7}
    ),
    "made for eight ranks": having(
        2,
        (
            "made for 8 ranks, and here are 2",
            "hardware.ranks=8, or workload.global_batch_size=16 batch.micro_size=2",
        ),
        "hardware.ranks=2",
        **{TRAIN_BATCH: 16},
    ),
    "no batch": having(2, "neither train_batch_size nor", **{MICRO: ..., STEPS: ...}),
    "accumulation alone": having(2, "neither train_batch_size nor", **{MICRO: ..., STEPS: 4}),
    "no batch, typed": having(
        0, (), "workload.global_batch_size=4", "batch.micro_size=2", **{MICRO: ..., STEPS: ...}
    ),
    "a micro-batch that does not divide, typed": having(
        2,
        "does not divide over 1 rank; type workload.global_batch_size=4 batch.micro_size=2",
        "batch.micro_size=3",
        **{TRAIN_BATCH: 4, MICRO: ..., STEPS: ...},
    ),
    "a batch that does not divide, typed": typed(0, (), "workload.global_batch_size=7"),
    "a batch that does not divide for two ranks, typed": typed(
        2,
        "type workload.global_batch_size=8 batch.micro_size=1",
        "workload.global_batch_size=7",
        "hardware.ranks=2",
    ),
    "micro-batch as text, typed": having(0, (), "batch.micro_size=2", **{MICRO: "4"}),
}
SCRIPTS = {
    "raises at once": doing(
        3, "RuntimeError: no data; its log is", begin="raise RuntimeError('no data')"
    ),
    "raises after initialize": doing(
        3, "RuntimeError: no data; its log is", after="raise RuntimeError('no data')"
    ),
    "raises in forward": doing(
        3, "RuntimeError: mat1 and mat2", forward="engine(torch.randn(2, 9))"
    ),
    "raises in backward": doing(
        3, "AssertionError: loss must be a scalar tensor", backward="loss = loss.detach()"
    ),
    "raises in step": doing(
        3,
        "RuntimeError: bad step",
        step="def broken(*a, **k): raise RuntimeError('bad step')\nengine.optimizer.step = broken",
    ),
    "raises in a later step": doing(
        3, "RuntimeError: late", step="if engine.global_steps == 2: raise RuntimeError('late')"
    ),
    "raises in its data set": doing(
        3,
        "KeyError: 'col' (in a process of its data loader)",
        begin="class Data(Dataset):\n    def __len__(self): return 8\n    def __getitem__(self, i): raise KeyError('col')",
        before="data = Data()",
    ),
    "raises in a worker of its loader": doing(
        3,
        "KeyError: 'col' (in a process of its data loader)",
        begin="class Data(Dataset):\n    def __len__(self): return 8\n    def __getitem__(self, i): raise KeyError('col')",
        after="loader = DataLoader(Data(), batch_size=2, num_workers=1)",
    ),
    "a worker of its loader is killed": doing(
        3,
        "exited unexpectedly",
        begin="class Data(Dataset):\n    def __len__(self): return 8\n    def __getitem__(self, i): os.kill(os.getpid(), 9)",
        after="loader = DataLoader(Data(), batch_size=2, num_workers=1)",
    ),
    "exits with text": doing(3, "exit code no GPU here", after="sys.exit('no GPU here')"),
    "exits with text of two lines": doing(
        3, "exit code no GPU here; its log is", after="sys.exit('no GPU here\\nsorry')"
    ),
    "exits with None": doing(
        2, "no engine of the script took an optimizer step", after="sys.exit(None)"
    ),
    "exits with True": doing(3, "exit code True", after="sys.exit(True)"),
    "exits with an odd object": doing(
        3,
        "its text cannot be had (ValueError)",
        begin="class Odd:\n    def __str__(self): raise ValueError('no words')",
        after="sys.exit(Odd())",
    ),
    "exits with 2.5": doing(3, "exit code 2.5", after="sys.exit(2.5)"),
    "os._exit": doing(3, "exit code 5", after="os._exit(5)"),
    "os._exit(0)": doing(2, "no engine of the script took an optimizer step", after="os._exit(0)"),
    "os.abort": doing(3, "exit code -6", after="os.abort()"),
    "kills itself": doing(3, "exit code -9", after="os.kill(os.getpid(), signal.SIGKILL)"),
    "ends itself by SIGTERM": doing(
        3, "exit code 143", after="os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    ),
    "interrupts itself": doing(
        3, "KeyboardInterrupt", after="os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    ),
    "a segmentation fault": doing(3, "exit code -11", after="import ctypes; ctypes.string_at(0)"),
    "raises KeyboardInterrupt": doing(3, "KeyboardInterrupt", after="raise KeyboardInterrupt"),
    "raises GeneratorExit": doing(3, "GeneratorExit", after="raise GeneratorExit"),
    "a megabyte without a newline": doing(
        3,
        ("exit code 1", "xxx..."),
        after="print('x' * 2**20, file=sys.stderr, end='', flush=True); sys.exit(1)",
    ),
    "an exception of a megabyte": doing(
        3, ("RuntimeError: xxx", "xxx...; its log is"), after="raise RuntimeError('x' * 2**20)"
    ),
    "an exception of a thousand lines": doing(
        3, "RuntimeError: end", after="raise RuntimeError('\\n' * 1000 + 'end')"
    ),
    "an exception without words": doing(
        3, "Odd: its text cannot be had (ValueError)", begin=NO_STR, after="raise Odd"
    ),
    "an exception of surrogates": doing(
        3, "RuntimeError: \\udcff", after="raise RuntimeError('\\udcff')"
    ),
    "an exception with escapes": doing(
        3, "RuntimeError: \\x1b[31mred\\x07", after="raise RuntimeError('\\x1b[31mred\\x07\\r')"
    ),
    "an exception that cannot be told": doing(
        3,
        "Odd: its text cannot be had (SystemExit)",
        begin="class Odd(Exception):\n    @property\n    def __cause__(self): raise ValueError('x')\n    def __str__(self): raise SystemExit(4)",
        after="raise Odd",
    ),
    "an exception group": doing(
        3, "many (1 sub-exception)", after="raise ExceptionGroup('many', [ValueError('one')])"
    ),
    "swallows everything": whole(
        2,
        "type script.probe_seconds=<more>",
        PREAMBLE
        + "while True:\n    try:\n        deepspeed.initialize(args=args, model=torch.nn.Linear(8, 1))\n        raise ValueError('x')\n    except BaseException:\n        time.sleep(0.1)\n",
        "script.probe_seconds=3",
    ),
    "swallows a refusal": whole(
        2,
        'train_batch_size is "x"',
        PREAMBLE
        + "while True:\n    try:\n        m = torch.nn.Linear(8, 1)\n        deepspeed.initialize(args=args, model=m, model_parameters=m.parameters(), config={'train_batch_size': 'x'})\n    except BaseException:\n        time.sleep(0.1)\n",
        "script.probe_seconds=3",
        arguments="",
    ),
    "never steps": doing(
        2,
        ("took 0 optimizer steps in 3 s", "script.probe_seconds=<more>"),
        "script.probe_seconds=3",
        step="time.sleep(0.1); continue",
    ),
    "never steps and ends": doing(
        2, "no engine of the script took an optimizer step", "script.probe_seconds=30", step="break"
    ),
    "sleeps after initialize": doing(
        2,
        ("took 0 optimizer steps in 2 s", "script.probe_seconds=<more>"),
        "script.probe_seconds=2",
        after="time.sleep(500)",
    ),
    "sleeps before initialize": doing(
        2,
        "did not call deepspeed.initialize in 2 s",
        "script.probe_seconds=2",
        begin="time.sleep(500)",
    ),
    "steps without backward": doing(
        3, "IndexError: list index out of range", backward="engine.step(); continue"
    ),
    "no config": whole(
        2,
        "deepspeed.initialize is given no configuration",
        PREAMBLE
        + "m = torch.nn.Linear(8, 1)\ndeepspeed.initialize(model=m, model_parameters=m.parameters())\n",
        arguments="",
    ),
    "args and config": doing(
        3,
        "we were given deepspeed configs in the deepspeed arguments and",
        before=f"import functools\ndeepspeed.initialize = functools.partial(deepspeed.initialize, config={CONFIG!r})",
    ),
    "numbers of NumPy": doing(
        3,
        "Object of type int64 is not JSON serializable",
        begin="import numpy, pathlib",
        before=f"args.deepspeed_config = {CONFIG!r} | {{'{MICRO}': numpy.int64(2), 'gradient_clipping': numpy.float32(1), 'x': pathlib.Path('x'), 'data_types': {{'grad_accum_dtype': torch.float32}}}}",
    ),
    "a micro-batch that is a quotient": doing(
        0,
        (),
        before=f"args.deepspeed_config = {CONFIG!r} | {{'{MICRO}': 4 / 2}}; loader_of = 2",
        after="loader = DataLoader(data, batch_size=2)",
    ),
    "a configuration with a lock in it": doing(
        3,
        "cannot pickle '_thread.lock' object",
        before=f"args.deepspeed_config = {CONFIG!r} | {{'x': threading.Lock()}}",
    ),
    "no model": whole(
        3, "deepspeed.initialize requires a model", PREAMBLE + "deepspeed.initialize(args=args)\n"
    ),
    "an unknown argument of initialize": whole(
        3,
        "unexpected keyword argument 'modell'",
        PREAMBLE + "deepspeed.initialize(args=args, modell=torch.nn.Linear(8, 1))\n",
    ),
    "a config of another type": whole(
        2,
        "its configuration is of type int",
        PREAMBLE
        + "m = torch.nn.Linear(8, 1)\ndeepspeed.initialize(model=m, model_parameters=m.parameters(), config=3)\n",
        arguments="",
    ),
    "initialize twice on a model": doing(
        0,
        (),
        before="deepspeed.initialize(args=args, model=model, model_parameters=model.parameters())",
    ),
    "trains with torch's own optimizer": whole(
        3,
        "Please use engine.backward(loss) instead",
        PREAMBLE
        + "m = torch.nn.Linear(8, 1)\nengine = deepspeed.initialize(args=args, model=m)[0]\n"
        "opt = torch.optim.SGD(m.parameters(), lr=0.1)\n"
        "while True:\n    opt.zero_grad(); engine(torch.randn(2, 8)).sum().backward(); opt.step(); time.sleep(0.01)\n",
        "script.probe_seconds=3",
        config=changed(optimizer=...),
    ),
    "trains without DeepSpeed for ever": whole(
        2,
        "did not call deepspeed.initialize in 3 s",
        PREAMBLE + "m = torch.nn.Linear(8, 1)\n"
        "opt = torch.optim.SGD(m.parameters(), lr=0.1)\n"
        "while True:\n    opt.zero_grad(); m(torch.randn(2, 8)).sum().backward(); opt.step(); time.sleep(0.01)\n",
        "script.probe_seconds=3",
    ),
    "trains in a thread": whole(
        0,
        (),
        PREAMBLE
        + "def main():\n"
        + "".join(f"    {line}\n" for line in TRAIN.partition("#begin")[2].splitlines())
        + "t = threading.Thread(target=main)\nt.start()\nt.join()\n",
    ),
    "raises in a thread": whole(
        3,
        "ValueError: in a thread",
        PREAMBLE
        + "def main():\n"
        + "".join(f"    {line}\n" for line in TRAIN.partition("#begin")[2].splitlines()).replace(
            "#after", "raise ValueError('in a thread')"
        )
        + "t = threading.Thread(target=main)\nt.start()\nt.join()\n",
    ),
    "a loss that is NaN": doing(
        3, "the loss became nan in step 1", backward="loss = loss * float('nan')"
    ),
    "a loss that is NaN later": doing(
        3,
        "the loss became nan in step 3",
        backward="loss = loss * (float('nan') if engine.global_steps == 2 else 1)",
    ),
    "a loss that is no tensor": doing(
        3, "loss must be a scalar tensor", backward="loss = float(loss)"
    ),
    "a loss that is a vector": doing(
        3, "loss must be a scalar tensor", backward="loss = loss.repeat(3)"
    ),
    "a loss that is complex": doing(
        3,
        "grad can be implicitly created only for real scalar outputs",
        backward="loss = loss * 1j",
    ),
    "a loss that is None": doing(3, "loss must be a scalar tensor", backward="loss = None"),
    "changes its batch in mid-run": doing(
        0, (), step="engine.set_train_batch_size(2 * (1 + engine.global_steps))"
    ),
    "deletes its configuration": doing(
        0,
        (),
        after="import shutil; shutil.copy(args.deepspeed_config, '/tmp/x') if False else None",
    ),
    "changes its folder": doing(0, (), after="os.chdir('/')"),
    "closes its output": doing(
        3,
        "ValueError: I/O operation on closed file",
        after="sys.stdout.close(); sys.stderr.close()",
    ),
    "closes its descriptors": doing(0, (), after="os.close(0); os.close(1); os.close(2)"),
    "closes all descriptors": doing(3, "without writing a result", after="os.closerange(0, 256)"),
    "sets its output to None": doing(0, (), after="sys.stdout = sys.stderr = None"),
    "ignores SIGTERM": doing(
        2,
        "took 0 optimizer steps in 2 s",
        "script.probe_seconds=2",
        after="signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(500)",
    ),
    "leaves daemons": doing(
        0,
        (),
        after="import subprocess\nsubprocess.Popen(['sleep', '500'], start_new_session=True)\nthreading.Thread(target=time.sleep, args=(500,)).start()",
    ),
    "leaves a daemon and fails": doing(
        3,
        "RuntimeError: left",
        after="import subprocess\nsubprocess.Popen(['sleep', '500'], start_new_session=True, env={})\nthreading.Thread(target=time.sleep, args=(500,)).start()\nraise RuntimeError('left')",
    ),
    "needs an argument": whole(
        3,
        ("exit code 2", "the following arguments are required: --lr"),
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()\n",
        arguments="",
    ),
    "does not know an argument": whole(
        3,
        ("exit code 2", "unrecognized arguments: --width 3"),
        "import argparse\nargparse.ArgumentParser().parse_args()\n",
        arguments="--width 3",
    ),
    "imports what is missing": whole(
        3,
        "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        "import nowhere_to_be_found\n",
    ),
    "a file that is not there": doing(
        3,
        "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.csv'",
        begin="open('data/train.csv')",
    ),
    "no samples": doing(
        3,
        "TypeError: 'NoneType' object is not iterable",
        before="data = TensorDataset(torch.randn(0, 8), torch.randn(0, 1))",
    ),
    "one sample": doing(
        2,
        "ended after 3 optimizer steps; at least 1 to warm up and 3 to time are needed",
        before="data = TensorDataset(torch.randn(1, 8), torch.randn(1, 1))",
    ),
    "three samples": doing(
        0, (), before="data = TensorDataset(torch.randn(3, 8), torch.randn(3, 1))"
    ),
    "an iterable that ends at once": doing(
        2,
        "no engine of the script took an optimizer step",
        begin="class Data(IterableDataset):\n    def __iter__(self): return iter([])",
        after="loader = DataLoader(Data(), batch_size=2)",
    ),
    "saves where it cannot": doing(
        3, "open file failed", after="torch.save(model.state_dict(), '/proc/x.pt')"
    ),
    "no Python": whole(2, "is not Python: invalid syntax", "def main(:\n"),
    "an empty script": whole(2, "is empty, a Python script is wanted", ""),
    "deletes its modules": doing(
        3, "module 'sys' has no attribute 'warnoptions'", after="sys.modules.clear()"
    ),
    "replaces its process": whole(
        3,
        "without writing a result",
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])\n",
    ),
    "recurses for ever": whole(
        3, "RecursionError: maximum recursion depth exceeded", "def f(): f()\nf()\n"
    ),
    "takes all memory": doing(
        3,
        "memory ran out",
        "hardware.memory_limit=1GiB",
        after="x = bytearray(2**33); y = b'a' * 2**34",
    ),
    "a model without parameters": doing(
        3, "ValueError: optimizer got an empty parameter list", before="model = torch.nn.Identity()"
    ),
    "frozen parameters": doing(
        3, "loss must be a scalar tensor", before="model.requires_grad_(False)"
    ),
    "a model that is no module": doing(
        3,
        "AttributeError: 'function' object has no attribute 'parameters'",
        before="model.__class__ = torch.nn.Module; model = lambda x: x",
    ),
    "a fork that trains": doing(
        2,
        "starts its training in processes of its own",
        begin="if os.fork(): os.wait(); sys.exit(0)",
    ),
    "fails only in bf16": doing(
        0,
        (),
        "precision=choice(fp32,bf16)",
        after="if model.weight.dtype != torch.float32: raise TypeError('float32 alone')",
    ),
}
TYPED = {
    "all of it": typed(
        2,
        "type workload.global_batch_size=7 batch.micro_size=1",
        "zero=stage3",
        "precision=fp16",
        "batch.micro_size=3",
        "workload.global_batch_size=7",
    ),
    "fp16": typed(0, (), "precision=fp16"),
    "an engine that there is not": typed(
        2, "script.engine=5: the script made 1 engine; type script.engine=1", "script.engine=5"
    ),
    "engine 0": typed(2, "script.engine=0: must be at least 1", "script.engine=0"),
    "rows that nobody sees": whole(
        0,
        "batch.micro_size is left out",
        PREAMBLE + UNSEEN,
        "script.samples=rows",
        "batch.micro_size=choice(1,2)",
    ),
    "another samples": typed(
        2, "allowed are drawn, rows, elements, as_configured", "script.samples=batches"
    ),
    "a slow script": doing(
        2,
        ("took 0 optimizer steps in 1 s", "script.probe_seconds=<more>"),
        "script.probe_seconds=1",
        forward="time.sleep(2)",
    ),
    "no seconds": typed(
        2, "script.probe_seconds=0.0: must be at least 1", "script.probe_seconds=0"
    ),
    "seconds as text": typed(
        2, "script.probe_seconds=soon: the value is not a number", "script.probe_seconds=soon"
    ),
    "a stage for itself": typed(2, "zero=stage7: allowed are stage0", "zero=stage7"),
    "parallel": typed(2, "the script decides that itself", "parallel.tensor=2"),
    "an optimizer": typed(2, "the script decides that itself", "optimizer=adamw"),
    "a model too": typed(
        2, "a script is tuned in the place of a model, and both are typed", "+model=gpt2-nano"
    ),
    "hpz that does not divide": typed(
        0,
        "zero.hpz_partition_size=3 is left out",
        "zero=stage3",
        "zero.hpz_partition_size=3",
        "hardware.ranks=2",
    ),
    "a ratio at stage 2": typed(
        2,
        "Partial offloading only supported for ZeRO Stage 3",
        "zero=stage2",
        "offload=optimizer",
        "offload.optimizer_ratio=0.5",
    ),
    "a raw key that is unknown": typed(
        0, "did you mean gradient_clipping?", "+ds.gradient_cliping=1"
    ),
    "a raw section of the wrong type": typed(
        2, "ds.zero_optimization is 3, where an object is wanted", "+ds.zero_optimization=3"
    ),
    "a raw bf16 of the wrong type": typed(
        2, "ds.bf16 is true, where an object is wanted", "+ds.bf16=true"
    ),
    "args that do not come apart": Broken(
        code=2, says="does not come apart into words", arguments='--name "x'
    ),
    "another placeholder": Broken(code=2, says="there is no {batch}", arguments="--batch {batch}"),
    "no such script": Broken(code=2, says="script.path=nope.py", more=("script.path=nope.py",)),
    "offload=nvme": typed(
        2,
        "there is no such folder",
        "zero=stage3",
        "offload=nvme",
        "offload.nvme_path=/dev/null/nvme",
    ),
    "a memory limit that is too small": typed(3, "", "hardware.memory_limit=1MiB"),
    "a seed that is none": typed(
        2, "workload.seed=x: the value is not a whole number", "workload.seed=x"
    ),
}
ALL = {
    f"{group}: {name}": case
    for group, cases in {
        "file": FILES,
        "section": SECTIONS,
        "batch": BATCH,
        "script": SCRIPTS,
        "typed": TYPED,
    }.items()
    for name, case in cases.items()
}
# Of each kind of mistake one in every run of the tests.
ALWAYS = (
    "file: unclosed JSON",
    "section: zero_optimization is a number, typed",
    "section: bf16 is true",
    "section: keys at the wrong place",
    "batch: made for eight ranks",
    "script: an exception of surrogates",
    "script: trains without DeepSpeed for ever",
    "script: leaves a daemon and fails",
    "script: exits with text of two lines",
    "typed: an engine that there is not",
)
