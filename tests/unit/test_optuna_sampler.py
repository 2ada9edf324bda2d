import importlib.util

import optuna
import pytest
from optuna.trial import TrialState

from sweeper.core.evidence import Evidence
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped
from sweeper.core.space import Choice, FloatRange, IntRange, SearchSpace
from sweeper.errors import UsageError
from sweeper.search.named import made
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import load_study, open_study
from sweeper.search.storages import check_storage, opened_storage
from tests.support import measured, trial_of

SPACE = SearchSpace(
    parameters={"zero": Choice(values=("stage0", "stage1")), "micro": IntRange(low=1, high=4)}
)
TPE = {"_target_": "optuna.samplers.TPESampler"}


def opened(
    tmp_path, *, space=SPACE, sampler=TPE, storage=None, directions=("maximize",), seed=1, **more
):
    return open_study(
        space=space,
        sampler=sampler,
        storage=storage,
        journal=tmp_path / "optuna.journal",
        study_name="test",
        directions=directions,
        seed=seed,
        **more,
    )


def told(tmp_path, outcome, *, repeat=False):
    study = opened(tmp_path)
    sampler = OptunaSampler(SPACE, study, seed=1)
    sampler.tell(sampler.ask(), trial_of(7, outcome), repeat=repeat)
    return study.trials[0]


def test_a_measured_trial_is_complete_with_its_throughput_and_fits(tmp_path):
    trial = told(tmp_path, measured(500.0))
    assert TrialState.COMPLETE == trial.state
    assert pytest.approx(500.0) == trial.value
    assert trial.constraints["0"] <= 0
    assert 7 == trial.user_attrs["trial"]


@pytest.mark.parametrize(
    "outcome",
    [
        OutOfMemory(memory="host", phase="warm-up", reason="no memory"),
        Infeasible(rule="r", reason="no", violation=0.3),
    ],
)
def test_what_does_not_fit_is_pruned_with_a_constraint_above_zero(tmp_path, outcome):
    trial = told(tmp_path, outcome)
    assert TrialState.PRUNED == trial.state
    assert trial.constraints["0"] > 0
    assert outcome.reason == trial.user_attrs["reason"]


def test_the_constraint_grades_how_far_off_a_trial_was(tmp_path):
    early, late = (
        told(tmp_path / phase, OutOfMemory(memory="host", phase=phase, reason="x"))
        for phase in ("build", "measure")
    )
    assert late.constraints["0"] < early.constraints["0"]
    far = told(tmp_path / "far", Infeasible(rule="r", reason="x", violation=7.0))
    assert 7.0 == far.constraints["0"]


def test_only_a_crash_is_told_as_failed(tmp_path):
    trial = told(tmp_path, Crashed(reason="x", evidence="", exit_code=1))
    assert TrialState.FAIL == trial.state


def test_a_repeat_tells_what_is_known_and_names_the_trial(tmp_path):
    trial = told(tmp_path, measured(500.0), repeat=True)
    assert TrialState.COMPLETE == trial.state
    assert 7 == trial.user_attrs["repeats_trial"]
    assert "trial" not in trial.user_attrs


@pytest.mark.parametrize(
    "sampler",
    [
        TPE,
        {"_target_": "optuna.samplers.RandomSampler"},
        {"_target_": "optuna.samplers.NSGAIISampler"},
        {"_target_": "optuna.samplers.GridSampler"},
        {"_target_": "optuna.samplers.BruteForceSampler"},
    ],
    ids=lambda s: s["_target_"].rpartition(".")[2],
)
def test_any_sampler_asks_every_point_once_and_then_nothing(tmp_path, sampler):
    asked = []
    ours = OptunaSampler(SPACE, opened(tmp_path, sampler=sampler), seed=1)
    while (proposal := ours.ask()) is not None:
        asked.append(tuple(sorted(proposal.point.items())))
        ours.tell(proposal, trial_of(len(asked), measured(100.0 + len(asked))), repeat=False)
        assert len(asked) <= SPACE.size
    assert len(asked) == len(set(asked))
    # grid and brute force end themselves at their last point; all others are led to every point
    assert SPACE.size == len(asked)


def test_values_are_proposed_as_they_are_typed(tmp_path):
    space = SearchSpace(parameters={"lr": FloatRange(low=1e-5, high=1e-3, log=True)})
    proposal = OptunaSampler(space, opened(tmp_path, space=space), seed=1).ask()
    assert 1e-5 <= float(proposal.point["lr"]) <= 1e-3


