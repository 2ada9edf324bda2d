"""The page of commands: what can be typed, with the flags of each."""

from __future__ import annotations

import yaml

from docs.generate.markdown import code, page, table
from sweeper.core.export_formats import FORMATS
from sweeper.places import conf_dir

_INTRODUCTION = """\
A first word without `=` is a command; everything else goes to [Hydra](https://hydra.cc). A sweeper that is
chosen needs no `-m`."""


def commands_page() -> str:
    """As ``--help`` has them."""
    template = yaml.safe_load((conf_dir() / "hydra/help/sweeper.yaml").read_text())["template"]
    use = template.partition("== Use ==\n")[2].partition("\n\n")[0]
    rows = [_split(line) for line in use.splitlines()]
    formats = [[code(f"--format {f.name}"), f.title] for f in FORMATS.values()]
    return page(
        "Commands",
        _INTRODUCTION,
        table(["Type", "What it does"], rows),
        "`python -m sweeper --help` has every group and setting, `--hydra-help` Hydra's own flags, "
        "`--cfg job` the configuration that a command line gives. `doctor` has "
        "[flags of its own](../doctor.md).",
        "## export",
        "Without `--format` all of them; `--to <folder>` is another place, `--force` replaces what is there. "
        "[What each one carries](../export.md).",
        table(["Type", "For"], formats),
    )


def _split(line: str) -> list[str]:
    command, _, about = line.strip().partition("  ")
    return [code(command), about.strip()]
