"""A script's path and arguments as typed: text, quoted before Hydra's grammar could take it apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from sweeper.core.hydra_text import quoted, without_interpolations
from sweeper.errors import UsageError

_ARGUMENTS = "script.args"
_TEXT = re.compile(r"\+{0,2}(script\.(?:args|path))=(.*)", re.DOTALL)
# Hydra's functions; one of them around all that was typed is meant as one.
_FUNCTIONS = "choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool|json_str"
_EXPRESSION = re.compile(rf"(?:{_FUNCTIONS})\(.*\)", re.DOTALL)
_OPENS, _CLOSES = "([{", ")]}"
# What a backslash before it makes a plain character of, outside quotes.
_ESCAPED = "\\()[]{}:=, \t"


def with_text(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with ``script.args`` and ``script.path`` as strings that Hydra takes as they are.

    Commas, brackets, quotes and ``${...}`` in them mean nothing to Hydra then. What is one quoted
    string already is the same text; a list, of ``script.args``, is one word for each of its elements.
    Done twice it changes nothing. Raises UsageError for what could only be a search.
    """
    return [_as_text(argument) for argument in arguments]


def _as_text(argument: str) -> str:
    match = _TEXT.fullmatch(argument)
    if match is None:
        return argument
    name, given = match[1], match[2].strip()
    if given in ("", "null"):
        return f"{name}={given}"
    if _EXPRESSION.fullmatch(given):
        raise UsageError(
            f"{argument}: every candidate of a study runs the same script with the same arguments; "
            "type one value and start a study for each, or quote it where it is text: "
            f"'{name}=\"{given}\"'"
        )
    text = _unquoted(given)
    if text is None and name == _ARGUMENTS and (elements := _elements(argument, given)) is not None:
        text = shlex.join(elements)
    return f"{name}={quoted(without_interpolations(given if text is None else text))}"


def _unquoted(given: str) -> str | None:
    """The text of one quoted string; None where that is not all there is."""
    mark = given[0]
    if mark not in "'\"" or len(given) < 2:
        return None
    inside = given[1:-1]
    if given[-1] != mark or re.search(rf"(?<!\\)(?:\\\\)*{mark}", inside):
        return None
    if (len(inside) - len(inside.rstrip("\\"))) % 2:
        return None  # its last quote is an escaped one

    def plain(match: re.Match[str]) -> str:
        return str(match[1])[: len(match[1]) // 2] + match[2]

    return re.sub(rf"(\\+)({mark}|\Z)", plain, inside)


def _elements(argument: str, given: str) -> list[str] | None:
    """The words of a list, as they were typed; None for what is no list."""
    if not (given.startswith("[") and given.endswith("]")):
        return None
    try:
        parts = [part.strip() for part in _parts(given[1:-1])]
    except ValueError:
        return None
    if parts[-1] == "":
        parts.pop()
    if "" in parts:
        raise UsageError(
            f"{argument}: an element of the list is empty; type \"''\" for a word without letters"
        )
    words = [_unquoted(part) for part in parts]
    return [
        _unescaped(part) if word is None else word for part, word in zip(parts, words, strict=True)
    ]


def _parts(inside: str) -> Iterator[str]:
    """Between the commas that are in no quotes and no brackets. Raises ValueError where they do not match."""
    depth, start, quote, place = 0, 0, "", 0
    while place < len(inside):
        letter = inside[place]
        if letter == "\\":
            place += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPENS:
            depth += 1
        elif letter in _CLOSES:
            depth -= 1
            if depth < 0:
                raise ValueError(letter)
        elif letter == "," and depth == 0:
            yield inside[start:place]
            start = place + 1
        place += 1
    if depth or quote:
        raise ValueError(inside)
    yield inside[start:]


def _unescaped(word: str) -> str:
    return re.sub(rf"\\([{re.escape(_ESCAPED)}])", r"\1", word)
