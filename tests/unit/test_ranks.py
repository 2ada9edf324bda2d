import pytest

from sweeper.core.memory_errors import memory_reason, memory_that_ran_out
from sweeper.core.outcome import Crashed, Diverged, Measured, OutOfMemory, TimedOut, Unsupported
from sweeper.core.plan import plan
from sweeper.run.ranks import Ending, RanksReport, outcome_of
from tests.support import MACHINE, nano

SPEC = plan(nano(**{"hardware.ranks": 2}), MACHINE).ready


def result(kind="measured", rank=0, **more):
    base = {"kind": kind, "rank": rank, "phase": "measure", "reason": "why", "evidence": "trace"}
    if kind == "measured":
        base |= {
            "step_seconds": [1.0, 2.0, 3.0],
            "warmup_step_seconds": [9.0],
            "skipped_steps": 0,
            "losses": [6.0, 5.0, 4.0, 3.0],
            "breakdown_seconds": {"forward": [0.5], "rest": [0.1]},
            "flops_per_step": 1e9,
            "memory": {"steady": {"host_peak_resident_bytes": 100}},
            "peak_device_allocated_bytes": None,
            "peak_device_reserved_bytes": None,
            "peak_host_resident_bytes": 100,
        }
    return {**base, **more}


LOST = result("error", reason="RuntimeError: Connection closed by peer [127.0.0.1]:1234")


def outcome(first, second, **more):
    facts = {
        "phases": ["measure", "measure"],
        "exit_code": 1,
        "ending": Ending.BY_ITSELF,
        "kernel_killed": False,
        "log_tail": "",
    }
    return outcome_of(RanksReport(results=[first, second], **{**facts, **more}), SPEC)


def test_a_step_takes_as_long_as_its_slowest_rank_and_memory_is_the_largest():
    slow = result(rank=1, step_seconds=[1.5, 1.0, 4.0], peak_host_resident_bytes=300)
    merged = outcome(result(), slow, exit_code=0)
    assert isinstance(merged, Measured)
    assert (1.5, 2.0, 4.0) == merged.measurement.step_seconds
    assert 300 == merged.measurement.peak_host_resident_bytes


def test_the_loss_is_the_mean_over_the_ranks():
    merged = outcome(result(), result(rank=1, losses=[8.0, 5.0, 4.0, 3.0]))
    assert 7.0 == merged.measurement.losses[0]


def test_an_oom_on_any_rank_is_an_oom():
    out_of_memory = result("out-of-memory", rank=1, memory="host", phase="warm-up")
    assert OutOfMemory(
        memory="host", phase="warm-up", reason="host memory ran out in warm-up: why"
    ) == outcome(LOST, out_of_memory)


def test_the_allocators_line_is_said_in_plain_words():
    line = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 16777216 bytes. Error code 12 (Cannot allocate memory)"
    )
    assert "an allocation of 16 MiB failed" == memory_reason(line)
    assert "CUDA out of memory" == memory_reason("CUDA out of memory")


def test_an_oom_beats_a_deadline():
    out_of_memory = result("out-of-memory", rank=1, memory="device")
    assert isinstance(outcome(None, out_of_memory, ending=Ending.DEADLINE), OutOfMemory)


def test_measured_on_all_ranks_is_measured_whatever_the_exit_code_and_the_log():
    assert isinstance(outcome(result(), result(rank=1), exit_code=1, log_tail="Error!"), Measured)


def test_a_missing_result_is_a_crash_even_with_exit_code_0():
    crashed = outcome(result(), None, exit_code=0, log_tail="the last line")
    assert isinstance(crashed, Crashed)
    assert "rank 1 ended in phase measure without writing a result" in crashed.reason
    assert "the last line" in crashed.evidence


def test_a_deadline_is_told_with_the_phase_of_the_rank_that_was_missing():
    timed_out = outcome(result(), None, ending=Ending.DEADLINE, phases=["measure", "build"])
    assert isinstance(timed_out, TimedOut)
    assert "build" == timed_out.phase
    assert "120 s" in timed_out.reason


@pytest.mark.parametrize("order", [False, True])
def test_the_rank_that_failed_first_is_named_not_the_one_that_lost_its_peer(order):
    cause = result("error", rank=1, reason="ValueError: the cause")
    crashed = outcome(*((cause, LOST) if order else (LOST, cause)))
    assert "ValueError: the cause" in crashed.reason


