"""Whether what is measured of real trials is true."""

import socket

import pytest

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Measured, OutOfMemory, Unsupported, reason_of
from sweeper.core.plan import plan
from sweeper.run import trial_run
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from sweeper.run.shared_memory import PATTERN, SEGMENTS
from tests.real import slow_optimizer
from tests.support import CONFIG, MACHINE, nano

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
RUNNERS = ("warm", "deepspeed", "torchrun")


@pytest.fixture(scope="module", autouse=True)
def built_ops():
    ensure_ops(["ShareMemCommBuilder", "CPUAdamBuilder"], accelerator="cpu", say=print)


def run(folder, how="warm", **changes):
    spec = plan(nano(**changes), MACHINE).ready
    return runner(how).run(spec, TrialFolder(folder))


def measured(outcome):
    assert isinstance(outcome, Measured), reason_of(outcome)
    return outcome.measurement


@pytest.mark.parametrize(
    "accumulation", [1, 8, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 16))]
)
def test_a_step_contains_its_optimizer_however_many_micro_batches_it_has(tmp_path, accumulation):
    changes = {"workload.global_batch_size": 16, "batch.micro_size": 16 // accumulation}
    slow_model = {**CONFIG["model"], "_target_": "tests.real.slow_optimizer.build"}
    del slow_model["name"]
    normal = measured(run(tmp_path / "normal", **changes))
    slow = measured(run(tmp_path / "slow", **changes, model=slow_model))
    # Every step, whatever else the machine is doing: a step without its optimizer takes a fraction.
    assert slow_optimizer.SECONDS <= min(slow.step_seconds)
    assert slow_optimizer.SECONDS <= slow.breakdown["optimizer"]
    assert normal.losses == slow.losses


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runners")
    return {how: TrialFolder(folder / how) for how in RUNNERS}


@pytest.fixture(scope="module")
def by_runner(folders):
    """One candidate under every runner: enough steps that their medians can be compared."""
    changes = {
        "hardware.ranks": 2,
        "zero.stage": 1,  # no large buffers, of which the allocator returns now more, now less
        "measure.max_warmup_steps": 5,
        "measure.min_steps": 15,
        "measure.max_steps": 15,
        "measure.max_seconds": 60.0,
    }
    return {how: measured(run(folder.path, how, **changes)) for how, folder in folders.items()}


@pytest.mark.parametrize("how", ["deepspeed", "torchrun"])
def test_every_runner_trains_the_same_and_takes_the_same_memory(by_runner, how):
    warm, cold = by_runner["warm"], by_runner[how]
    shared = min(len(warm.losses), len(cold.losses))
    assert warm.losses[:shared] == cold.losses[:shared]
    assert pytest.approx(cold.peak_host_resident_bytes, rel=0.03) == warm.peak_host_resident_bytes


def test_no_shared_memory_is_left_by_any_runner(by_runner, folders):
    # Theirs by name: beside them scripts run without the sweeper, and theirs stay.
    ports = {read_json(folder.progress(0))["port"] for folder in folders.values()}
    assert 3 == len(ports)
    assert [] == [path for port in ports for path in SEGMENTS.glob(f"{PATTERN}_{port}_*")]


def test_the_parts_of_a_step_are_all_of_it(by_runner):
    for m in by_runner.values():
        assert {"forward", "backward", "optimizer", "rest"} == set(m.breakdown)
        assert all(seconds >= 0 for seconds in m.breakdown.values())
        assert m.breakdown["backward"] > 0


def test_the_ledger_has_every_rank_and_phase(by_runner):
    for m in by_runner.values():
        assert 2 == len(m.memory)
        for rank in m.memory:
            assert ["build", "warm-up", "steady"] == list(rank)
            for phase in rank.values():
                assert phase["host_peak_resident_bytes"] > phase["host_proportional_bytes"] > 0


def test_a_known_allocation_is_in_the_ledger(tmp_path):
    small = measured(run(tmp_path / "small"))
    # 8 MiB of fp32 parameters more, and as much for gradients and each of Adam's two moments.
    more = 2 * 2**20 * 16
    large = measured(run(tmp_path / "large", **{"model.vocab_size": 512 + 2 * 2**20 // 64}))
    added = large.peak_host_resident_bytes - small.peak_host_resident_bytes
    assert 0.9 * more < added < 6 * more  # and the logits, which grow with the vocabulary


def test_more_flops_are_counted_for_a_longer_sequence(by_runner, tmp_path):
    m = measured(run(tmp_path))
    tokens = 8 * 32
    n = 512 * 64 + 2 * (12 * 64 * 64 + 13 * 64) + 2 * 64
    assert pytest.approx(tokens * (6 * n + 12 * 2 * 64 * 32)) == m.flops_per_step


def test_steps_that_loss_scaling_skips_are_counted_and_never_timed(tmp_path):
    changes = {"precision.mode": "fp16", "precision.fp16_initial_scale_power": 30, "zero.stage": 1}
    outcome = run(tmp_path, **changes)
    if isinstance(outcome, Unsupported):
        assert "fp16 is not supported" in outcome.reason
        return
    m = measured(outcome)
    assert m.skipped_steps > 0
    assert len(m.losses) == len(m.step_seconds) + len(m.warmup_step_seconds) + 1  # one broken down


def test_warm_up_goes_on_until_steps_are_no_longer_getting_faster(tmp_path):
    m = measured(run(tmp_path, **{"measure.min_warmup_steps": 2, "measure.max_warmup_steps": 10}))
    assert 2 <= len(m.warmup_step_seconds) <= 10
    if len(m.warmup_step_seconds) < 10:
        assert m.warmup_step_seconds[-1] >= 0.9 * m.warmup_step_seconds[-2]


@pytest.mark.parametrize("how", ["warm", pytest.param("deepspeed", marks=pytest.mark.slow)])
def test_a_port_that_somebody_took_meanwhile_costs_no_trial(tmp_path, monkeypatch, how):
    free = trial_run.free_port()
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        ports = [somebody.getsockname()[1], free]
        monkeypatch.setattr(trial_run, "free_port", lambda: ports.pop(0))
        measured(run(tmp_path, how))
    assert [] == ports


@pytest.mark.parametrize(("at_forward", "phase"), [(0, "build"), (1, "warm-up"), (9, "measure")])
def test_memory_that_runs_out_is_told_with_its_phase(tmp_path, at_forward, phase):
    # Micro-batches of one: eight forward passes to a step, and one step of warm-up.
    model = {**CONFIG["model"], "_target_": "tests.real.hungry.build", "at_forward": at_forward}
    del model["name"]
    outcome = run(tmp_path, model=model)
    assert isinstance(outcome, OutOfMemory), reason_of(outcome)
    assert ("host", phase) == (outcome.memory, outcome.phase)
