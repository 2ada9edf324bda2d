"""``sweeper doctor``: its arguments, and what is said to a person."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import sweeper
from sweeper.core.finding import Finding
from sweeper.errors import EnvironmentUnfit
from sweeper.hydra_edge.plain_text import paragraph
from sweeper.one_line_parser import OneLineParser
from sweeper.run.doctor.examine import Asked, examine

_SHOWN = {"ok": "ok", "warning": "warning", "failure": "FAILURE"}
_STATUS = max(map(len, _SHOWN.values())) + 2
_ARROW = "-> "


def asked_for(arguments: Sequence[str]) -> Asked:
    """Raises UsageError for arguments that there are not."""
    parser = OneLineParser(
        "doctor",
        example="",
        flags={
            "--accelerator": "--accelerator cpu",
            "--nvme": "--nvme /tmp",
            "--hostfile": "--hostfile hostfile",
        },
        description="What this machine can do, and what is in the way. Exit code 4 where the default "
        "study could not run.",
    )
    parser.add_argument(
        "--accelerator", choices=("cpu", "cuda"), help="what trials are to run on; else found out"
    )
    parser.add_argument(
        "--nvme", type=Path, metavar="FOLDER", help="measure the drive that this folder lies on"
    )
    parser.add_argument(
        "--hostfile", type=Path, metavar="FILE", help="ask the hosts in DeepSpeed's hostfile"
    )
    values = parser.given(arguments)
    return Asked(accelerator=values.accelerator, nvme=values.nvme, hostfile=values.hostfile)


def doctor(arguments: Sequence[str]) -> list[Finding]:
    """Looks at everything; raises UsageError before."""
    return examine(asked_for(arguments), _ops_of_default_study)


def _ops_of_default_study(accelerator: str) -> Sequence[str]:
    # Late: that Hydra is missing is one of the things to be found.
    from sweeper.hydra_edge.default_study import ops_of_default_study

    return ops_of_default_study(accelerator)


def doctor_text(findings: Sequence[Finding]) -> str:
    """A line for each finding with what to do below it, and what it comes to."""
    width = max(len(_plain(finding.name)) for finding in findings) + 2
    head = f"sweeper {sweeper.__version__}, Python {platform.python_version()}"
    return "\n".join(
        [head, "", *(_shown(finding, width) for finding in findings), "", _sum(findings)]
    )


def check_fit(findings: Sequence[Finding]) -> None:
    """Raises EnvironmentUnfit where the default study could not run."""
    failed = [_plain(finding.name) for finding in findings if finding.status == "failure"]
    if failed:
        raise EnvironmentUnfit(
            f"the default study cannot run on this machine: {', '.join(dict.fromkeys(failed))}; "
            "do what stands below each FAILURE, then type python -m sweeper doctor again"
        )


def _shown(finding: Finding, width: int) -> str:
    """What to type is never broken over lines."""
    first = f"{_SHOWN[finding.status]:{_STATUS}}{_plain(finding.name):{width}}"
    text = paragraph(_plain(finding.found), first=first, further=" " * len(first))
    if not finding.advice:
        return text
    return f"{text}\n{' ' * _STATUS}{_ARROW}{_plain(finding.advice)}"


def _sum(findings: Sequence[Finding]) -> str:
    failures = sum(finding.status == "failure" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    can = "cannot run" if failures else "can run"
    return f"The default study {can} here: {failures} failure(s), {warnings} warning(s)."


def _plain(text: str) -> str:
    """What programs said and people wrote, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
