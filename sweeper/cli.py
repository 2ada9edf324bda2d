"""The command: a first word that is a verb, or everything to Hydra."""

from __future__ import annotations

import difflib
import errno
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sweeper.core.files import is_full
from sweeper.errors import EnvironmentUnfit, StudyGone, SweeperError, UsageError, masked
from sweeper.one_line_parser import OneLineParser

# What a file system refuses whoever asks; a file that is missing would be our mistake.
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG),
)
_VERSION = ("--version", "-V", "version")
VERBS = ("explain", "report", "export", "verify", "doctor", "help", "version")
_AS_TYPED = {
    "explain": "explain +model=gpt2 zero=stage3",
    "report": "report results/<study>",
    "export": "export results/<study> --format hf",
    "verify": "verify results/<study>",
}
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
    asked_for_traceback = _asked_for_traceback()
    try:
        _ended(arguments)
    except SweeperError as error:
        if asked_for_traceback:
            traceback.print_exc()
        print(f"sweeper: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # report ... | head
        _leave_pipe()
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


def _ended(arguments: Sequence[str]) -> None:
    """What was printed is out by the end: whoever reads it may be gone already."""
    try:
        if arguments and arguments[0] in _VERSION:
            _tell_version(arguments)
        elif arguments and _is_verb(arguments[0]):
            _verb(arguments[0], arguments[1:])
        else:
            _hydra(arguments)
    finally:
        sys.stdout.flush()


def _leave_pipe() -> NoReturn:
    # Else the interpreter, at its end, says that it could not flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(128 + signal.SIGPIPE) from None


def _tell_version(arguments: Sequence[str]) -> None:
    from sweeper import __version__

    if len(arguments) > 1:
        raise UsageError(f"{' '.join(arguments)}: takes nothing more; type {arguments[0]} alone")

    print(f"sweeper {__version__}")


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
        "help": _help,
    }
    if word not in verbs:
        close = difflib.get_close_matches(word, verbs, n=1)
        hint = f"type python -m sweeper {_AS_TYPED.get(close[0], close[0])}" if close else _USAGE
        from sweeper.hydra_edge.messages import meant_by

        if not close and (meant := meant_by(word)):
            hint = f"type python -m sweeper {meant}"
        raise UsageError(f"there is no command {word}; there are {', '.join(VERBS)}; {hint}")
    verbs[word](rest)


def _help(rest: Sequence[str]) -> None:
    """``help report`` is that of the verb."""
    if not rest:
        _hydra(["--help"])
    elif rest[0] in VERBS and rest[0] not in ("help", "version", "explain"):
        _verb(rest[0], ["--help"])
    elif rest[0] in VERBS:
        print(f"python -m sweeper {_AS_TYPED.get(rest[0], rest[0])}")
    else:
        raise UsageError(
            f"help {rest[0]}: there is no command {rest[0]}; there are {', '.join(VERBS)}; "
            "type python -m sweeper --help"
        )


def _one_study(verb: str, rest: Sequence[str]) -> str:
    if len(rest) != 1:
        raise UsageError(
            f"{' '.join([verb, *rest])}: one study's folder is wanted; "
            f"type python -m sweeper {verb} results/<study>"
        )
    return rest[0]


def _report(rest: Sequence[str]) -> None:
    parser = OneLineParser(
        "report",
        example="results/<study>",
        flags={"--output": "results/<another> --output comparison.html"},
        description="The report of a study, built again; of two and more, how they compare.",
    )
    parser.add_argument("studies", nargs="*", metavar="results/<study>")
    parser.add_argument("--output", metavar="comparison.html")
    given = parser.given(rest)
    if len(given.studies) > 1:
        _compare(given.studies, given.output)
        return
    if given.output is not None:
        parser.error("argument --output: goes with two studies or more")
    from sweeper.core.folder import StudyFolder

    folder = StudyFolder(Path(_one_study("report", given.studies)))
    if not folder.trials.is_dir():
        raise UsageError(
            f"report {folder.path}: there is no study in this folder (no trials/); "
            "type python -m sweeper report results/<study>"
        )
    from sweeper.report.build import build_report
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
    parser = OneLineParser(
        "export",
        example="results/<study> --format hf",
        flags={"--format": "--format hf", "--to": "--to exported", "--force": "--force"},
        description="The winner of a study as files for another framework.",
    )
    parser.add_argument("study", nargs="*", metavar="results/<study>")
    parser.add_argument("--format", default="all")
    parser.add_argument("--to", metavar="FOLDER", help="another place than the study's exports/")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    given = parser.given(rest)
    from sweeper.core.folder import StudyFolder
    from sweeper.report.export import export
    from sweeper.run.study_lock import check_nobody_writes

    study = _one_study("export", given.study)
    check_nobody_writes(StudyFolder(Path(study)), f"export {study}")
    print(export(study, name=given.format, to=given.to, force=given.force))


