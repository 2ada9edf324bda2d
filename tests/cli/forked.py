"""Command lines run one after the other in forks of a process that has imported the command, and timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import ROOT, environment

_COMMAND, _EXPLAINED, _PARSED, _SCRIPT, _RESUMED = "command", "explain", "parse", "script", "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command line ended; ``cpu_seconds`` are user's and system's, of its process and its children."""

    exit_code: int
    stdout: str
    stderr: str
    cpu_seconds: float


class ForkServer:
    """A context: commands without the start of an interpreter."""

    def __enter__(self) -> ForkServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.forked"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def run(self, *arguments: str, cwd: Path, through: str = _COMMAND) -> Finished:
        """``through`` names one of ``_DOORS``: the whole command, or what takes a line apart before anything runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"arguments": arguments, "cwd": str(cwd), "through": through}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return Finished(**json.loads(self._process.stdout.readline()))


def _command(arguments: Sequence[str]) -> None:
    from sweeper.cli import main

    sys.argv = ["sweeper", *arguments]
    main()


def _explained(arguments: Sequence[str]) -> None:
    from sweeper.hydra_edge.explain import compose

    compose(arguments)


def _parsed(arguments: Sequence[str]) -> None:
    from sweeper.hydra_edge.doctor import asked_for

    asked_for(arguments)


def _script(arguments: Sequence[str]) -> None:
    from sweeper.cli import with_script

    with_script(arguments)


def _resumed(arguments: Sequence[str]) -> None:
    from sweeper.hydra_edge.resume import original_arguments

    (argument,) = arguments
    original_arguments(argument.removeprefix("resume="))


_DOORS = {
    _COMMAND: _command,
    _EXPLAINED: _explained,
    _PARSED: _parsed,
    _SCRIPT: _script,
    _RESUMED: _resumed,
}


def _child(asked: dict[str, Any], out: int, err: int) -> int:
    os.chdir(asked["cwd"])
    os.dup2(out, 1)
    os.dup2(err, 2)
    try:
        _DOORS[asked["through"]](asked["arguments"])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _serve() -> None:
    import sweeper.hydra_edge.app
    import sweeper.hydra_edge.doctor
    import sweeper.hydra_edge.explain
    import sweeper.hydra_edge.sweep
    import sweeper.report.build  # noqa: F401
    from sweeper.hydra_edge.schema import register

    register()
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                os._exit(_child(json.loads(line), out.fileno(), err.fileno()))
            _, status, used = os.wait4(child, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        reply = {
            "exit_code": os.waitstatus_to_exitcode(status),
            "stdout": texts[0],
            "stderr": texts[1],
            "cpu_seconds": used.ru_utime + used.ru_stime,
        }
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    _serve()
