"""The whole command on a pseudo-terminal and without one: what is drawn, and what Ctrl-C does."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

import psutil
import pytest

from sweeper.core.folder import StudyFolder
from tests.faults.studies import NEW, STUDY, check_whole, finish, start
from tests.support import apart, environment

pytestmark = pytest.mark.timeout(420)

_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Session:
    """A study of the fake worker before a terminal of so many columns, with somebody at the keys."""

    def __init__(self, cwd, *arguments, columns=80, **more):
        self._keys, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.cwd, self.columns = cwd, columns
        around = environment(**{**apart(cwd), "TERM": "xterm-256color", **more})
        for name in ("COLUMNS", "CI", "NO_COLOR"):
            if name not in more:
                around.pop(name, None)
        self.process = subprocess.Popen(
            [*STUDY, *arguments],
            cwd=cwd,
            env=around,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self.raw = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self._keys, 65536)
            except OSError:  # the other end is closed
                return
            self.raw += data

    @property
    def text(self):
        return _ESCAPE.sub("", self.raw.decode(errors="replace")).replace("\r", "\n")

    def wait_for(self, words, seconds=90):
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text[-3000:]
            assert self.process.poll() is None, self.text[-3000:]
            time.sleep(0.05)

    def press_ctrl_c(self):
        os.write(self._keys, b"\x03")  # the terminal sends SIGINT to all in the foreground

    def end(self, seconds=120):
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    def left_over(self):
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and str(self.cwd) in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def run_whole(session, num_run):
    """Goes on with the interrupted study to its end."""
    finished = subprocess.run(
        [*STUDY, "resume=a study", f"hydra.sweeper.n_trials={num_run}"],
        cwd=session.cwd,
        env=environment(**apart(session.cwd)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == finished.returncode, finished.stderr
    check_whole(StudyFolder(session.cwd / "a study"), session.cwd, num_run=num_run)


def test_ctrl_c_once_ends_after_the_trial_in_hand_and_the_report_is_written(tmp_path):
    session = Session(tmp_path, *NEW, FAKE_BEHAVIOUR="waits-in-its-steps")
    session.wait_for("measure, step 2 of 8")
    session.press_ctrl_c()
    session.wait_for("stopping after this trial; Ctrl-C again stops now")
    (tmp_path / "go").touch()
    assert 130 == session.end()
    folder = StudyFolder(tmp_path / "a study")
    assert [0] == [trial.number for trial in folder.read_trials()]
    assert folder.report.exists()
    assert "go on    python -m sweeper 'resume=a study'" in session.text
    assert "interrupted after 1 trial; it is in a study" in session.text
    assert "Traceback" not in session.text
    assert [] == session.left_over()
    run_whole(session, num_run=3)


@pytest.mark.slow
def test_ctrl_c_twice_ends_now_and_leaves_nothing_running(tmp_path):
    session = Session(tmp_path, *NEW, FAKE_BEHAVIOUR="sleeps-at-third")
    session.wait_for("run 3 of")
    session.wait_for("Ctrl-C stops after this trial")
    while not (tmp_path / "third").exists():
        time.sleep(0.05)
    session.press_ctrl_c()
    session.wait_for("Ctrl-C again stops now")
    assert session.process.poll() is None  # it waits for the trial, which would take ten minutes
    session.press_ctrl_c()
    assert 130 == session.end()
    folder = StudyFolder(tmp_path / "a study")
    assert [0, 1] == [trial.number for trial in folder.read_trials()]
    assert folder.report.exists()
    assert [] == session.left_over()
    run_whole(session, num_run=4)


def test_without_a_terminal_one_line_says_what_ctrl_c_did(tmp_path):
    process = start(tmp_path, *NEW, FAKE_BEHAVIOUR="sleeps-at-third")
    while not (tmp_path / "third").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    lines = iter(process.stderr.readline, "")
    assert "stopping after this trial; Ctrl-C again stops now\n" in lines
    process.send_signal(signal.SIGINT)
    _, err = finish(process, code=130)
    assert err.startswith("stopping now\n")


def test_kill_ends_now_without_being_asked_twice(tmp_path):
    session = Session(tmp_path, *NEW, FAKE_BEHAVIOUR="sleeps-at-third")
    while not (tmp_path / "third").exists():
        assert session.process.poll() is None, session.text
        time.sleep(0.05)
    session.process.send_signal(signal.SIGTERM)
    assert 130 == session.end()
    assert StudyFolder(tmp_path / "a study").report.exists()
    assert [] == session.left_over()


def test_a_terminal_shows_the_plan_the_view_a_row_for_each_trial_and_what_to_type(tmp_path):
    session = Session(tmp_path, *NEW, "hydra.sweeper.n_trials=3", FAKE_BEHAVIOUR="takes-its-time")
    assert 0 == session.end()
    text = session.text
    order = ["study of gpt2-nano", "  budget    3 trials", "trial          tokens/s   gain"]
    order += ["now      trial 0, run 1 of 3", "    0       465.5 ±8.3%", "now      trial 1, run 2"]
    order += ["stopped: ", "report: a study/report.html", "next:"]
    places = [text.index(words) for words in order]
    assert sorted(places) == places
    assert "of search left" in text
    assert all(len(line) <= session.columns for line in text.splitlines())


@pytest.fixture(scope="module")
def to_a_file(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("file")
    with open(cwd / "output", "wb") as output:
        subprocess.run(
            [*STUDY, *NEW, "hydra.sweeper.n_trials=3", "hydra.sweeper.finalists=1"],
            cwd=cwd,
            env=environment(
                **apart(cwd),
                TERM="xterm-256color",
                FORCE_COLOR="1",
                COLUMNS="80",
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=True,
        )
    return (cwd / "output").read_bytes()


def test_output_to_a_file_has_no_control_characters(to_a_file):
    assert b"tokens/s" in to_a_file
    assert _CONTROL.search(to_a_file) is None


def test_output_to_a_file_has_a_whole_line_for_each_trial_and_nothing_is_cut(to_a_file):
    text = to_a_file.decode()
    assert "…" not in text
    for number in range(3):
        (line,) = re.findall(rf"^trial +{number}  .*$", text, re.MULTILINE)
        assert "tokens/s" in line


@pytest.mark.parametrize("more", [{"CI": "true"}, {"TERM": "dumb"}])
def test_in_ci_and_on_a_dumb_terminal_there_are_rows_and_no_view(tmp_path, more):
    session = Session(tmp_path, *NEW, "hydra.sweeper.n_trials=2", **more)
    assert 0 == session.end()
    lines = session.raw.replace(b"\r\n", b"\n")  # the terminal's own
    assert _CONTROL.search(lines) is None
    assert b"trial   1  465.5 tokens/s" in lines
