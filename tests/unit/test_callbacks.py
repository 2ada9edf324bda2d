import sys
from types import ModuleType

import pytest
import yaml

from sweeper.callbacks.following import Followed, make_callbacks
from sweeper.callbacks.records import study_ended, trial_ended
from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible, OutOfMemory, Stopped
from sweeper.core.plan import plan
from sweeper.errors import UsageError
from sweeper.hydra_edge.options import options
from sweeper.report.build import build_report
from tests.support import (
    MACHINE,
    ROOT,
    FakeRunner,
    ds_config_of,
    measured,
    nano,
    trial_of,
)

STAGE2 = trial_of(1, measured(250.0), overrides=("zero=stage2",), **{"zero.stage": 2})
NO_MEMORY = trial_of(2, OutOfMemory(memory="host", phase="build", reason="no memory"))


class Noting:
    """Keeps what it is told."""

    def __init__(self, *, fails_in=()):
        self.told = []
        self._fails_in = fails_in

    def _note(self, what, record):
        self.told.append((what, record))
        if what in self._fails_in:
            raise ConnectionError("the server\nis gone")

    def begin(self, study):
        self._note("begin", study)

    def trial(self, trial):
        self._note("trial", trial)

    def end(self, study):
        self._note("end", study)


def followed(folder, *callbacks, finished=(), trials=2):
    said = []
    follower = Followed({f"c{n}": c for n, c in enumerate(callbacks)}, said.append)
    follower.begin(folder, {"model": "gpt2-nano", "cuda": None}, finished)
    with follower:
        runner = follower.following(FakeRunner(lambda point: measured(100.0)))
        for number in range(len(finished), len(finished) + trials):
            runner.run(number, {}, plan(nano(), MACHINE))
    return said


def test_a_callback_is_told_of_the_study_each_trial_and_the_end(tmp_path):
    callback = Noting()
    assert [] == followed(StudyFolder(tmp_path / "s"), callback)
    assert ["begin", "trial", "trial", "end"] == [what for what, _ in callback.told]
    begun = callback.told[0][1]
    assert ("s", {"model": "gpt2-nano"}) == (begun.name, begun.facts)
    assert [0, 1] == [record.number for what, record in callback.told if what == "trial"]


@pytest.mark.parametrize("event", ["begin", "trial", "end"])
def test_a_callback_that_raises_is_one_line_and_the_study_and_its_neighbour_go_on(tmp_path, event):
    bad, good = Noting(fails_in=(event,)), Noting()
    (line,) = followed(StudyFolder(tmp_path / "s"), bad, good)
    when = {"begin": "begin", "trial": "trial 0", "end": "end"}[event]
    assert f"note: callbacks.c0 failed ({when}) and is left out: the server" == line
    assert ["begin", "trial", "trial", "end"] == [what for what, _ in good.told]
    assert event == bad.told[-1][0]


def test_a_record_that_cannot_be_read_costs_no_callback_its_end(tmp_path):
    folder, callback = StudyFolder(tmp_path / "s"), Noting()
    write_json(folder.trial(9).trial, {"schema_version": 99})
    assert [] == followed(folder, callback)
    assert "end" == callback.told[-1][0]


def test_callbacks_are_ended_when_the_study_is_interrupted(tmp_path):
    callback = Noting()
    follower = Followed({"c": callback}, print)
    follower.begin(StudyFolder(tmp_path), {}, [])
    with pytest.raises(KeyboardInterrupt), follower:
        raise KeyboardInterrupt
    assert "end" == callback.told[-1][0]


def test_an_interrupt_inside_a_callback_is_the_users_not_the_callbacks(tmp_path):
    class Slow(Noting):
        def trial(self, trial):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        followed(StudyFolder(tmp_path), Slow())


def test_a_study_that_goes_on_tells_its_finished_trials_again(tmp_path):
    callback = Noting()
    followed(StudyFolder(tmp_path), callback, finished=[trial_of(0, measured()), STAGE2], trials=1)
    assert [0, 1, 2] == [record.number for what, record in callback.told if what == "trial"]


def test_parameters_are_the_main_settings_and_what_differs_from_the_baseline():
    baseline = trial_of(0, measured())
    other = trial_of(
        1, measured(), **{"zero.stage": 2, "measure.max_steps": 9, "hardware.ranks": 2}
    )
    told = trial_ended(other, baseline).parameters
    assert {"zero.stage": 2, "measure.max_steps": 9, "hardware.ranks": 2}.items() <= told.items()
    assert "precision.mode" in told
    assert "optimizer.lr" not in told
    assert set(trial_ended(baseline, baseline).parameters) < set(told)


