"""The arguments of a verb: a mistake in them is one line, which ends with what to type."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from sweeper.errors import UsageError


class OneLineParser(argparse.ArgumentParser):
    """``example`` is a whole command after the verb's own name, ``flags`` a value for each that takes one."""

    def __init__(self, verb: str, *, example: str, flags: dict[str, str], **more: Any) -> None:
        super().__init__(prog=f"python -m sweeper {verb}", allow_abbrev=False, **more)
        self._verb = verb
        self._example = example
        self._flags = flags
        self._given: Sequence[str] = ()

    def given(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Raises UsageError."""
        self._given = arguments
        return self.parse_args(list(arguments))

    def error(self, message: str) -> NoReturn:
        typed = " ".join([self._verb, *self._given])
        raise UsageError(f"{typed}: {self._what(message)}; type {self._advice(message)}")

    def _what(self, message: str) -> str:
        allowed = ", ".join(o for o in self._option_string_actions if o.startswith("--"))
        if match := re.match(r"argument ([^:]*?)(?:/[^:]+)?: invalid choice: '(.*?)'", message):
            choices = self._option_string_actions[match[1]].choices or ()
            return f"allowed are {', '.join(map(str, choices))}"
        if match := re.match(r"argument ([^:]+): expected", message):
            return f"{match[1]} has no value"
        if match := re.match(r"argument ([^:]+): (.*)", message):
            return f"{match[1]} {match[2]}"
        if match := re.match(r"unrecognized arguments: (.*)", message):
            flag = match[1].startswith("-")
            kind = f"is no flag; allowed are {allowed or 'none'}" if flag else "is too much"
            return f"{match[1]} {kind}"
        return message

    def _advice(self, message: str) -> str:
        """With the flag that is meant, where one can be told."""
        match = re.search(r"argument ([^:/]+)|unrecognized arguments: (-\S+)", message)
        close = difflib.get_close_matches((match[1] or match[2]) if match else "", self._flags, n=1)
        flag = f" {self._flags[close[0]]}" if close else ""
        example = self._example if not flag else self._example.partition(" --")[0]
        return f"{self.prog}{f' {example}' if example else ''}{flag}"
