"""A rank without torch that misbehaves as FAKE_BEHAVIOUR says; started by the real launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweeper.worker.ending import end_when_told

SPEC = Path(sys.argv[1])
RANK = int(os.environ["RANK"])
RESULT = SPEC.parent / f"result.rank{RANK}.json"

MEASURED = {
    "kind": "measured",
    "rank": RANK,
    "step_seconds": [1.0, 1.1, 1.2],
    "warmup_step_seconds": [2.0],
    "skipped_steps": 0,
    "losses": [6.0, 5.9, 5.8, 5.7],
    "breakdown_seconds": {},
    "flops_per_step": None,
    "memory": {},
    "peak_device_allocated_bytes": None,
    "peak_device_reserved_bytes": None,
    "peak_host_resident_bytes": 1000 + RANK,
}


def write(document: dict) -> None:
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps({"rank": RANK, **document}))
    os.replace(temporary, RESULT)


def progress(phase: str, **more: int) -> None:
    (SPEC.parent / f"progress.rank{RANK}.json").write_text(json.dumps({"phase": phase, **more}))


def grandchild(ignore_sigterm: bool) -> None:
    code = "import signal, time; "
    if ignore_sigterm:
        code += "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(600)"], start_new_session=True
    )
    (SPEC.parent / "grandchild.pid").write_text(str(process.pid))
    time.sleep(0.5)  # until it ignores the signal


def behave(behaviour: str) -> int:
    end_when_told(RESULT, RANK)
    progress("warm-up")
    match behaviour:
        case "well":
            write(MEASURED)
        case "no-result":
            pass
        case "half-a-result":
            RESULT.write_text('{"kind": "measured", "step_sec')
        case "says-error-and-succeeds":
            print("Error: CUDA out of memory. Traceback (most recent call last):", file=sys.stderr)
            write(MEASURED)
        case "exits-1-after-its-result":
            write(MEASURED)
            return 1
        case "sleeps":
            time.sleep(600)
        case "sleeps-and-ignores-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "kills-itself":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leaves-a-grandchild":
            grandchild(ignore_sigterm=False)
            write(MEASURED)
        case "leaves-a-grandchild-that-ignores-sigterm":
            grandchild(ignore_sigterm=True)
            write(MEASURED)
        case "hangs-after-its-result":
            write(MEASURED)
            time.sleep(600)
        case "oom-on-rank-1":
            if RANK == 1:
                write({"kind": "out-of-memory", "phase": "build", "memory": "host", "reason": "no"})
                return 3
            time.sleep(0.5)
            reason = "RuntimeError: Connection closed by peer"
            write({"kind": "error", "phase": "build", "reason": reason, "evidence": ""})
            return 3
        case "aborts-for-memory":
            print("terminate called\n  what():  std::bad_alloc", file=sys.stderr, flush=True)
            os.abort()
        case "sleeps-at-third":
            if len(Path("runs.log").read_text().splitlines()) == 3:
                Path("third").touch()
                time.sleep(600)
            write(MEASURED)
        case "hangs-silently":
            if RANK == 1:
                write(MEASURED)
            time.sleep(600)
        case "hangs-between-steps":
            for step in range(1, 5):
                progress("measure", step=step)
                time.sleep(0.15)
            time.sleep(600)
        case "takes-its-time":
            for step in range(1, 9):
                progress("measure", step=step, of=8)
                time.sleep(0.4)
            write(MEASURED)
        case "is-slow-but-alive":
            for _ in range(5):
                time.sleep(2)
                progress("warm-up")
            write(MEASURED)
        case "rank-1-kills-itself":
            if RANK == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.3)
            reason = "RuntimeError: Connection reset by peer"
            write({"kind": "error", "phase": "warm-up", "reason": reason, "evidence": ""})
            return 3
        case "segfaults":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raises-on-rank-1":
            reason = (
                "ValueError: the cause" if RANK == 1 else "RuntimeError: Connection closed by peer"
            )
            time.sleep(0.3 * (1 - RANK))
            write({"kind": "error", "phase": "build", "reason": reason, "evidence": "tb"})
            return 3
        case "disk-is-full":
            with open("/dev/full", "w") as result:  # instead of its result
                result.write("{}")
        case "port-in-use":
            reason = "DistNetworkError: port 29500: address already in use"
            write({"kind": "error", "phase": "connect", "reason": reason, "evidence": "tb"})
            return 3
        case "raises":
            write(
                {"kind": "error", "phase": "build", "reason": "ValueError: bad", "evidence": "tb"}
            )
            return 3
        case _:
            raise ValueError(behaviour)
    return 0


sys.exit(behave(os.environ["FAKE_BEHAVIOUR"]))