def test_a_rank_that_vanished_is_named_before_its_peers_connection_error():
    crashed = outcome(LOST, None, exit_code=247)
    assert "rank 1 ended" in crashed.reason


def test_the_allocators_words_in_a_log_decide_nothing():
    words = "terminate called: what():  std::bad_alloc, Error: CUDA out of memory"
    assert isinstance(outcome(LOST, None, log_tail=words), Crashed)


def test_a_rank_that_aborted_with_its_memory_full_ran_out_of_it():
    starved = outcome(LOST, None, full_ranks=[1], rank_exit_codes=[3, -6], phases=["end", "build"])
    assert isinstance(starved, OutOfMemory)
    assert ("host", "build") == (starved.memory, starved.phase)
    assert isinstance(outcome(LOST, None, full_ranks=[1]), OutOfMemory)  # under a launcher


@pytest.mark.parametrize("code", [0, 1, -11, -9])
def test_a_full_memory_alone_makes_no_out_of_memory_of_another_end(code):
    assert isinstance(outcome(LOST, None, full_ranks=[1], rank_exit_codes=[3, code]), Crashed)


def test_the_exit_code_that_is_told_is_that_of_the_rank_it_is_told_of():
    for code, words in ((0, "(exit code 0)"), (-11, "(exit code -11, SIGSEGV)")):
        crashed = outcome(LOST, None, exit_code=3, rank_exit_codes=[3, code])
        assert f"rank 1 ended in phase measure without writing a result {words}" == crashed.reason
        assert code == crashed.exit_code
    assert "(the launcher's exit code 3)" in outcome(LOST, None, exit_code=3).reason


def test_the_rank_that_failed_is_named_not_one_that_was_ended_because_of_it():
    assert "rank 1 ended" in outcome(None, None, rank_exit_codes=[None, -9]).reason


def test_a_process_that_the_kernel_killed_elsewhere_is_not_taken_for_the_rank():
    assert isinstance(outcome(LOST, None, kernel_killed=True, rank_exit_codes=[3, -11]), Crashed)


def test_a_rank_that_vanished_while_the_kernel_killed_ran_out_of_memory():
    assert isinstance(outcome(LOST, None, kernel_killed=True), OutOfMemory)


def test_a_thread_that_cannot_start_is_a_lack_of_memory_only_under_a_limit():
    words = "RuntimeError: Resource temporarily unavailable"
    assert memory_that_ran_out(words) is None
    assert "host" == memory_that_ran_out(words, limited=True)


def test_the_word_error_in_a_log_decides_nothing():
    assert isinstance(outcome(None, None, log_tail="CUDA error: device-side assert"), Crashed)


def test_unsupported_and_diverged_are_told_as_the_ranks_told_them():
    assert Unsupported(reason="why") == outcome(result("unsupported"), None)
    assert Diverged(reason="why") == outcome(result("diverged"), result(rank=1))


def test_a_launcher_that_ended_before_any_rank_says_so():
    crashed = outcome(None, None, phases=["start", "start"], log_tail="no GPU resources available")
    assert "the launcher ended before any rank started" in crashed.reason
    assert "no GPU resources" in crashed.reason


def test_a_hang_is_told_apart_from_a_deadline():
    hung = outcome(result(), None, ending=Ending.NO_PROGRESS)
    assert isinstance(hung, TimedOut)
    assert "hangs: no rank made progress" in hung.reason


def test_the_breakdown_is_the_slowest_ranks_and_every_ranks_ledger_is_kept():
    slow = result(rank=1, breakdown_seconds={"forward": [0.9], "rest": [0.05]})
    m = outcome(result(), slow).measurement
    assert {"forward": (0.9,), "rest": (0.1,)} == m.breakdown_seconds
    assert 2 == len(m.memory)


@pytest.mark.parametrize("vanished", [0, 1])
def test_a_rank_that_was_told_to_end_is_not_the_one_that_failed(vanished):
    results = [result("ended", rank=0), result("ended", rank=1)]
    results[vanished] = None
    crashed = outcome(*results)
    assert isinstance(crashed, Crashed)
    assert f"rank {vanished} ended in phase measure without writing a result" in crashed.reason


def test_ranks_that_are_told_to_end_at_the_deadline_have_timed_out_in_their_phase():
    timed_out = outcome(result("ended"), result("ended", rank=1), ending=Ending.DEADLINE)
    assert isinstance(timed_out, TimedOut)
    assert "measure" == timed_out.phase