def test_a_trial_that_was_not_measured_has_failed_with_its_reason_and_no_number():
    told = trial_ended(NO_MEMORY, STAGE2)
    assert (True, {}, ()) == (told.failed, told.metrics, told.step_seconds)
    assert {"outcome": "out-of-memory", "reason": "no memory"}.items() <= told.tags.items()
    refused = trial_of(3, Infeasible(rule="r", reason="x"))
    stopped = trial_of(4, Stopped(measurement=measured().measurement, reason="beaten"))
    assert [True, False] == [trial_ended(t, STAGE2).failed for t in (refused, stopped)]


def test_a_trials_numbers_are_named_as_the_tables_columns():
    told = trial_ended(STAGE2, STAGE2)
    assert 250.0 == pytest.approx(told.metrics["tokens_per_second_median"])
    assert 2**30 == told.metrics["peak_bytes"]
    assert 12.5 == told.ended_at - told.started_at
    assert "zero=stage2" == told.tags["overrides"]
    assert "0.19.8" == told.tags["deepspeed"]


def test_the_end_has_the_verdict_the_files_there_are_and_the_winners_folder(tmp_path):
    folder = StudyFolder(tmp_path / "s")
    for trial in (trial_of(0, measured(100.0)), STAGE2):
        write_json(folder.trial(trial.number).trial, trial.to_json())
        write_json(folder.trial(trial.number).ds_config, ds_config_of(trial))
    build_report(folder)
    ended = study_ended(folder)
    assert "trial 1 is the fastest" in ended.verdict
    assert {"report.md", "trials.csv"} <= {file.name for file in ended.files}
    assert all(file.exists() for file in ended.files)
    assert folder.best == ended.best


def test_a_study_without_a_winner_ends_without_its_folder(tmp_path):
    folder = StudyFolder(tmp_path)
    write_json(folder.trial(0).trial, trial_of(0, NO_MEMORY.outcome).to_json())
    ended = study_ended(folder)
    assert (None, {}) == (ended.best, ended.metrics)


def chosen(name, **changes):
    path = ROOT / "conf" / "callbacks" / f"{name}.yaml"
    return {name: {**yaml.safe_load(path.read_text()), **changes}}


PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "wandb": "wandb"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_one_line_that_names_the_extra(name, monkeypatch):
    monkeypatch.delitem(sys.modules, f"sweeper.callbacks.{name}", raising=False)
    package = PACKAGES[name]
    for module in [package, *(m for m in sys.modules if m.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    said = f"callbacks={name} needs the package {PACKAGES[name]}"
    with pytest.raises(UsageError, match=said) as raised:
        make_callbacks(chosen(name))
    assert f"pip install 'deepspeed-sweeper[{name}]'" in str(raised.value)


def test_a_package_that_a_callback_of_ones_own_lacks_is_named_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "my_own.py").write_text("import no_such_tracker.client\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        UsageError, match=r"needs the package no_such_tracker, .* install no_such_tr"
    ):
        make_callbacks({"mine": {"_target_": "my_own.Mine"}})


def test_every_configuration_names_a_callback_and_has_an_extra():
    project = (ROOT / "pyproject.toml").read_text()
    assert {*PACKAGES, "none"} == set(options("callbacks"))
    for name in PACKAGES:
        module = chosen(name)[name]["_target_"].rpartition(".")[0]
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
        assert f"\n{name} = [" in project


def test_a_callback_of_ones_own_is_made_with_its_options(monkeypatch):
    module = ModuleType("my_callbacks")
    module.Mine = Noting
    monkeypatch.setitem(sys.modules, "my_callbacks", module)
    made = make_callbacks({"mine": {"_target_": "my_callbacks.Mine", "fails_in": ("end",)}})
    assert isinstance(made["mine"], Noting)
    with pytest.raises(UsageError, match=r"callbacks.mine: .*'colour'; its options are fails_in"):
        make_callbacks({"mine": {"_target_": "my_callbacks.Mine", "colour": 1}})


def test_a_callback_that_cannot_be_made_is_one_line_before_the_study(monkeypatch):
    module = ModuleType("my_callbacks")

    def refuse(*, uri):
        raise RuntimeError(f"no scheme in {uri}\nsee the manual")

    module.refuse = refuse
    monkeypatch.setitem(sys.modules, "my_callbacks", module)
    with pytest.raises(UsageError, match=r"callbacks=mine cannot be made with uri=x: no scheme"):
        make_callbacks({"mine": {"_target_": "my_callbacks.refuse", "uri": "x"}})


@pytest.mark.parametrize("target", ["nowhere.Mine", "sweeper.Nobody", "Nobody", ""])
def test_a_class_that_is_not_there_is_one_line(target):
    with pytest.raises(UsageError, match="no such class; type callbacks=mlflow"):
        make_callbacks({"mine": {"_target_": target}})
