"""Ends a rank whose study is gone: killed outright, it could not end its trial itself."""

from __future__ import annotations

import os
import threading
import time

LOOK_EVERY_SECONDS = 1.0
EXIT_ORPHANED = 143


def end_with_the_study() -> None:
    """Watches the process named by SWEEPER_STUDY_PID, where there is one."""
    pid = int(os.environ.get("SWEEPER_STUDY_PID", "0"))
    if pid:
        threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os._exit(EXIT_ORPHANED)
        except PermissionError:
            return  # the number belongs to somebody else now: nothing to go by
        time.sleep(LOOK_EVERY_SECONDS)
