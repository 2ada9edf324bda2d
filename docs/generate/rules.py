"""The page of rules: what is forbidden, what does nothing, what needs something."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from docs.generate.examples import Change, examples
from docs.generate.markdown import code, page
from sweeper.core.foresight import DOES_NOT_FIT
from sweeper.core.rules import FORBIDDEN, IGNORED, NEEDS, OWN_VALUES, Forbidden, Needs
from sweeper.hydra_edge.settings_help import shown

_INTRODUCTION = """\
Before a candidate costs a process, a table of rules judges it (`sweeper/core/rules/`). The examples and what is
said of them are the code's own. A rule's source is where the knowledge comes from: "source" was read in
DeepSpeed 0.19.8, "run" was tried on it. `make test-differential` holds the rules against DeepSpeed itself."""

_FORBIDDEN = """\
Such a candidate is `infeasible`: it is recorded with the rule's id and the reason, and not run."""

_MEMORY = f"""\
One rule is not in the table, since it depends on the machine and on what trials have taught:
`{DOES_NOT_FIT}`, of a candidate that [the memory model](../explanation/memory.md) gives less than 1 % to fit."""

_IGNORED = """\
DeepSpeed accepts these settings and does not look at them. They are left out of the candidate, with a note where
one was typed all the same, and a knob is not sampled where it does nothing."""

_OWN = """\
Typed as what DeepSpeed would take anyway, a knob is the same work as `null`:"""

_NEEDS = """\
Such a candidate is `unsupported` here: the machine lacks what it needs."""


_examples = functools.cache(examples)


def rules_page() -> str:
    """Every rule, in the order in which they are asked."""
    own = ", ".join(code(rule.names[0]) for rule in OWN_VALUES)
    return page(
        "Rules",
        _INTRODUCTION,
        "## What is forbidden",
        _FORBIDDEN,
        *_told(FORBIDDEN),
        _MEMORY,
        "## Settings that do nothing",
        _IGNORED,
        *_ignored(),
        f"{_OWN} {own}.",
        "## What a machine must have",
        _NEEDS,
        *_told(NEEDS),
    )


def _told(rules: Iterable[Forbidden | Needs]) -> Iterator[str]:
    found = _examples()
    for rule in rules:
        changes, reason = found[rule.id]
        yield _rule(
            rule.id,
            [("for example", _typed(changes)), ("is told as", reason), ("source", rule.source)],
        )


def _ignored() -> Iterator[str]:
    for rule in IGNORED:
        value = "" if rule.neutral is None else f" (as if {code(shown(rule.neutral))} were typed)"
        yield _rule(
            rule.id,
            [
                ("settings", ", ".join(map(code, rule.names))),
                ("do nothing", (rule.why or f"by its name: {rule.id.replace('-', ' ')}") + value),
                ("source", rule.source),
            ],
        )


def _rule(id: str, rows: Iterable[tuple[str, str]]) -> str:
    """A heading, so that it can be linked."""
    return "\n".join([f"### {id}", "", *(f"* {what}: {text}" for what, text in rows)])


def _typed(changes: Iterable[Change]) -> str:
    return " ".join(code(f"{name}={shown(value)}") for name, value in changes)
