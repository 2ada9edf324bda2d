import pytest

REASON = "needs the extra 'dashboards' (make test-dashboards)"
pytest.importorskip("tensorboardX", reason=REASON)
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason=REASON
)


def read(folder):
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


def text(events, tag):
    return events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()


def test_each_trial_is_a_run_with_its_steps_and_numbers(follow):
    root = follow("tensorboard").path / "tensorboard"
    assert {"study", *(f"trial-{n:04d}" for n in range(6))} == {p.name for p in root.iterdir()}
    events = read(root / "trial-0001")
    assert [0, 1, 2] == [step for step, _ in values(events, "step_seconds")]
    assert [(0, pytest.approx(250.0))] == values(events, "tokens_per_second_median")
    assert [(0, 2**29)] == values(events, "peak_bytes")


def test_hyperparameters_and_outcome_are_there_for_the_hparams_tab(follow):
    from tensorboard.plugins.hparams import plugin_data_pb2

    root = follow("tensorboard").path / "tensorboard"
    for number, (stage, outcome) in {1: (2.0, "measured"), 2: (3.0, "out-of-memory")}.items():
        content = read(root / f"trial-{number:04d}").PluginTagToContent("hparams")
        data = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
        found = data.session_start_info.hparams
        assert stage == found["zero.stage"].number_value
        assert outcome == found["outcome"].string_value


def test_what_was_not_measured_says_why(follow):
    root = follow("tensorboard").path / "tensorboard"
    events = read(root / "trial-0002")
    assert "* reason: a <b>" in text(events, "outcome")
    assert [] == events.Tags()["scalars"]


def test_the_studys_run_has_throughput_by_trial_and_the_verdict(follow):
    root = follow("tensorboard").path / "tensorboard"
    events = read(root / "study")
    rates = values(events, "by_trial/tokens_per_second_median")
    assert [(0, 100.0), (1, 250.0), (3, 50.0)] == [(n, pytest.approx(v)) for n, v in rates]
    assert "trial 1 is the fastest" in text(events, "verdict")


def test_a_folder_that_is_named_holds_studies_side_by_side(follow, tmp_path):
    follow("tensorboard", folder=str(tmp_path / "all"))
    assert (tmp_path / "all" / "gpt2-study" / "trial-0000").is_dir()