def test_the_study_can_be_found_again_in_its_journal_and_in_a_database(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for storage in (None, url):
        study = opened(tmp_path, storage=storage)
        sampler = OptunaSampler(SPACE, study, seed=1)
        sampler.tell(sampler.ask(), trial_of(0, measured()), repeat=False)
        found = load_study(storage, tmp_path / "optuna.journal", "test")
        assert 1 == len(found.trials)
    assert load_study(None, tmp_path / "nowhere", "test") is None


def test_a_study_of_the_same_name_for_another_space_is_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(UsageError, match="made for another search space; type"):
        opened(tmp_path, space=SearchSpace(parameters={"zero": Choice(values=("stage3",))}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampler": {"_target_": "optuna.samplers.NoSuch"}}, "no such sampler"),
        ({"sampler": {**TPE, "n_startup": 3}}, "cannot be made"),
        ({"storage": "nosuch://x"}, "hydra.sweeper.storage=nosuch://x"),
        ({"storage": "journal:"}, "no path was given"),
        ({"storage": "journal:/nowhere/x.log"}, "No such file or directory"),
        ({"storage": "sqlite:////nowhere/x.db"}, "hydra.sweeper.storage=sqlite:////nowhere/x.db"),
    ],
)
def test_a_sampler_or_storage_that_cannot_be_had_is_one_line(tmp_path, wrong, said):
    with pytest.raises(UsageError, match=said) as error:
        opened(tmp_path, **wrong)
    assert "\n" not in str(error.value)
    assert "type" in str(error.value)


@pytest.mark.parametrize(
    "storage", ["sqlite:////nowhere/x.db", "journal:/nowhere/x.log", "journal:"]
)
def test_a_storage_is_looked_at_before_anything_is_written(storage):
    with pytest.raises(UsageError, match=f"hydra.sweeper.storage={storage}: "):
        check_storage(storage)


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal:"])
def test_looking_at_a_storage_makes_none(tmp_path, scheme):
    check_storage(f"{scheme}{tmp_path / 'study'}")
    check_storage(None)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://user:s3cret@localhost/x",
        "nosuch://user:s3/cr@et@localhost/x",
        "nosuch://localhost/x?user=u&password=s3cret",
    ],
)
def test_a_password_is_in_no_message(storage):
    with pytest.raises(UsageError, match=r"\*\*\*") as error:
        check_storage(storage)
    assert "s3" not in str(error.value)
    assert "localhost/x" in str(error.value)


NANO = {"model.name": "gpt2-nano", "model.layers": 2, "workload.global_batch_size": 4}


def with_a_trial(tmp_path, **more):
    study = opened(tmp_path, **more)
    sampler = OptunaSampler(SPACE, study, seed=1)
    sampler.tell(sampler.ask(), trial_of(0, measured()), repeat=False)


def test_a_study_of_the_same_name_goes_on_with_the_same_work(tmp_path):
    with_a_trial(tmp_path, work=NANO)
    assert 1 == len(opened(tmp_path, work=dict(NANO)).trials)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"model.name": "llama-nano"}, "model.name was gpt2-nano, is llama-nano"),
        ({"workload.global_batch_size": 8}, "workload.global_batch_size was 4, is 8"),
        ({"script.path": "/a/train.py"}, "script.path was None, is /a/train.py"),
    ],
)
def test_a_study_of_the_same_name_for_other_work_is_refused(tmp_path, other, said):
    with_a_trial(tmp_path, work=NANO)
    with pytest.raises(UsageError, match="is of other work: ") as error:
        opened(tmp_path, work=NANO | other)
    assert said in str(error.value)
    assert str(error.value).endswith("type hydra.sweeper.study_name=<a new name>")


def test_a_study_that_does_not_say_what_it_trained_is_taken_where_it_has_no_trials(tmp_path):
    opened(tmp_path)
    assert NANO == opened(tmp_path, work=NANO).user_attrs["work"]


def test_a_study_with_trials_that_does_not_say_what_they_trained_is_refused(tmp_path):
    with_a_trial(tmp_path)
    with pytest.raises(UsageError, match="it is not written what they trained; type"):
        opened(tmp_path, work=NANO)
    assert 1 == len(opened(tmp_path, work=NANO, resuming=True).trials)  # its folder has said it


def test_a_study_of_the_same_name_for_another_objective_is_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(UsageError, match="made for another objective; type"):
        opened(tmp_path, directions=("minimize",))


def tell(sampler, point, trial):
    sampler.tell(sampler.propose(point), trial, repeat=False)


POINT = {name: domain.points()[0] for name, domain in SPACE.parameters.items()}


def test_a_stopped_trial_is_complete_with_its_estimate(tmp_path):
    study = opened(tmp_path)
    estimate = Stopped(measurement=measured(300.0).measurement, reason="clearly beaten")
    tell(OptunaSampler(SPACE, study, seed=1), POINT, trial_of(3, estimate))
    assert [300.0] == pytest.approx(study.trials[0].values)


