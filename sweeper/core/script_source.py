"""What a file has to be to be run as a training script, seen without running it."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterable
from pathlib import Path

from sweeper.core.commands_in_shell import python_command
from sweeper.core.modules import MAIN, NoSuchModule, is_module_name, module_file
from sweeper.errors import UsageError

_SHELL_SUFFIXES = (".sh", ".bash", ".zsh", ".ksh", ".slurm", ".sbatch", ".pbs", ".lsf")
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
WANTED = "a Python script is wanted"


def check_source(path: Path, *, typed: str, folder: Path, is_module: bool = False) -> None:
    """Raises UsageError where ``path`` cannot be run as what was ``typed`` in ``folder``, and says what can be."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{typed}: {path} cannot be read ({error.strerror}); make it readable, or type "
            "+script=<another script>"
        ) from error
    if _is_shell(path, content):
        raise UsageError(f"{typed}: is a shell script, {WANTED}{_instead(content)}")
    if path.suffix == ".ipynb":
        raise UsageError(
            f"{typed}: is a notebook, {WANTED}; type jupyter nbconvert --to script {path.name}, then "
            f"+script={path.with_suffix('.py').name}"
        )
    tree = _parsed(path, content, typed)
    if not is_module and _needs_its_package(tree):
        raise UsageError(f"{typed}: {as_a_module(path, folder, _levels(tree))}")


def as_a_module(path: Path, folder: Path, levels: int = 1) -> str:
    """What to type for a file that imports relative to its package, so many ``levels`` up, or more."""
    name, root = _module_name(path, levels)
    package = name.rpartition(".")[0] or name
    what = f"imports relative to its package, {package}, which it has as a module alone"
    typed = f"'+script=-m {name}'"
    try:
        found = is_module_name(name) and module_file(name, folder).samefile(path)
    except NoSuchModule:
        found = False
    if found:
        return f"{what}; type {typed}"
    if not is_module_name(name):
        return (
            f"{what}; {name} is no module's name: give its folder one, then type +script=-m <name>"
        )
    place = root.relative_to(folder) if root.is_relative_to(folder) else root
    return f"{what}; type PYTHONPATH={place} python -m sweeper {typed} ..."


def _is_shell(path: Path, content: bytes) -> bool:
    if path.suffix.lower() in _SHELL_SUFFIXES:
        return True
    first = content.split(b"\n", 1)[0].decode(errors="replace")
    if path.suffix == ".py" or not first.startswith("#!"):
        return False
    return any(Path(word).name in _SHELLS for word in first[2:].split()[:2])


def _instead(content: bytes) -> str:
    found = python_command(content.decode(errors="replace"))
    if found is None:
        return "; type +script=<the script that it starts>, its arguments in script.args"
    program = found.program
    script = f"'+script={program}'" if " " in program or "$" in program else f"+script={program}"
    said = f": it starts {program}; type {script}"
    if not found.arguments:
        return said
    filled = " with its variables filled in" if "$" in found.line else ""
    return f"{said} {arguments_typed(found.line)}{filled}"


def arguments_typed(line: str) -> str:
    """``script.args`` as it is typed in a shell."""
    inner = line.replace("\\", "\\\\").replace('"', '\\"').replace("'", "'\\''")
    return f"'script.args=\"{inner}\"'"


def _parsed(path: Path, content: bytes, typed: str) -> ast.Module:
    instead = "type +script=train.py with a training script's path"
    if not content.strip():
        raise UsageError(f"{typed}: is empty, {WANTED}; {instead}")
    if b"\0" in content:
        raise UsageError(f"{typed}: is no text, {WANTED}; {instead}")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{typed}: is no text, {WANTED} ({error}); {instead}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(
                content, str(path), "exec", dont_inherit=True
            )  # what a parser does not see, too
            return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        why = getattr(error, "msg", None) or error
        raise UsageError(
            f"{typed}: is not Python: {why} ({where}); mend it, or {instead}"
        ) from error


def _needs_its_package(tree: ast.Module) -> bool:
    """Whether it surely fails as a file: it imports relative to a package that it does not name itself."""
    names_its_package = any(
        isinstance(node, ast.Name) and node.id == "__package__" and isinstance(node.ctx, ast.Store)
        for node in ast.walk(tree)
    )
    return not names_its_package and any(_relative(tree.body))


def _levels(tree: ast.Module) -> int:
    return max(_relative(tree.body))


def _relative(body: Iterable[ast.stmt]) -> Iterable[int]:
    """Of the imports that are surely reached."""
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.level
        elif isinstance(node, ast.With):
            yield from _relative(node.body)


def _module_name(path: Path, levels: int) -> tuple[str, Path]:
    """With the folder that its package is in, which may lack an __init__.py."""
    path = path.absolute()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file() or len(parts) <= levels:
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == MAIN:
        parts.pop()
    return ".".join(parts), folder
