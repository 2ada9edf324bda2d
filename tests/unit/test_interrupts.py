"""Ctrl-C and kill, sent to this process."""

import os
import signal
import threading

import pytest

from sweeper.run.interrupts import AFTER_THIS_TRIAL, NOW, WHILE_WRITING, Interrupts


@pytest.fixture
def said():
    return []


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_once_asks_for_an_end_and_says_what_twice_does(said):
    with Interrupts(said.append) as interrupts:
        assert not interrupts.must_end()
        send()
        assert interrupts.must_end()
    assert [AFTER_THIS_TRIAL] == said
    assert "again stops now" in AFTER_THIS_TRIAL


def test_twice_ends_at_once_and_a_third_one_does_not_break_off_the_cleaning_up(said):
    with Interrupts(said.append):
        send()
        with pytest.raises(KeyboardInterrupt):
            send()
        send()
        send(signal.SIGTERM)
    assert [AFTER_THIS_TRIAL, NOW] == said


def test_kill_ends_at_once(said):
    with Interrupts(said.append), pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    assert [NOW] == said


def test_between_two_trials_an_end_that_was_asked_for_is_made_and_only_once(said):
    with Interrupts(said.append) as interrupts:
        interrupts.end_where_asked()
        send()
        with pytest.raises(KeyboardInterrupt):
            interrupts.end_where_asked()
        send()
    assert [AFTER_THIS_TRIAL] == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_report_is_written_to_its_end_unless_the_user_insists(said, number):
    with Interrupts(said.append) as interrupts:
        send()
        interrupts.writing()
        send(number)
        with pytest.raises(KeyboardInterrupt):
            send(number)
    assert [AFTER_THIS_TRIAL, WHILE_WRITING, NOW] == said


def test_afterwards_signals_do_what_they_did_before(said):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts(said.append):
        assert before[0] != signal.getsignal(signal.SIGINT)
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_in_another_thread_signals_are_left_alone(said):
    errors = []

    def enter():
        try:
            with Interrupts(said.append):
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert [] == errors
