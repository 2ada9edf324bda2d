"""Terminal sessions of a real study at two sizes, as text: ``python -m tests.recordings``, on a quiet machine.

They go to docs/images, each with the screen at four moments.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import ROOT

SIZES = ((80, 24), (200, 50))
# What stands on the screen then.
MOMENTS = (
    ("the plan, and the first trial", "no trial has ended"),
    ("the search", "run 6 of 8"),
    ("the finals", "round 3 of"),
    ("the end", "sweeper verify"),
)
COMMAND = "python -m sweeper +model=gpt2-nano hydra/sweeper=optuna hydra.sweep.dir=results/nano"
TIMEOUT_SECONDS = 600


def main() -> None:
    """Records one session after the other."""
    if shutil.which("tmux") is None:
        raise SystemExit("no tmux: type apt-get install tmux")
    for columns, rows in SIZES:
        path = recording(columns, rows)
        path.write_text(_session(columns, rows), encoding="utf-8")
        print(path)


def recording(columns: int, rows: int) -> Path:
    """Where a session of that size is kept."""
    return ROOT / "docs" / "images" / f"terminal-{columns}x{rows}.txt"


def _session(columns: int, rows: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        # A server of its own, which ends with its one window.
        tmux = ["tmux", "-L", f"recording-{columns}", "-f", "/dev/null"]
        path = shlex.quote(str(Path(sys.executable).parent))
        shell = f"PATH={path}:$PATH PYTHONPATH={shlex.quote(str(ROOT))} PS1='$ ' CI= sh"
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run([*tmux, "new-session", "-d", *size, "-c", folder, shell], check=True)
        try:
            subprocess.run([*tmux, "send-keys", f"clear; {COMMAND}", "Enter"], check=True)
            return "\n".join(
                f"{f'== {what} '.ljust(columns, '=')}\n{_screen(tmux, until)}\n"
                for what, until in MOMENTS
            )
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)


def _screen(tmux: list[str], until: str) -> str:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        shown = subprocess.run(
            [*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
        ).stdout
        if until in shown:
            return shown.rstrip()
        if time.monotonic() > deadline:
            raise SystemExit(f"{until!r} was not shown within {TIMEOUT_SECONDS} s:\n{shown}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
