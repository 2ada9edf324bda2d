"""``os._exit`` in a script: the rank writes its result first."""

import os

import pytest

from sweeper.worker.script.exits import heard


def code_of(child):
    """The exit code of a process that runs ``child``."""
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_code_of_an_exit_is_what_the_rank_makes_of_it():
    def child():
        with heard(lambda status: status + 3):
            os._exit(4)

    assert 7 == code_of(child)


def test_an_exit_that_cannot_be_told_is_one_all_the_same():
    def child():
        with heard(lambda status: 1 // 0):
            os._exit(4)

    assert 4 == code_of(child)


def test_a_child_of_the_scripts_exits_by_itself():
    told = []
    with heard(lambda status: told.append(status) or 3):
        assert 5 == code_of(lambda: os._exit(5))
    assert told == []


def test_afterwards_an_exit_is_nobodys_affair():
    before = os._exit
    with pytest.raises(KeyError), heard(lambda status: status):
        raise KeyError
    assert before is os._exit
