"""What a study trains and on what, so that another's trials are not taken for its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sweeper.core.files import read_object
from sweeper.core.folder import StudyFolder
from sweeper.core.settings import Settings

# How a trial is started and measured; where a script was typed. The host is one of its kind.
_LEFT_OUT = ("launch.", "measure.", "script.folder")
_HOST = "host"


def work_of(
    settings: Settings,
    *,
    environment: Mapping[str, Any],
    num_parameters: int | None,
    folder: StudyFolder,
) -> dict[str, Any]:
    """Of the baseline's ``settings``, as plain values under dotted names.

    A file that says what is trained may be another under the same name: the model's size and the
    script's digest are part of it.
    """
    work = {n: value for n, value in settings.flat().items() if not n.startswith(_LEFT_OUT)}
    work |= {n: value for n, value in environment.items() if n != _HOST}
    work["parameters"] = num_parameters
    if settings.is_script:
        work["script.sha256"] = read_object(folder.script).get("sha256")
    plain: dict[str, Any] = json.loads(json.dumps(work, default=str))
    return {name: value for name, value in plain.items() if value is not None}
