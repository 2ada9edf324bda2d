"""A rank without torch that misbehaves as FAKE_BEHAVIOUR says; started by the real launcher."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import shared_memory
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
    document = {"phase": phase, "pid": os.getpid(), **more}
    temporary = SPEC.parent / f"progress.rank{RANK}.tmp"
    temporary.write_text(json.dumps(document))
    os.replace(temporary, SPEC.parent / f"progress.rank{RANK}.json")


def grandchild(ignore_sigterm: bool) -> None:
    code = "import signal, time; "
    if ignore_sigterm:
        code += "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(600)"], start_new_session=True
    )
    (SPEC.parent / "grandchild.pid").write_text(str(process.pid))
    time.sleep(0.5)  # until it ignores the signal


def note(what: str, value: object) -> None:
    """For the test, which looks for it afterwards."""
    (SPEC.parent / f"{value}.{what}").touch()


def daemon(*, forks_on_sigterm: bool = False) -> None:
    """Forked twice, in a session of its own, without its environment, deaf to SIGTERM."""
    if os.fork():
        time.sleep(0.5)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.environ.clear()

    def fork_once_more(*_: object) -> None:
        if os.fork():
            os._exit(0)
        note("pid", os.getpid())

    signal.signal(signal.SIGTERM, fork_once_more if forks_on_sigterm else signal.SIG_IGN)
    note("pid", os.getpid())
    while True:
        time.sleep(600)


def without_environment() -> None:
    """As a program does that is started by env -i, setsid and setsid."""
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(f'{sys.argv[1]}/{os.getpid()}.pid', 'w'); time.sleep(600)"
    )
    words = ["env", "-i", "setsid", "setsid", "--fork", sys.executable, "-c", code]
    subprocess.run([*words, str(SPEC.parent)], check=True)
    time.sleep(0.5)


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
        case "aborts-with-the-allocators-words":
            print("terminate called\n  what():  std::bad_alloc", file=sys.stderr, flush=True)
            os.abort()
        case "aborts-for-memory":
            resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))
            taken = []
            try:
                while True:
                    taken.append(bytearray(2**22))
            except MemoryError:
                time.sleep(1.5)
                os.abort()
        case "prints-out-of-memory-and-exits":
            print("Error: CUDA out of memory\n" * 1000, file=sys.stderr, flush=True)
            os._exit(1)
        case "leaves-a-daemon":
            daemon()
            write(MEASURED)
        case "leaves-a-daemon-that-forks-when-it-is-told-to-end":
            daemon(forks_on_sigterm=True)
            write(MEASURED)
        case "leaves-a-daemon-without-environment":
            without_environment()
            write(MEASURED)
        case "rank-1-leaves-a-daemon-and-is-killed":
            if RANK == 1:
                daemon()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        case "leaves-a-daemon-and-hangs":
            daemon()
            progress("build")
            time.sleep(600)
        case "segfaults-beside-a-child":
            context = multiprocessing.get_context("fork")
            child = context.Process(target=time.sleep, args=(600,), daemon=True)
            child.start()
            note("pid", child.pid)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leaves-shared-memory-and-is-killed":
            segment = shared_memory.SharedMemory(create=True, size=2**16)
            note("segment", segment.name)
            os.kill(os.getpid(), signal.SIGKILL)
        case "leaves-a-daemon-that-listens":
            listening = socket.create_server(("127.0.0.1", 0))
            note("port", listening.getsockname()[1])
            daemon()
            write(MEASURED)
        case "leaves-a-daemon-that-holds-a-lock":
            os.open(os.environ["FAKE_LOCK"], os.O_CREAT | os.O_RDWR)
            daemon()
            write(MEASURED)
        case "stops-itself":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "stops-what-started-it":
            progress("build")
            os.kill(os.getppid(), signal.SIGSTOP)
            time.sleep(600)
        case "rank-1-exits-with-0" | "rank-1-segfaults":
            if RANK == 1:
                if behaviour == "rank-1-segfaults":
                    os.kill(os.getpid(), signal.SIGSEGV)
                os._exit(0)
            time.sleep(0.3)
            reason = "RuntimeError: Connection closed by peer"
            write({"kind": "error", "phase": "warm-up", "reason": reason, "evidence": ""})
            return 3
        case "sleeps-at-third":
            if len(Path("runs.log").read_text().splitlines()) == 3:
                Path("third").touch()
                time.sleep(600)
            write(MEASURED)
        case "waits-at-third":
            if len(Path("runs.log").read_text().splitlines()) == 3:
                Path("third").touch()
                while not Path("go").exists():
                    time.sleep(0.1)
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
        case "waits-in-its-steps":
            progress("measure", step=2, of=8)
            while not Path("go").exists():
                time.sleep(0.1)
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
