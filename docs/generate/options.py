"""The page of every option: its values, what it does, and when it acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import groupby
from typing import Any, get_type_hints

from docs.generate import composed
from docs.generate.markdown import code, page, sentence, table
from sweeper.core.objective import Objective
from sweeper.core.rules import IGNORED
from sweeper.core.settings import Settings, setting_names
from sweeper.hydra_edge.schema import SAMPLERS, OptunaSweeperConf
from sweeper.hydra_edge.settings_help import allowed
from sweeper.places import conf_dir

_INTRODUCTION = """\
Type a group's option (`zero=stage2`), a setting's value (`zero.stage=2`), or what is to be searched
(`'zero=choice(stage1,stage2)'`, `'batch.micro_size=choice(1,2,4)'`). What is typed in a study is no longer searched.
`null` leaves a knob to DeepSpeed. `--cfg job` shows the configuration that a command line gives.

*Does nothing* says where DeepSpeed does not look at a setting. There it is left out of the candidate, so that
equal work has an equal key and is done once ([rules](rules.md#settings-that-do-nothing)). A setting
without that remark always acts."""


def options_page() -> str:
    """Groups and settings as the dataclasses of the settings have them, the sweeper's own last."""
    names = {**setting_names(), **setting_names(Objective, "objective.")}
    values = {where: composed.defaults(where) for where in composed.ACCELERATORS}
    parts = [
        "\n\n".join(_group(group, dict(members), values))
        for group, members in groupby(names.items(), key=lambda item: item[0].partition(".")[0])
    ]
    return page("Options", _INTRODUCTION, *parts, _free(), _spaces(), _sweeper(), *_others(names))


def _group(
    group: str, members: Mapping[str, Mapping[str, Any]], values: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    yield f"## {group}"
    if note := _note(group):
        yield note
    choices = list(composed.options(group))
    if len(choices) > 1:
        yield _choices(group, choices)
    yield table(
        ["Setting", "Default", "What it does"],
        [
            [code(name), _default(name, about, values), _meaning(name, about)]
            for name, about in members.items()
        ],
    )


def _meaning(name: str, about: Mapping[str, Any]) -> str:
    values = f"Allowed: {allowed(about)}" if allowed(about) else ""
    return "<br>".join(filter(None, [about["help"], values, when(name)]))


def _note(group: str) -> str:
    """The docstring of the group's dataclass, where somebody wrote one."""
    cls = Objective if group == "objective" else get_type_hints(Settings)[group]
    text = cls.__doc__ or ""
    written = not text.startswith(f"{cls.__name__}(")
    return " ".join(text.replace("``", "`").split()) if written else ""


def _choices(group: str, choices: list[composed.Option]) -> str:
    chosen = composed.default_options().get(group)
    common = set.intersection(*({f"{k}={v}" for k, v in c.values.items()} for c in choices))
    rows = []
    for choice in choices:
        remark = " (the default)" if choice.name == chosen else ""
        own = [
            code(f"{choice.prefix}.{name}={composed.as_typed(value)}")
            for name, value in choice.values.items()
            if f"{name}={value}" not in common and name != "_target_"
        ]
        sets = ": ".join(filter(None, [", ".join(own), choice.comment.rstrip(".")]))
        rows.append([code(f"{group}={choice.name}") + remark, sets])
    return table(["Type", "Sets"], rows)


def _default(name: str, about: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]) -> str:
    on_cpu, on_cuda = (composed.as_typed(values[w].get(name)) for w in composed.ACCELERATORS)
    text = code(on_cpu) if on_cpu == on_cuda else f"{code(on_cpu)}; on CUDA {code(on_cuda)}"
    if on_cpu == "null" and about.get("own") is not None:
        text += f": DeepSpeed's own, {code(composed.as_typed(about['own']))}"
    return text


def when(name: str) -> str:
    """Where DeepSpeed does not look at a setting, by the table of rules."""
    rules = [rule for rule in IGNORED if name in rule.names]
    links = [f"[{rule.why or 'by a rule'}](rules.md#{rule.id})" for rule in rules]
    return f"Does nothing {', '.join(links)}" if links else ""


def _free() -> str:
    return """\
## model

`+model=<preset>` chooses a [preset](models.md); `model.<argument>=...` is an argument of its factory.

## ds

`ds.<key>=...` is any key of DeepSpeed's configuration, and wins over ours:
`ds.zero_optimization.sub_group_size=100000000`. It can be searched as any setting. A key that DeepSpeed does
not know at the top level is told before the first trial."""


def _spaces() -> str:
    rows = []
    for option in composed.options("space"):
        params = option.values.get("params") or {}
        searched = "<br>".join(code(f"{name}: {text}") for name, text in params.items())
        rows.append([code(f"space={option.name}"), sentence(option.comment), searched or "nothing"])
    return "\n\n".join(
        [
            "## space",
            "What a study searches; it comes with `hydra/sweeper=optuna`, which brings `space=standard`.",
            table(["Type", "What it is for", "Parameters and their values"], rows),
        ]
    )


def _sweeper() -> str:
    rows = []
    for f in fields(OptunaSweeperConf):
        if f.name.startswith("_"):
            continue
        default = (
            "" if f.default is MISSING or f.default == "???" else code(composed.as_typed(f.default))
        )
        rows.append([code(f"hydra.sweeper.{f.name}"), default, f.metadata["help"]])
    samplers = [
        [code(f"hydra/sweeper/sampler={name}"), code(node["_target_"]), _arguments(node)]
        for name, node in SAMPLERS.items()
    ]
    return "\n\n".join(
        [
            "## hydra.sweeper",
            "Of a study: they act with `hydra/sweeper=optuna`.",
            table(["Setting", "Default", "What it does"], rows),
            "The default sampler is `guided`; any other of Optuna's is typed as "
            "`hydra.sweeper.sampler._target_=optuna.samplers.CmaEsSampler`.",
            table(["Type", "Class", "Arguments"], samplers),
        ]
    )


def _arguments(node: Mapping[str, Any]) -> str:
    own = {name: value for name, value in node.items() if name != "_target_"}
    return ", ".join(code(f"{name}={composed.as_typed(value)}") for name, value in own.items())


def _others(names: Mapping[str, Any]) -> Iterator[str]:
    """Groups that add to a configuration and have no settings of ours."""
    described = {name.partition(".")[0] for name in names} | {"model", "space", "hydra"}
    for folder in sorted(path for path in conf_dir().iterdir() if path.is_dir()):
        if folder.name not in described:
            yield f"## {folder.name}\n\n{_choices(folder.name, list(composed.options(folder.name)))}"
