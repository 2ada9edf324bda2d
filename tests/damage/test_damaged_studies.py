"""Recorded studies with one file damaged, in drawn ways: no command loses what was measured, or its head.

The default run draws few; ``make test-damage`` at least 300, and writes down what it has drawn.
"""

from __future__ import annotations

import collections
import contextlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from sweeper.core.files import write_json
from sweeper.core.finalists import Contest
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.core.plan import plan
from sweeper.core.prediction import Prediction
from sweeper.core.space import Choice, SearchSpace
from sweeper.core.study import Budget, Study
from sweeper.core.trial import trial_of_plan
from sweeper.errors import SweeperError
from sweeper.hydra_edge.resume import (
    check_unchanged,
    clear_unfinished,
    original_arguments,
    put_damaged_aside,
)
from sweeper.report import build
from sweeper.report.build import build_report
from sweeper.report.export import export
from sweeper.report.load import load
from sweeper.run.finalists import run_contest
from sweeper.run.leftovers import sweep_temporary
from sweeper.run.study_record import study_document
from sweeper.run.verify import verify
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from sweeper.search.samplers import GUIDED
from sweeper.terminal import Terminal
from tests.damage.damages import DAMAGES, copied
from tests.recorded import (
    SPACE,
    full_study,
    recorded,
    small,
    small_rounds,
    write_journal,
)
from tests.support import MACHINE, measured, nano

NUM_EXAMPLES = int(os.environ.get("DAMAGED_STUDIES", "15"))
COUNTS = os.environ.get("DAMAGED_STUDIES_COUNTS")
ENVIRONMENT = {"device": "a CPU", "torch": "2.13.0", "deepspeed": "0.19.8"}
WHOLE = {"zero.stage", "batch.micro_size", "checkpointing.every_nth_block"}
BASELINE = {name: values[0] for name, values in SPACE.items()}

pytestmark = pytest.mark.timeout(3600)


def planned(point):
    changes = {n: int(v) if n in WHOLE else v for n, v in point.items()}
    return plan(nano(**changes), MACHINE)


def whole_study(path):
    """With every file that a study and its trials leave."""
    trials = small()
    folder = recorded(
        path, trials, rounds=small_rounds(), finalists=(2, 1), study_name=path.name, space=SPACE,
        storage=None, arguments=["+model=gpt2-nano", "hydra/sweeper=optuna"], environment=ENVIRONMENT,
        predictions={t.number: Prediction(peak_bytes=2**31, deviation_bytes=2**28) for t in trials},
    )  # fmt: skip
    for trial in trials:
        own = folder.trial(trial.number)
        if isinstance(trial.outcome, Infeasible):
            continue
        write_json(
            own.pending, {"schema_version": 1, "number": trial.number, "point": dict(trial.point)}
        )
        write_json(own.spec, planned(trial.point).ready.to_json())
        own.stderr.write_text("a line\n")
    rules = {"offload-needs-zero": {"candidates": 4, "reason": "offload needs ZeRO"}}
    write_json(folder.ruled_out, {"schema_version": 1, "space": 128, "rules": rules})
    write_journal(folder, trials, path.name)
    return folder


def grid(path):
    return recorded(path, small()[:5])


STUDIES = {"whole": whole_study, "full": full_study, "grid": grid}


@pytest.fixture(scope="module", autouse=True)
def no_power_cut():
    """That a write is on the disk is nothing to wait for here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Each with the report and the export that it had before it was damaged."""
    place = tmp_path_factory.mktemp("studies")
    made = {}
    for name, make in STUDIES.items():
        folder = make(place / name)
        build_report(folder)
        export(str(folder.path), name="hf", to=None, force=False)
        made[name] = folder
    return made


@pytest.fixture(scope="module")
def drawn():
    counts = collections.Counter()
    yield counts
    if COUNTS:
        by = {
            kind: {n: c for (k, n), c in counts.items() if k == kind} for kind in ("damage", "end")
        }
        document = {"schema_version": 1, "examples": sum(by["damage"].values()), **by}
        write_json(Path(COUNTS), document)


class Runner:
    """Of the study in ``folder``: what is to be measured is, at a made-up speed."""

    def __init__(self, folder):
        self.folder, self.ran = folder, []

    def run(self, number, point, planned_):
        ready = planned_.ready
        refused = isinstance(ready, Infeasible)
        outcome = ready if refused else measured(100.0 * int(point["batch.micro_size"]))
        trial = trial_of_plan(
            planned_, outcome, number=number, point=point, overrides=(), started_at=1.7e9,
            memory_limit_bytes=MACHINE.host_memory_bytes, environment=ENVIRONMENT, wall_seconds=1.0,
        )  # fmt: skip
        write_json(self.folder.trial(number).trial, trial.to_json())
        self.ran.append(number)
        return trial


class Quiet:
    """A terminal that nobody looks at."""

    width = None

    def say(self, text, style=""):
        pass

    def view(self, lines):
        return contextlib.nullcontext()

    def acknowledge(self, text):
        pass


def again(trial, spec, folder, terminal):
    found = measured(100.0 * (1 + trial.number))
    trial = replace(trial, outcome=found)
    write_json(folder.trial, trial.to_json())
    return trial


