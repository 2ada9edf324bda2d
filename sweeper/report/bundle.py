"""``best/``: the winner, ready to be taken elsewhere."""

from __future__ import annotations

import shutil

from sweeper.core.folder import StudyFolder, read_json, write_json, write_text
from sweeper.core.trial import Trial
from sweeper.report.markdown import not_in_the_json, verdict


def write_bundle(folder: StudyFolder, trials: list[Trial], best: Trial | None) -> None:
    """Replaces what an earlier report left there; without a winner there is no bundle."""
    shutil.rmtree(folder.best, ignore_errors=True)
    if best is None:
        return
    trial_folder = folder.trial(best.number)
    write_json(folder.best_ds_config, read_json(trial_folder.ds_config))
    settings = best.settings
    missing = [f"* Not in the JSON: {text}." for text in not_in_the_json(best)]
    write_text(
        folder.best / "README.md",
        "\n".join(
            [
                f"# {folder.path.name}: the fastest configuration",
                "",
                f"* {verdict(trials)}.",
                f"* For {settings['hardware.ranks']} {settings['hardware.accelerator']} rank(s) and a global "
                f"batch of {settings['workload.global_batch_size']}; give it to "
                "`deepspeed.initialize(config='ds_config.json', ...)` as it is.",
                *missing,
                f"* Measured by the command in `../trials/{best.number:04d}/command.txt`.",
                "",
            ]
        ),
    )
