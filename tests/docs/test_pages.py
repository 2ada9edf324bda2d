"""The documentation holds: links lead somewhere, the reference is the code's, and it builds without a warning."""

import ast
import re
import subprocess
import sys
import textwrap
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from docs.generate import PAGES, REFERENCE
from docs.generate.api import doors, public
from docs.generate.files import paths
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.outcome import Outcome, name_of_kind
from sweeper.core.rules import FORBIDDEN, IGNORED, NEEDS
from sweeper.core.settings import setting_names
from sweeper.hydra_edge.schema import SAMPLERS, OptunaSweeperConf
from tests.support import ROOT

READ_BY_PEOPLE = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "DECISIONS.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCED = re.compile(r"^( *)(```+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def prose(path: Path) -> str:
    """Without what is in fences or backticks: a link in there is none."""
    return re.sub(r"`[^`\n]*`", "", _FENCED.sub("", path.read_text(encoding="utf-8")))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Of the headings, as forges make them."""
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


@pytest.mark.parametrize("page", READ_BY_PEOPLE, ids=name)
def test_every_link_leads_somewhere(page):
    for link in _LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        assert target.exists(), f"{name(page)} links to {link}: there is no {where}"
        assert target.is_relative_to(ROOT), f"{name(page)} links to {link}, outside the checkout"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}: no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_is_what_the_code_says_now(page):
    written = (REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    assert PAGES[page]() == written, f"docs/reference/{page}.md is stale: type make docs"


def rows(page: str) -> dict[str, list[str]]:
    """Of all tables, by what stands in backticks at the beginning."""
    lines = (REFERENCE / f"{page}.md").read_text(encoding="utf-8").splitlines()
    cells = (
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if line[:1] == "|"
    )
    return {row[0].split("`")[1]: row for row in cells if row[0].startswith("`")}


def test_every_option_is_in_the_reference_with_what_it_does():
    described = rows("options")
    for setting, about in {**setting_names(), **setting_names(Objective, "objective.")}.items():
        assert about["help"] == described[setting][2].partition("<br>")[0]
    for field in fields(OptunaSweeperConf):
        if not field.name.startswith("_"):
            assert field.metadata["help"] == described[f"hydra.sweeper.{field.name}"][2]
    assert {f"hydra/sweeper/sampler={sampler}" for sampler in SAMPLERS} <= set(described)


def test_every_option_of_every_group_is_in_the_reference():
    typed = set(rows("options")) | set(rows("models"))
    for path in (ROOT / "conf").rglob("*.yaml"):
        group, *rest = path.relative_to(ROOT / "conf").with_suffix("").parts
        siblings = list((ROOT / "conf" / group).glob("*.yaml")) if rest else []
        if group != "hydra" and len(siblings) > 1:
            sign = "+" if group == "model" else ""
            assert f"{sign}{group}={'/'.join(rest)}" in typed


def test_a_knob_says_where_it_does_nothing_and_links_to_the_rule():
    described = rows("options")
    for rule in IGNORED:
        for setting in rule.names:
            assert f"rules.md#{rule.id}" in described[setting][2]
    assert "rules.md" not in described["zero.stage"][2]


def test_every_rule_is_in_the_reference_with_its_source():
    text = (REFERENCE / "rules.md").read_text(encoding="utf-8")
    for rule in (*FORBIDDEN, *IGNORED, *NEEDS):
        section = text.partition(f"### {rule.id}\n")[2].partition("\n#")[0]
        assert f"* source: {rule.source}" in section


def test_every_outcome_is_in_the_reference():
    assert {name_of_kind(cls) for cls in get_args(Outcome)} <= set(rows("outcomes"))


def test_every_file_of_a_study_says_what_it_is():
    study = StudyFolder(Path("study"))
    for folder in (study, study.trial(7), study.bundle):
        for path, about in paths(folder):
            assert about, f"{path.name}: give its property in core/folder.py a docstring"


def test_what_people_import_is_in_the_reference_with_its_docstring():
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    found = {definition.node for door in doors() for definition in public(door)}
    assert {"prepare", "UsageError"} <= {node.name for node in found}
    for node in found:
        section = text.partition(f"### {node.name}\n")[2].partition("\n###")[0]
        first = (ast.get_docstring(node) or "").partition("\n")[0].replace("``", "`")
        assert first
        assert first in section


def test_the_targets_that_are_named_are_those_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for line in re.findall(
            r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert line in targets, f"{name(page)}: make {line}"


@pytest.mark.parametrize(
    ("page", "language", "source"),
    [
        ("add-a-runner", "python", "sweeper/run/launchers.py"),
        ("add-a-model", "yaml", "conf/model/gpt2-medium.yaml"),
    ],
)
def test_what_a_page_quotes_stands_in_the_source(page, language, source):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    quoted = re.search(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    assert quoted
    assert textwrap.dedent(quoted[2]) in (ROOT / source).read_text(encoding="utf-8")


@pytest.mark.timeout(180)
def test_the_documentation_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            str(ROOT / "docs"),
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert 0 == built.returncode, built.stderr
    assert (tmp_path / "reference" / "options.html").is_file()
