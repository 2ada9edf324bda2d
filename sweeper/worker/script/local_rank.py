"""Gives a script that parses ``--local_rank`` its rank on the machine, as DeepSpeed's launcher does."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from typing import Any

_SPELLINGS = ("--local_rank", "--local-rank")  # the launcher's own first


class LocalRank:
    """``option`` is how the script spells it; None where it does not ask, or is given it by script.args."""

    def __init__(self, rank: str) -> None:
        self.rank = rank
        self.option: str | None = None

    def patch_argparse(self) -> None:
        """What a script parses that is not its command line stays as it is."""
        original = argparse.ArgumentParser.parse_known_args

        @functools.wraps(original)
        def parse_known_args(
            parser: argparse.ArgumentParser,
            args: Sequence[str] | None = None,
            namespace: Any = None,
        ) -> Any:
            typed = sys.argv[1:]
            if (args is None or list(args) == typed) and (option := _wanted(parser, typed)):
                self.option = option
                args = [f"{option}={self.rank}", *typed]
            return original(parser, args, namespace)

        argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign, assignment]


def _wanted(parser: argparse.ArgumentParser, typed: Sequence[str]) -> str | None:
    if any(word.partition("=")[0] in _SPELLINGS for word in typed):
        return None
    return next((name for name in _SPELLINGS if name in parser._option_string_actions), None)