def test_what_is_to_be_small_is_told_as_it_is(tmp_path):
    study = opened(tmp_path, directions=("minimize",))
    memory = Objective(kind="memory", target_tokens=1e9)
    tell(
        OptunaSampler(SPACE, study, seed=1, objective=memory),
        POINT,
        trial_of(0, measured(peak_bytes=5 * 2**20)),
    )
    assert [5 * 2**20] == study.trials[0].values


def test_a_missed_floor_is_a_constraint_above_zero(tmp_path):
    study = opened(tmp_path, directions=("minimize",))
    memory = Objective(kind="memory", target_tokens=1e9, throughput_floor=500.0)
    tell(OptunaSampler(SPACE, study, seed=1, objective=memory), POINT, trial_of(0, measured(250.0)))
    assert 1.0 == pytest.approx(study.trials[0].constraints["0"])


def test_what_probably_does_not_fit_is_asked_last(tmp_path):
    unlikely = {name: domain.points()[-1] for name, domain in SPACE.parameters.items()}
    for guided in (True, False):
        sampler = OptunaSampler(
            SPACE,
            opened(tmp_path / str(guided)),
            seed=1,
            likelihood=lambda point: 0.3 if dict(point) == unlikely else 1.0,
            guided=guided,
        )
        asked = []
        while (proposal := sampler.ask()) is not None:
            asked.append(dict(proposal.point))
            sampler.tell(proposal, trial_of(len(asked), measured(100.0)), repeat=False)
            if asked[-1] == unlikely:
                break
        assert SPACE.size == len(asked)


OTHER = {name: domain.points()[-1] for name, domain in SPACE.parameters.items()}
TOO_LARGE = OutOfMemory(memory="host", phase="warm-up", reason="x")


def warm(tmp_path, evidence, *, ours, guided=True, objective=THROUGHPUT):
    """A sampler that has learned of an earlier study, and then of its own baseline."""
    study = opened(tmp_path, directions=objective.directions)
    sampler = OptunaSampler(SPACE, study, seed=1, guided=guided, objective=objective)
    sampler.learn(evidence)
    tell(sampler, POINT, trial_of(0, ours, point=POINT))
    return study, sampler


def test_evidence_leads_the_guide_and_is_not_in_optunas_study(tmp_path):
    earlier = (
        trial_of(0, measured(1000.0), point=POINT),
        trial_of(1, measured(3000.0), point=OTHER),
        trial_of(2, TOO_LARGE, point={**OTHER, "zero": "stage0"}),
    )
    study, sampler = warm(tmp_path, Evidence(trials=earlier, same_work=True), ours=measured(100.0))
    assert 0 == study.best_trial.user_attrs["trial"]
    assert [0] == [trial.user_attrs.get("trial") for trial in study.trials]
    assert OTHER == sampler.ask().point  # what gained most there is tried first here


def test_what_ran_out_of_memory_at_the_same_work_is_kept_away_from(tmp_path):
    earlier = [trial_of(0, measured(1000.0), point=POINT)]
    earlier += [
        trial_of(n, TOO_LARGE, point={"zero": "stage1", "micro": str(n)}) for n in range(1, 5)
    ]
    for same_work in (True, False):
        firsts = []
        for seed in range(6):
            study = opened(tmp_path / f"{same_work}{seed}")
            sampler = OptunaSampler(SPACE, study, seed=seed, guided=True)
            sampler.learn(Evidence(trials=tuple(earlier), same_work=same_work))
            tell(sampler, POINT, trial_of(0, measured(100.0), point=POINT))
            tell(sampler, {**POINT, "micro": "2"}, trial_of(1, measured(101.0)))
            firsts.append(sampler.ask().point["zero"])
        assert same_work == (firsts == ["stage0"] * 6)


def test_a_sampler_of_optunas_tries_the_best_of_there_first(tmp_path):
    earlier = (
        trial_of(0, measured(1000.0), point=POINT),
        trial_of(1, measured(3000.0), point=OTHER),
    )
    study, sampler = warm(tmp_path, Evidence(trials=earlier), ours=measured(100.0), guided=False)
    assert [0] == [trial.user_attrs.get("trial") for trial in study.trials]
    assert OTHER == sampler.ask().point


def test_results_go_by_the_trials_number_in_whatever_order_they_come(tmp_path):
    """Asked one after the other, told backwards, and replayed in yet another order."""
    study = opened(tmp_path)
    sampler = OptunaSampler(SPACE, study, seed=1)
    points = list(SPACE.points())
    proposals = [sampler.propose(point) for point in points]
    trials = [trial_of(n, measured(100.0 * (n + 1)), point=point) for n, point in enumerate(points)]
    for proposal, trial in reversed(list(zip(proposals, trials, strict=True))):
        sampler.tell(proposal, trial, repeat=False)
    again = opened(tmp_path / "again")
    replayed = OptunaSampler(SPACE, again, seed=1)
    for trial in [*trials[4:], *trials[:4]]:
        replayed.replay(trial)
    for recorded in (*study.trials, *again.trials):
        number = recorded.user_attrs["trial"]
        assert points[number] == {n: str(v) for n, v in recorded.params.items()}
        assert 100.0 * (number + 1) == pytest.approx(recorded.value)


