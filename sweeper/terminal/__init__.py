"""What a person sees: the plan, the trial in hand, a row for each that ended, and what to type next."""

from __future__ import annotations

import sys
from typing import NoReturn

from sweeper.errors import SweeperError
from sweeper.terminal.next_steps import next_steps
from sweeper.terminal.plan_text import RuledOut, StudyPlan
from sweeper.terminal.rows import summary
from sweeper.terminal.state import Budget, State, ended
from sweeper.terminal.terminal import Terminal, result_width, terminal

__all__ = [
    "Budget",
    "RuledOut",
    "State",
    "StudyPlan",
    "Terminal",
    "ended",
    "exit_with",
    "next_steps",
    "result_width",
    "summary",
    "terminal",
]


def exit_with(error: SweeperError) -> NoReturn:
    """Ends the command with the error's line and exit code."""
    print(f"sweeper: {error}", file=sys.stderr, flush=True)
    raise SystemExit(error.exit_code)
