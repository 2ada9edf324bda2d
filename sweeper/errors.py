"""The errors that end a command with one line instead of a traceback."""

from __future__ import annotations

import re

# Of a database's URL, with whatever is in the password: up to the last @ of the word.
_PASSWORD = re.compile(r"(\w[\w+.-]*://[^\s:@/'\"]*):[^\s'\"]*@")
_PASSWORD_OPTION = re.compile(
    r"([?&](?:password|passwd|pwd)=)[^\s&'\"]+?(?=:?(?:[\s&'\"]|$))", re.IGNORECASE
)


def masked(text: str) -> str:
    """Without the passwords of URLs: lines are copied into tickets, files are passed on."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


class SweeperError(Exception):
    """A command cannot go on; the message is one line for the person who typed it."""

    exit_code = 1

    def __str__(self) -> str:
        return masked(super().__str__())


class UsageError(SweeperError):
    """What was typed or configured is wrong: says what was given, what is allowed, what to type."""

    exit_code = 2


class NothingMeasured(SweeperError):
    """A study ended without one measured trial."""

    exit_code = 3


class EnvironmentUnfit(SweeperError):
    """This machine or installation cannot run trials, or not the baseline that a gain is over."""

    exit_code = 4


class StudyGone(EnvironmentUnfit):
    """A study's folder vanished under it."""


class GainGone(SweeperError):
    """A study's winner, measured again, no longer beats its baseline."""

    exit_code = 5


class Interrupted(SweeperError):
    """The user ended the command; what was measured is on disk."""

    exit_code = 130
