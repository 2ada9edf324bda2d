"""How the documentation is built: ``make docs``."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from sweeper import __version__

project = "sweeper"
author = "the authors of sweeper"
release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["generate"]

# Anchors as forges make them, so that a link works there and here.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"sweeper {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

_LINK = re.compile(r"\[([^]]+)\]\((\.\./[^)#\s]+)\)")


def without_links_to_the_checkout(app: Sphinx, docname: str, source: list[str]) -> None:
    """A file that is no page is there on a forge, and not beside what is built: its name is enough."""
    docs = Path(app.srcdir)
    here = (docs / docname).parent

    def plain(link: re.Match[str]) -> str:
        inside = (here / link[2]).resolve().is_relative_to(docs)
        return link[0] if inside else link[1]

    source[0] = _LINK.sub(plain, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", without_links_to_the_checkout)