def go_on(folder):
    """What ``resume=`` does, without Hydra and processes."""
    original_arguments(str(folder.path))
    sweep_temporary(folder)
    pending = clear_unfinished(folder)
    said = []
    lost = put_damaged_aside(folder, said.append)
    finished = folder.read_trials()
    check_unchanged(folder, study_document(folder).get("config", {}), ENVIRONMENT)
    for path in folder.path.glob("optuna.journal*"):
        path.unlink() if not path.is_dir() else None
    space = SearchSpace(parameters={n: Choice(values=tuple(v)) for n, v in SPACE.items()})
    sampler = OptunaSampler(
        space,
        open_study(
            space=space, sampler={"_target_": GUIDED}, storage=None,
            journal=folder.path / "resumed.journal", study_name="resumed",
            directions=["maximize"], seed=1,
        ),
        seed=1, guided=True,
    )  # fmt: skip
    for trial in finished:
        sampler.replay(trial)
    runner = Runner(folder)
    study = Study(
        sampler=sampler, plan=planned, runner=runner, budget=Budget(trials=8), clock=lambda: 0.0
    )
    result = study.run(BASELINE, finished=finished, pending=pending, lost=lost)
    if folder.finalists.path.exists():
        contest = Contest(finalists=(2, 1), baseline=0)
        run_contest(
            contest, folder, rounds=folder.finalists, terminal=Terminal(Quiet()), again=again
        )
    return lost, result, runner


def in_one_line(act):
    """What it returns; a mistake of the user's, or a damage that is in the way, is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return act()
        except SweeperError as error:
            found = error
    assert "\n" not in str(found), found
    assert " type " in str(found) or "nothing to report" in str(found), found
    return found


def readable(folder):
    return {trial.number: trial.to_json() for trial in folder.read_trials()}


def files_of(folder):
    """But what a person may read and nobody else."""
    return sorted(p.relative_to(folder.path) for p in folder.path.rglob("*") if p.is_file())


@given(data=st.data())
@settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    derandomize=not COUNTS,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    phases=(Phase.explicit, Phase.generate),  # the first draw that fails says enough
    report_multiple_bugs=False,
)
def test_one_damaged_file_costs_itself_alone(studies, drawn, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["whole", "whole", "full", "grid"]))
    original = studies[name]
    # Facts twice as often as what is derived of them.
    files = files_of(original)
    facts = [f for f in files if f.suffix in (".json", ".yaml", ".journal", ".txt")]
    facts = [f for f in facts if f.parts[0] not in ("best", "export")]
    damaged = data.draw(st.sampled_from([*facts, *facts, *files]))
    damage = data.draw(st.sampled_from(DAMAGES))
    place = tmp_path_factory.getbasetemp() / "damaged"
    folder = StudyFolder(copied(original.path, place / name))
    damage(folder.path / damaged, data.draw)
    note(f"{name}: {damaged}: {damage.__name__}")
    drawn["damage", damage.__name__] += 1
    before = readable(folder)
    known = set(readable(original))
    is_record = damaged.parts[0] == "trials" and damaged.name == "trial.json"
    assert known - set(before) <= ({int(damaged.parts[1])} if is_record else set())

    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.integers(0, 19)):  # they are what takes long
            patch.setattr(build, "draw_figures", lambda *a, **k: ())
        reported = in_one_line(lambda: build_report(folder))
    assert isinstance(reported, str), reported
    for number in before:
        assert f"\n{folder.name},{number}," in folder.trials_csv.read_text()
    for number in known - set(before):
        assert f"{folder.trial(number).trial} " in reported
        assert " type " in reported
    assert [] == [p for p in folder.path.rglob("*.tmp")]

    exported = in_one_line(lambda: export(str(folder.path), name="all", to=None, force=True))
    assert isinstance(exported, str), exported
    frame = in_one_line(lambda: load(folder.path))
    assert set(before) == set(frame["trial"])
    verified = in_one_line(
        lambda: verify(
            str(folder.path), stamp="now", terminal=Terminal(Quiet()),
            look=lambda accelerator: (MACHINE, ENVIRONMENT), again=again,
        )
    )  # fmt: skip
    drawn["end", "verified" if isinstance(verified, str) else type(verified).__name__] += 1
    assert before == readable(folder)

    resumed = in_one_line(lambda: go_on(folder)) if name == "whole" else None
    if isinstance(resumed, tuple):
        lost, _, _ = resumed
        after = readable(folder)
        assert before == {n: after[n] for n in before}
        for number, point in lost.items():
            assert point == after[number]["point"]
        if is_record:
            assert known <= set(after) or 7 == int(
                damaged.parts[1]
            )  # refused: it may never come again
        drawn["end", "resumed, with a trial measured again" if lost else "resumed"] += 1
        assert "trials/" not in "".join(build_report_lines(folder))


def build_report_lines(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "draw_figures", lambda *a, **k: ())
        lines = build_report(folder).splitlines()
    return [line for line in lines if line.startswith("note: ") and "trial.json" in line]
