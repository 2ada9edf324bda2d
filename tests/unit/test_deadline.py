import threading
import time

from sweeper.worker.script.deadline import Deadline


def test_what_was_set_last_is_called_once():
    called, over = [], threading.Event()
    deadline = Deadline()
    assert not deadline.is_watched
    deadline.set(0.0, lambda: called.append("first"))
    deadline.set(0.0, lambda: (called.append("last"), over.set()))
    assert over.wait(30)
    assert ["last"] == called


def test_a_limit_that_is_lifted_waits_to_be_set_again():
    called, over = [], threading.Event()
    deadline = Deadline()
    deadline.set(3600.0, lambda: called.append("lifted"))
    deadline.lift()
    time.sleep(0.5)
    assert deadline.is_watched
    deadline.set(0.0, lambda: (called.append("set again"), over.set()))
    assert over.wait(30)
    assert ["set again"] == called
