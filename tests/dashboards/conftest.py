"""A small study with every kind of end, which each tool is told of and asked about."""

import pytest
import yaml

from sweeper.callbacks.following import Followed, make_callbacks
from sweeper.core.files import write_json, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped
from sweeper.core.plan import plan
from sweeper.report.build import build_report
from tests.support import MACHINE, ROOT, ds_config_of, measured, nano, trial_of

TRIALS = [
    trial_of(0, measured(100.0)),
    trial_of(1, measured(250.0, peak_bytes=2**29), overrides=("zero=stage2",), **{"zero.stage": 2}),
    trial_of(2, OutOfMemory(memory="host", phase="build", reason="a <b>"), **{"zero.stage": 3}),
    trial_of(3, Stopped(measurement=measured(50.0).measurement, reason="clearly beaten")),
    trial_of(4, Infeasible(rule="r", reason="forbidden"), **{"batch.micro_size": 4}),
    trial_of(5, Crashed(reason="RuntimeError: x", evidence="y", exit_code=1)),
]


class Recorded:
    """A runner that leaves the trials above in the study's folder."""

    def __init__(self, folder):
        self._folder = folder

    def run(self, number, point, planned):
        trial = TRIALS[number]
        write_json(self._folder.trial(number).trial, trial.to_json())
        write_json(self._folder.trial(number).ds_config, ds_config_of(trial))
        return trial


def options_of(name, **changes):
    """As conf/callbacks/<name>.yaml has them."""
    options = yaml.safe_load((ROOT / "conf" / "callbacks" / f"{name}.yaml").read_text())
    return {name: {**options, **changes}}


@pytest.fixture
def follow(tmp_path):
    """Follows the study above with a callback; returns its folder and what was said of callbacks."""

    def run(name, **changes):
        folder = StudyFolder(tmp_path / "gpt2-study")
        said = []
        followed = Followed(make_callbacks(options_of(name, **changes)), said.append)
        followed.begin(folder, {"model": "gpt2-nano", "torch": "2.13.0", "cuda": None}, [])
        write_text(folder.study, "schema_version: 1\n")
        runner = followed.following(Recorded(folder))
        with followed:
            for number in range(len(TRIALS)):
                runner.run(number, {}, plan(nano(), MACHINE))
            build_report(folder)
        assert [] == said
        return folder

    return run