def _explain(rest: Sequence[str]) -> None:
    from sweeper.hydra_edge.explain import explain
    from sweeper.hydra_edge.explain_text import explanation_text

    if any(a in ("-h", "--help") for a in rest):
        _help(["explain"])
        return
    if any(a.lstrip("+").startswith("resume=") for a in rest):
        raise UsageError(
            f"explain {' '.join(rest)}: is of one trial, not of a study; type python -m sweeper "
            "explain +model=gpt2"
        )
    if any(a.lstrip("+").startswith("script=") for a in rest):
        raise UsageError(
            f"explain {' '.join(rest)}: what a script needs is known once it runs; type python -m "
            "sweeper +script=train.py hydra/sweeper=optuna"
        )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # explain ... | head
    print(explanation_text(explain(rest)))


def _verify(rest: Sequence[str]) -> None:
    parser = OneLineParser(
        "verify",
        example="results/<study>",
        flags={},
        description="The winner of a study, measured against its baseline again.",
    )
    parser.add_argument("study", nargs="*", metavar="results/<study>")
    study = _one_study("verify", parser.given(rest).study)
    from sweeper.run.verify import verify
    from sweeper.terminal import terminal

    stamp = time.strftime("%Y%m%d-%H%M%S")
    screen = terminal()
    screen.conclude(verify(study, stamp=stamp, terminal=screen))


def _doctor(rest: Sequence[str]) -> None:
    from sweeper.hydra_edge.doctor import check_fit, doctor, doctor_text

    findings = doctor(rest)
    print(doctor_text(findings), flush=True)
    check_fit(findings)


def _asked_for_traceback() -> bool:
    return "1" in map(os.environ.get, (_FULL_ERROR, _OUR_FULL_ERROR))


def _hydra(arguments: Sequence[str]) -> None:
    from sweeper.hydra_edge.app import app
    from sweeper.hydra_edge.flags import taken_apart
    from sweeper.hydra_edge.messages import is_expected, usage_error
    from sweeper.hydra_edge.schema import register
    from sweeper.hydra_edge.script_text import with_text
    from sweeper.hydra_edge.typed import check, in_our_words, read_as

    line = taken_apart(with_script(_resumed(arguments)))
    register(line.overrides)
    if line.completes:
        if _completed(line.overrides):
            return
        typed: list[str] = list(line.overrides)
    else:
        as_text = with_text(line.overrides)
        typed = in_our_words(as_text, own_places=line.own_places)
        check(typed, own_places=line.own_places)
        for note in read_as(as_text, typed):
            print(f"note: {note}", file=sys.stderr, flush=True)
    mode = with_mode(typed, has_command=line.has_command)
    # Hydra takes overrides on one side of its flags alone.
    sys.argv[1:] = [*mode, *map(_opened, typed), *line.flags]
    asked_for_traceback = _asked_for_traceback()
    # Hydra prints its errors itself, over several lines, unless it is told to raise them.
    os.environ[_FULL_ERROR] = "1"
    try:
        app()
    except Exception as error:
        if not is_expected(error):
            raise
        raise usage_error(error, typed) from error
    finally:
        if not asked_for_traceback:
            os.environ.pop(_FULL_ERROR, None)


def _resumed(arguments: Sequence[str]) -> list[str]:
    """``resume=results/<study>`` stands for the command line that made the study; more may follow."""
    from sweeper.hydra_edge.resume import original_arguments

    given = [a for a in arguments if a.lstrip("+").startswith("resume=")]
    if not given:
        return list(arguments)
    first = given[0]
    if len(given) > 1:
        raise UsageError(f"{' '.join(given)}: one study goes on at a time; type {first} alone")
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


def with_mode(overrides: Sequence[str], *, has_command: bool) -> list[str]:
    """Hydra's ``--multirun`` where a sweeper other than ``basic`` is chosen, so that no ``-m`` is needed.

    Not ``hydra.mode``: Hydra composes to find that, and takes any mistake for a single run.
    """
    chosen = [a.partition("=")[2] for a in overrides if a.startswith("hydra/sweeper=")]
    has_mode = any(a.lstrip("+").startswith("hydra.mode=") for a in overrides)
    needed = bool(chosen) and chosen[-1] != "basic" and not has_mode and not has_command
    return ["--multirun"] if needed else []


def _completed(overrides: Sequence[str]) -> bool:
    """Whether what a shell asks was answered; else Hydra is to."""
    from sweeper.hydra_edge.completion import answer

    if not any(override.startswith("query=") for override in overrides):
        return False
    words = answer(VERBS)
    if words is not None:
        print((" " if "query=bash" in overrides else "\n").join(words))
    return words is not None
