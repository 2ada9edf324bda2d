"""The command: a first word that is a verb, or everything to Hydra."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from sweeper.core.files import is_full
from sweeper.errors import EnvironmentUnfit, StudyGone, SweeperError, UsageError, masked

# Hydra's own commands: with one of these nothing is run, or the user has said how.
_HYDRA_COMMANDS = frozenset(
    [
        "-m",
        "--multirun",
        "-r",
        "--run",
        "-c",
        "--cfg",
        "-i",
        "--info",
        "-h",
        "--help",
        "--hydra-help",
        "-sc",
        "--shell-completion",
        "--experimental-rerun",
    ]
)
# What a file system refuses whoever asks; a file that is missing would be our mistake.
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG),
)
_FULL_ERROR, _OUR_FULL_ERROR = "HYDRA_FULL_ERROR", "SWEEPER_FULL_ERROR"
_USAGE = (
    "type python -m sweeper +model=gpt2 hydra/sweeper=optuna for a study, "
    "or python -m sweeper --help for everything"
)


def main() -> None:
    """Entry point of ``python -m sweeper`` and of the installed ``sweeper`` command."""
    # Also where a shell started us in the background and left SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is not UTF-8 is spelled out
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    # ``python -m`` has it: a model's factory may be in a file beside the user.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        if arguments and _is_verb(arguments[0]):
            _verb(arguments[0], arguments[1:])
        else:
            _hydra(arguments)
    except SweeperError as error:
        print(f"sweeper: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # report ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if not (is_full(error) or (error.errno in _REFUSED and error.filename)):
            _end_with_bug(error, arguments)
        print(f"sweeper: {_about_a_file(error)}", file=sys.stderr)
        raise SystemExit(EnvironmentUnfit.exit_code) from None
    except KeyboardInterrupt:
        if (why := _why_gone()) is not None:
            print(f"sweeper: {why}", file=sys.stderr, flush=True)
            raise SystemExit(StudyGone.exit_code) from None
        print("sweeper: interrupted", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    except Exception as error:
        _end_with_bug(error, arguments)


def _end_with_bug(error: Exception, arguments: Sequence[str]) -> NoReturn:
    """In one line, with a file to send. A traceback through code of the user's own is theirs to see."""
    from sweeper.bugs import is_ours, kept_traceback

    if any(os.environ.get(name) == "1" for name in (_FULL_ERROR, _OUR_FULL_ERROR)):
        raise error
    kept = kept_traceback(error, arguments) if is_ours(error) else None
    if kept is None:
        raise error
    said = " ".join(masked(str(error)).split())
    print(
        f"sweeper: a mistake of sweeper's own, {type(error).__name__}{': ' if said else ''}{said[:200]}; "
        f"please report it with {kept}; {_OUR_FULL_ERROR}=1 shows it here",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(SweeperError.exit_code) from None


def _why_gone() -> str | None:
    """The folder that a trial or a grid was writing into: it ends as by Ctrl-C, and nobody typed that."""
    module = sys.modules.get("sweeper.run.study_lock")
    return module.why_gone() if module is not None else None


def _about_a_file(error: OSError) -> str:
    if is_full(error):
        return (
            f"the disk is full: {error.filename or error}; free some space, then go on with "
            "python -m sweeper resume=results/<study>"
        )
    return (
        f"{error.filename}: {error.strerror}; allow it, or type another folder "
        "(hydra.sweep.dir=..., export --to ...)"
    )


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """``kill`` ends a command as Ctrl-C does: with its trial's processes."""
    raise KeyboardInterrupt


def _is_verb(word: str) -> bool:
    return "=" not in word and not word.startswith(("-", "+", "~"))


def _verb(word: str, rest: Sequence[str]) -> None:
    verbs = {
        "explain": _explain,
        "report": _report,
        "export": _export,
        "verify": _verify,
        "doctor": _doctor,
    }
    if word not in verbs:
        close = difflib.get_close_matches(word, verbs, n=1)
        hint = f"type python -m sweeper {close[0]} ..." if close else _USAGE
        raise UsageError(f"there is no command {word}; there are {', '.join(verbs)}; {hint}")
    verbs[word](rest)


def _one_study(verb: str, rest: Sequence[str]) -> str:
    if len(rest) != 1:
        raise UsageError(
            f"{' '.join([verb, *rest])}: one study's folder is wanted; "
            f"type python -m sweeper {verb} results/<study>"
        )
    return rest[0]


def _report(rest: Sequence[str]) -> None:
    parser = _Parser(
        prog="python -m sweeper report",
        hint="results/<study>, or two and more to compare them, with --output comparison.html",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("studies", nargs="*")
    parser.add_argument("--output")
    given = parser.parse_args(rest)
    if len(given.studies) > 1:
        _compare(given.studies, given.output)
        return
    if given.output is not None:
        parser.error("--output goes with two studies or more")
    from sweeper.core.folder import StudyFolder
    from sweeper.report.build import build_report

    folder = StudyFolder(Path(_one_study("report", given.studies)))
    if not folder.trials.is_dir():
        raise UsageError(
            f"report {folder.path}: there is no study in this folder (no trials/); "
            "type python -m sweeper report results/<study>"
        )
    from sweeper.run.study_lock import holder_of

    if (holder := holder_of(folder)) is not None:
        print(
            f"note: {folder.path} is still being written ({holder}); this is what is there so far",
            file=sys.stderr,
            flush=True,
        )
    print(build_report(folder))


def _compare(studies: Sequence[str], output: str | None) -> None:
    from sweeper.core.folder import StudyFolder
    from sweeper.report.comparison_page import compare_studies
    from sweeper.run.left_out import left_out

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # report A B | head
    print(compare_studies(studies, output=output), flush=True)
    for line in (line for typed in studies for line in left_out(StudyFolder(Path(typed)))):
        print(f"note: {line}", file=sys.stderr)
    if output is None:
        print("to keep it, add --output comparison.html, or comparison.md", file=sys.stderr)


def _export(rest: Sequence[str]) -> None:
    parser = _Parser(
        prog="python -m sweeper export",
        hint="results/<study> --format hf, with --to <folder> for another place and --force to "
        "replace what is there",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("study", nargs="*")
    parser.add_argument("--format", default="all")
    parser.add_argument("--to")
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args(rest)
    from sweeper.core.folder import StudyFolder
    from sweeper.report.export import export
    from sweeper.run.study_lock import check_nobody_writes

    study = _one_study("export", given.study)
    check_nobody_writes(StudyFolder(Path(study)), f"export {study}")
    print(export(study, name=given.format, to=given.to, force=given.force))


class _Parser(argparse.ArgumentParser):
    """A mistake is one line of ours, which ends with the ``hint`` what to type."""

    def __init__(self, *, hint: str, **more: Any) -> None:
        super().__init__(**more)
        self._hint = hint

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; type {self.prog} {self._hint}")


def _explain(rest: Sequence[str]) -> None:
    from sweeper.hydra_edge.explain import explain
    from sweeper.hydra_edge.explain_text import explanation_text

    if any(a.lstrip("+").startswith("script=") for a in rest):
        raise UsageError(
            f"explain {' '.join(rest)}: what a script needs is known once it runs; type python -m "
            "sweeper +script=train.py hydra/sweeper=optuna"
        )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # explain ... | head
    print(explanation_text(explain(rest)))


def _verify(rest: Sequence[str]) -> None:
    from sweeper.run.verify import verify
    from sweeper.terminal import terminal

    stamp = time.strftime("%Y%m%d-%H%M%S")
    screen = terminal()
    screen.conclude(verify(_one_study("verify", rest), stamp=stamp, terminal=screen))


def _doctor(rest: Sequence[str]) -> None:
    from sweeper.hydra_edge.doctor import check_fit, doctor, doctor_text

    findings = doctor(rest)
    print(doctor_text(findings), flush=True)
    check_fit(findings)


def _hydra(arguments: Sequence[str]) -> None:
    from sweeper.hydra_edge.schema import register

    register()
    from sweeper.hydra_edge.app import app
    from sweeper.hydra_edge.deletions import check_deletions
    from sweeper.hydra_edge.messages import is_expected, usage_error
    from sweeper.hydra_edge.script_text import with_text

    typed = with_text(with_script(_resumed(arguments)))
    check_deletions(typed)
    sys.argv[1:] = with_mode([*map(_opened, typed)])
    asked_for_traceback = "1" in map(os.environ.get, (_FULL_ERROR, _OUR_FULL_ERROR))
    # Hydra prints its errors itself, over several lines, unless it is told to raise them.
    os.environ[_FULL_ERROR] = "1"
    try:
        app()
    except Exception as error:
        if asked_for_traceback or not is_expected(error):
            raise
        raise usage_error(error, typed) from error
    finally:
        if not asked_for_traceback:
            os.environ.pop(_FULL_ERROR, None)


def _resumed(arguments: Sequence[str]) -> list[str]:
    """``resume=results/<study>`` stands for the command line that made the study; more may follow."""
    from sweeper.hydra_edge.resume import original_arguments

    first = next((a for a in arguments if a.startswith("resume=")), None)
    if first is None:
        return list(arguments)
    rest = [argument for argument in arguments if argument != first]
    return [*original_arguments(first.partition("=")[2], rest), *rest]


def with_script(arguments: Sequence[str]) -> list[str]:
    """``+script=train.py``, or ``'+script=-m pkg.train'``, as the model that it stands for; it runs where it
    was typed.

    Raises UsageError for what is no Python that can be run.
    """
    from sweeper.core.script_named import MODULE_OPTIONS, named_script

    typed = next((a for a in arguments if a.lstrip("+").startswith("script=")), None)
    if typed is None:
        return list(arguments)
    given = typed.partition("=")[2].strip("'\"")
    place = arguments.index(typed)  # Hydra takes overrides on one side of its options alone
    behind = list(arguments[place + 1 :])
    if given in MODULE_OPTIONS and behind and "=" not in behind[0]:
        given = f"{given} {behind.pop(0)}"  # without quotes it came as two words
    named = named_script(given, typed=f"+script={given}", folder=Path.cwd())
    from sweeper.core.hydra_text import quoted

    values = {
        "script.path": named.path,
        "script.folder": Path.cwd(),
        **({"script.module": named.module} if named.module else {}),
    }
    ours = ["+model=script", *(f"{n}={quoted(str(v))}" for n, v in values.items())]
    return [*arguments[:place], *ours, *behind]


def _opened(argument: str) -> str:
    """A whole search space, as the stock plugin's users type it: Hydra takes new names with ``++`` alone."""
    return f"++{argument}" if argument.startswith("hydra.sweeper.params=") else argument


def with_mode(arguments: Sequence[str]) -> list[str]:
    """Adds Hydra's ``--multirun`` where a sweeper other than ``basic`` is chosen, so that no ``-m`` is needed.

    Not ``hydra.mode``: Hydra composes to find that, and takes any mistake for a single run.
    """
    chosen = [a.partition("=")[2] for a in arguments if a.startswith("hydra/sweeper=")]
    has_mode = any(a.lstrip("+").startswith("hydra.mode=") for a in arguments)
    has_command = any(a.split("=")[0] in _HYDRA_COMMANDS for a in arguments)
    if chosen and chosen[-1] != "basic" and not has_mode and not has_command:
        return ["--multirun", *arguments]
    return list(arguments)
