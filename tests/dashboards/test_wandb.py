import json
import struct

import pytest

REASON = "needs the extra 'wandb' (make test-dashboards)"
pytest.importorskip("wandb", reason=REASON)

pytestmark = pytest.mark.timeout(240)


_BLOCK, _HEADER = 32768, 7


def pieces(data):
    """Of a .wandb file, which is a LevelDB log: blocks of pieces, each with checksum, length and kind."""
    at = _HEADER
    whole = b""
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + _HEADER])
        whole += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


def records(folder):
    """What each offline run has on disk, by the run's name."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        of_run = [Record.FromString(piece) for piece in pieces(path.read_bytes())]
        (started,) = [r.run for r in of_run if r.HasField("run")]
        found[started.display_name] = of_run
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    from sweeper.callbacks.following import Followed, make_callbacks
    from sweeper.core.files import write_text
    from sweeper.core.folder import StudyFolder
    from sweeper.core.plan import plan
    from sweeper.report.build import build_report
    from tests.dashboards.conftest import TRIALS, Recorded, options_of
    from tests.support import MACHINE, nano

    folder = StudyFolder(tmp_path_factory.mktemp("wandb") / "gpt2-study")
    said = []
    followed = Followed(make_callbacks(options_of("wandb", mode="offline")), said.append)
    followed.begin(folder, {"model": "gpt2-nano"}, [])
    write_text(folder.study, "schema_version: 1\n")
    runner = followed.following(Recorded(folder))
    with followed:
        for number in range(len(TRIALS)):
            runner.run(number, {}, plan(nano(), MACHINE))
        build_report(folder)
    assert [] == said
    return records(folder.path)


def config_of(run):
    (first, *_) = [r.run for r in run if r.HasField("run")]
    return {item.key: json.loads(item.value_json) for item in first.config.update}


def summary_of(run):
    found = {}
    for record in run:
        for item in record.summary.update:
            key = item.key or ".".join(item.nested_key)
            found[key] = json.loads(item.value_json)
    return found


def exit_code_of(run):
    (ended,) = [r.exit.exit_code for r in run if r.HasField("exit")]
    return ended


def test_a_study_is_a_group_with_a_run_for_each_trial_and_one_for_the_answer(runs):
    assert {"gpt2-study", *(f"trial-{n:04d}" for n in range(6))} == set(runs)
    started = {name: next(r.run for r in run if r.HasField("run")) for name, run in runs.items()}
    assert {"gpt2-study"} == {run.run_group for run in started.values()}
    assert {"sweeper"} == {run.project for run in started.values()}
    assert ("study", "trial") == (started["gpt2-study"].job_type, started["trial-0000"].job_type)


def test_a_trials_run_has_what_varies_its_steps_and_what_was_measured(runs):
    config, summary = config_of(runs["trial-0001"]), summary_of(runs["trial-0001"])
    assert 2 == config["zero.stage"]
    assert "optimizer.lr" not in config
    assert 250.0 == pytest.approx(summary["tokens_per_second_median"])
    steps = [r for r in runs["trial-0001"] if r.HasField("history")]
    assert 3 == len(steps)


def test_what_was_not_measured_is_failed_with_its_reason(runs):
    codes = [exit_code_of(runs[f"trial-{n:04d}"]) for n in range(6)]
    assert [0, 0, 1, 0, 1, 1] == codes
    assert "a <b>" == config_of(runs["trial-0002"])["sweeper"]["reason"]


def test_the_answer_has_the_verdict_and_the_files(runs):
    answer = runs["gpt2-study"]
    assert "trial 1 is the fastest" in summary_of(answer)["verdict"]
    (artifact,) = [r.request.log_artifact.artifact for r in answer if r.HasField("request")] or [
        r.artifact for r in answer if r.HasField("artifact")
    ]
    kept = {entry.path for entry in artifact.manifest.contents}
    assert {"report.md", "trials.csv", "best/ds_config.json"} <= kept
