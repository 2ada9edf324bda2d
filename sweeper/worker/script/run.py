"""Runs a training script of a user's as it is, has its steps measured, and ends it."""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import numpy
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.tensor_parallel.init_utils import load_ds_config

from sweeper.core.ds_config_mistakes import mistakes
from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.one_line import one_line
from sweeper.core.script import called, placeholders, words
from sweeper.core.spec import TrialSpec
from sweeper.worker.ending import end_children, flush
from sweeper.worker.failures import UnsupportedHere, failure, text_of
from sweeper.worker.limits import lift_memory_limit
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.progress import Progress
from sweeper.worker.record import write_result
from sweeper.worker.script.accelerate import patch_accelerate
from sweeper.worker.script.children import watch_children
from sweeper.worker.script.deepspeed import patch_deepspeed
from sweeper.worker.script.engines import TunedEngines
from sweeper.worker.script.exits import exit_at_once, heard
from sweeper.worker.script.hydra import patch_hydra
from sweeper.worker.script.imports import import_from
from sweeper.worker.script.lightning import patch_lightning
from sweeper.worker.script.local_rank import LocalRank
from sweeper.worker.script.meeting import meet_where_told
from sweeper.worker.script.refusals import unreadable
from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.transformers import patch_transformers
from sweeper.worker.share import bind_cores, check_support, limit_memory


def run_script(
    spec: TrialSpec, folder: TrialFolder, progress: Progress, rank: int
) -> dict[str, Any]:
    """This rank's result where the script ends before it is ended. Exceptions are the caller's to record."""
    return _Run(spec, folder, progress, rank).run()


class _Run:
    def __init__(self, spec: TrialSpec, folder: TrialFolder, progress: Progress, rank: int) -> None:
        assert spec.script is not None
        self._spec, self._script = spec, spec.script
        self._folder, self._progress, self._rank = folder, progress, rank
        self._substitution = Substitution(spec)
        self._local_rank = LocalRank(os.environ.get("LOCAL_RANK", "0"))
        self._accelerator = get_accelerator()
        self._engines = TunedEngines(
            spec,
            folder,
            progress,
            rank,
            substitution=self._substitution,
            local_rank_option=lambda: self._local_rank.option,
            end=self._end,
        )

    def run(self) -> dict[str, Any]:
        bind_cores(self._spec)
        check_support(self._spec, self._accelerator)
        adopt_built_ops(self._spec.ops)
        patch_deepspeed(self._substitution, self._engines)
        self._engines.watch()
        patch_accelerate(self._substitution)
        patch_transformers(self._substitution, self._folder.script_output)
        patch_lightning(self._substitution)
        if "local_rank" not in placeholders(self._script.arguments):
            self._local_rank.patch_argparse()
        if self._accelerator.device_name() == "cpu":
            limit_memory(self._spec, self._accelerator)
        self._take_its_place()
        self._progress.enter("script")
        if self._script.as_it_is:
            self._engines.limit_seconds()
        try:
            with heard(self._leaving):
                if self._script.module:
                    runpy.run_module(self._script.module, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(self._script.path, run_name="__main__")
        except SystemExit as ended:
            if ended.code not in (None, 0):
                return self._left(ended.code)
        except BaseException as error:
            why = self._engines.why(error)
            if why is error:
                raise
            raise why from error
        return self._ended()

    def _take_its_place(self) -> None:
        """What the script finds is what it would find by itself; nothing is written beside it."""
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.chdir(self._script.folder)
        script, name = self._script, called(self._script.path, self._script.module)
        import_from(script.folder if script.module else str(Path(script.path).resolve().parent))
        sys.argv = [script.path, *words(script.arguments, self._values())]
        patch_hydra(self._folder.script_output)
        self._hear_threads()
        meet_where_told(name, self._refuse)
        watch_children(self._folder, self._rank, name=name, path=script.path)
        # A forked rank has its forkserver's way to start children; a script expects the usual one.
        multiprocessing.set_start_method(None, force=True)
        # Where it sets no seed itself, losses could not be compared.
        random.seed(self._spec.seed)
        numpy.random.seed(self._spec.seed)
        torch.manual_seed(self._spec.seed)

    def _hear_threads(self) -> None:
        """A script that trains in one goes on, or ends, as if nothing had been."""
        told = threading.excepthook

        def hear(raised: threading.ExceptHookArgs) -> None:
            if raised.exc_value is not None and self._engines.failure is None:
                self._engines.failure = self._engines.why(raised.exc_value)
            told(raised)

        threading.excepthook = hear

    def _refuse(self, reason: str) -> NoReturn:
        phase = self._progress.phase
        self._end(failure(UnsupportedHere(reason), phase=phase, limited=lift_memory_limit()))

    def _values(self) -> dict[str, object]:
        if "ds_config" in placeholders(self._script.arguments):
            file = self._script.ds_config
            own = self._spec.ds_config if file is None else _read(file)
            write_json(self._folder.script_ds_config, self._substitution(own))
        return {
            "micro_batch": self._spec.micro_size,
            "gradient_accumulation": self._spec.accumulation_steps,
            "ds_config": self._folder.script_ds_config.resolve(),
            "local_rank": self._local_rank.rank,
        }

    def _ended(self) -> dict[str, Any]:
        """By itself, before enough was measured."""
        name = called(self._script.path, self._script.module)
        swallowed = self._engines.failure
        if swallowed is not None:
            phase, limited = self._progress.phase, lift_memory_limit()
            return failure(swallowed, phase=phase, limited=limited)
        if not self._engines.has_any:
            raise UnsupportedHere(
                f"{name} ended without calling deepspeed.initialize: only a script that trains with "
                "DeepSpeed can be tuned (a Trainer is given --deepspeed <file>, an Accelerator a "
                "DeepSpeedPlugin)"
            )
        return self._engines.early_result()

    def _left(self, code: object) -> dict[str, Any]:
        """By ``sys.exit`` or ``os._exit``."""
        swallowed = self._engines.failure
        phase = self._progress.phase
        if swallowed is not None:
            return failure(swallowed, phase=phase, limited=lift_memory_limit())
        said = one_line(text_of(SystemExit(code))) or type(code).__name__
        reason = f"the script ended itself with exit code {said}"
        return {"kind": "error", "phase": phase, "reason": reason, "evidence": ""}

    def _leaving(self, code: int) -> int:
        """Tells of an ``os._exit`` of the script's what is told of a ``sys.exit``."""
        try:
            result = self._left(code) if code else self._ended()
        except UnsupportedHere as error:
            result = failure(error, phase=self._progress.phase, limited=lift_memory_limit())
        return self._last_act(result)

    def _end(self, result: dict[str, Any]) -> NoReturn:
        """Whatever the script would do next: its exceptions, exits and children are no longer asked."""
        lift_memory_limit()
        exit_at_once(self._last_act(result))

    def _last_act(self, result: dict[str, Any]) -> int:
        """Returns the exit code."""
        code = write_result(self._folder, self._rank, result)
        flush()
        end_children()
        return code


def _read(file: str) -> dict[str, Any]:
    """What ``{ds_config}`` starts from."""
    try:
        read = load_ds_config(file)
    except Exception as error:
        raise UnsupportedHere(f"script.ds_config={file}: {unreadable(file, error)}") from error
    if not isinstance(read, dict):
        raise UnsupportedHere(f"script.ds_config={file}: {mistakes(read)[0]}")
    return read