def test_parameters_of_a_custom_search_space_are_proposed_too(tmp_path):
    ours = OptunaSampler(
        SPACE, opened(tmp_path), seed=1, extend=lambda t: t.suggest_int("extra", 1, 1)
    )
    assert "1" == ours.ask().point["extra"]


def test_what_is_proposed_is_a_point_as_it_is_without_a_hooks_parameters(tmp_path):
    def hook(trial):
        trial.suggest_int("extra", 1, 1)

    ours = OptunaSampler(SPACE, opened(tmp_path), seed=1, extend=hook)
    own = {"zero": "stage0", "micro": "2"}
    assert own == ours.propose(own).point


def test_a_sampler_in_a_sampler_is_made_and_seeded(tmp_path):
    sampler = {
        "_target_": "optuna.samplers.PartialFixedSampler",
        "fixed_params": {"zero": "stage1"},
        "base_sampler": {"_target_": "optuna.samplers.RandomSampler"},
    }
    points = []
    for name in ("a", "b"):
        ours = OptunaSampler(SPACE, opened(tmp_path / name, sampler=sampler), seed=1)
        points.append([ours.ask().point for _ in range(3)])
    assert points[0] == points[1]
    assert {"stage1"} == {point["zero"] for point in points[0]}


def test_a_grid_may_be_partial_as_the_stock_plugins_is(tmp_path):
    grid = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
    assert 2 * 4 == len(opened(tmp_path, sampler=grid).sampler._all_grids)


def test_a_part_of_what_is_configured_may_be_a_function():
    node = {"_target_": "builtins.min", "_partial_": True, "_args_": [3]}
    assert 2 == made({"gamma": node})["gamma"](2)


@pytest.mark.parametrize("name", ["GridSampler", "BruteForceSampler"])
def test_a_sampler_that_lists_takes_no_interval(tmp_path, name):
    space = SearchSpace(parameters={"ratio": FloatRange(low=0.1, high=1.0)})
    with pytest.raises(UsageError, match=r"ratio: the sampler .* type ratio=range\("):
        opened(tmp_path, space=space, sampler={"_target_": f"optuna.samplers.{name}"})


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is not None, reason="it is there")
def test_a_sampler_without_its_package_says_which(tmp_path):
    with pytest.raises(UsageError, match=r"needs cmaes, .* type pip install cmaes"):
        opened(tmp_path, sampler={"_target_": "optuna.samplers.CmaEsSampler"})


def test_what_is_no_sampler_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such sampler"):
        opened(tmp_path, sampler={"_target_": "pathlib.Path"})


def test_a_storage_may_be_an_object_of_optunas(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    database = {"_target_": "optuna.storages.RDBStorage", "url": url}
    backend = {"_target_": "optuna.storages.journal.JournalFileBackend"}
    journal = {"_target_": "optuna.storages.JournalStorage"} | {
        "log_storage": {**backend, "file_path": str(tmp_path / "j.log")}
    }
    for storage in (database, journal):
        check_storage(storage)
        opened(tmp_path, storage=storage).set_user_attr("kept", 1)
        again = load_study(storage, tmp_path / "none", "test")
        assert 1 == again.user_attrs["kept"]
    assert [] == [*tmp_path.glob("optuna.journal")]


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ({"_target_": "optuna.storages.Nope"}, "there is no _target_ optuna.storages.Nope"),
        ({"url": "sqlite:///x.db"}, "there is no _target_"),
        (
            {"_target_": "optuna.storages.RDBStorage", "url": "sqlite:///nowhere/x.db"},
            "nowhere is no folder",
        ),
        (3, "is no text"),
    ],
)
def test_an_object_that_is_no_storage_is_refused_before_anything(storage, said):
    with pytest.raises(UsageError, match=said) as error:
        check_storage(storage)
    assert "type for example hydra.sweeper.storage=" in str(error.value)


def test_the_object_that_is_written_down_is_opened_with_what_the_environment_has(monkeypatch):
    recorded = {"_target_": "optuna.storages.RDBStorage", "url": "${oc.env:DB}"}
    monkeypatch.setenv("DB", "sqlite:///x.db")
    assert {**recorded, "url": "sqlite:///x.db"} == opened_storage(recorded)
    monkeypatch.delenv("DB")
    assert opened_storage(recorded) is None
    assert opened_storage({**recorded, "url": "postgresql://me:***@here/x"}) is None


def test_optuna_5_is_what_is_spoken_to():
    assert int(optuna.__version__.split(".")[0]) >= 5
