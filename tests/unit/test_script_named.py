"""What ``+script=`` may name, and the one line for everything else."""

import subprocess
import sys

import pytest

from sweeper.cli import with_script
from sweeper.core.commands_in_shell import python_command
from sweeper.core.script_named import named_script
from sweeper.errors import UsageError
from tests.support import environment

TRAIN = "import deepspeed\n"
EXPLODES = "raise SystemExit('nobody may run this')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, source in {
        "train.py": TRAIN,
        "pkg/__init__.py": EXPLODES,
        "pkg/train.py": "from .model import net\n",
        "pkg/inner/__init__.py": EXPLODES,
        "pkg/inner/deep.py": "from ..model import net\n",
        "pkg/__main__.py": "from . import train\n",
        "pkg/guarded.py": "try:\n    from .model import net\nexcept ImportError:\n    from model import net\n",
        "pkg/named.py": '__package__ = "pkg"\nfrom .model import net\n',
        "spaced/module.py": "from .other import x\n",
        "program/__main__.py": TRAIN,
        "src/lib/__init__.py": "",
        "src/lib/run.py": "from . import x\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def named(given, folder):
    found = named_script(given, typed=f"+script={given}", folder=folder)
    return found.path.relative_to(folder).as_posix(), found.module


def told(given, folder):
    with pytest.raises(UsageError) as error:
        named_script(given, typed=f"+script={given}", folder=folder)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"+script={given}: ")
    return str(error.value)


@pytest.mark.parametrize(
    ("given", "path", "module"),
    [
        ("train.py", "train.py", None),
        ("train", "train.py", "train"),
        ("-m train", "train.py", "train"),
        ("-m pkg.train", "pkg/train.py", "pkg.train"),
        ("--module pkg.train", "pkg/train.py", "pkg.train"),
        ("pkg.train", "pkg/train.py", "pkg.train"),
        ("pkg.inner.deep", "pkg/inner/deep.py", "pkg.inner.deep"),
        ("pkg", "pkg/__main__.py", "pkg"),
        ("spaced.module", "spaced/module.py", "spaced.module"),
        ("program", "program/__main__.py", None),
        ("pkg/guarded.py", "pkg/guarded.py", None),
        ("pkg/named.py", "pkg/named.py", None),
    ],
)
def test_a_file_or_a_module_is_found_without_running_anything(given, path, module, folder):
    assert (path, module) == named(given, folder)


def test_a_file_wins_over_a_module_of_its_name(folder):
    (folder / "pkg.train").write_text(TRAIN)
    assert ("pkg.train", None) == named("pkg.train", folder)


def test_a_module_that_is_installed_is_found(folder):
    found = named_script("-m json.tool", typed="", folder=folder)
    assert ("json.tool", "tool.py") == (found.module, found.path.name)


def test_looking_for_a_module_imports_nothing_heavy(folder):
    pytest.importorskip("torch")
    look = (
        "import sys; from pathlib import Path; from sweeper.core.script_named import named_script\n"
        "named_script('-m torch.distributed.run', typed='', folder=Path('.'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", look], env=environment(), check=True)


def test_a_module_is_typed_with_or_without_quotes(folder):
    quoted = with_script(["+script=-m pkg.train", "hydra/sweeper=optuna"])
    assert "script.module='pkg.train'" in quoted
    assert quoted == with_script(["+script=-m", "pkg.train", "hydra/sweeper=optuna"])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("pkg/train.py", "type '+script=-m pkg.train'"),
        ("pkg/inner/deep.py", "type '+script=-m pkg.inner.deep'"),
        ("pkg/__main__.py", "type '+script=-m pkg'"),
        ("spaced/module.py", "type '+script=-m spaced.module'"),
        ("src/lib/run.py", "type PYTHONPATH=src python -m sweeper '+script=-m lib.run'"),
    ],
)
def test_a_file_that_imports_relative_to_its_package_is_told_its_name(given, line, folder):
    assert line in told(given, folder)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("-m nowhere", "there is no module nowhere in"),
        ("-m pkg.nowhere", "there is no module pkg.nowhere in"),
        ("-m pkg.train.more", "pkg.train is a module and no package"),
        ("-m spaced", "spaced is a package without a __main__.py (in it are module)"),
        ("-m", "nothing is no module's name"),
        ("pkg.nowhere", "there is no such file, and as a module: there is no module pkg.nowhere"),
        ("src", "is a folder; type +script=train.py"),
        ("pkg/train", "there is no such file; type +script=pkg/train.py"),
        ("train.py --epochs 1", "type +script=train.py 'script.args=\"--epochs 1\"'"),
        ("deepspeed train.py --x", "type +script=train.py 'script.args=\"--x\"'"),
        ("-m pkg.train --x 1", "type '+script=-m pkg.train' 'script.args=\"--x 1\"'"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_type(given, line, folder):
    assert line in told(given, folder)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("run.sh", b"deepspeed train.py --x\n", "it starts train.py; type +script=train.py"),
        ("run.sbatch", b"srun torchrun -m pkg.train\n", "type '+script=-m pkg.train'"),
        ("launch", b"#!/usr/bin/env bash\npython train.py\n", "is a shell script"),
        ("run.sh", b"make\n", "type +script=<the script that it starts>"),
        ("a.ipynb", b"{}", "is a notebook"),
        ("a.py", b"", "is empty"),
        ("a.py", b"\x7fELF\0\0", "is no text"),
        ("a.py", "# \u00e9".encode("latin-1"), "is no text"),
        ("a.py", b"x = 1\nprint 1\n", "a.py, line 2"),
        ("a.py", b"return 1\n", "'return' outside function"),
        ("ds_config.json", b'{"a": true\n', "is not Python"),
    ],
)
def test_what_is_no_python_is_told_in_one_line(name, content, line, folder):
    (folder / name).write_bytes(content)
    assert line in told(name, folder)


@pytest.mark.parametrize(
    ("text", "program", "arguments"),
    [
        ("deepspeed --num_gpus=2 train.py --a 1 \\\n  --b 2", "train.py", "--a 1 --b 2"),
        ("python -m torch.distributed.run --nproc_per_node 8 train.py", "train.py", ""),
        ("FOO=1 nohup python3 -u train.py --a > log.txt 2>&1 &", "train.py", "--a"),
        ("accelerate launch --config_file c.yaml src/train.py --a", "src/train.py", "--a"),
        ("python prepare.py && torchrun --nproc_per_node=2 train.py --a", "train.py", "--a"),
        ("torchrun train.py --a\npython report.py", "train.py", "--a"),
        ("deepspeed train.py --lr ${LR} --name 'a b'", "train.py", "--lr ${LR} --name 'a b'"),
        ('torchrun train.py --a "$@"', "train.py", "--a"),
        ("deepspeed --module pkg.train --a", "-m pkg.train", "--a"),
        ("/opt/venv/bin/python3.11 train.py # note", "train.py", ""),
    ],
)
def test_the_python_program_of_a_shell_script_is_found(text, program, arguments):
    found = python_command(f"#!/bin/bash\nset -e\n{text}\n")
    assert (program, arguments) == (found.program, found.line)


@pytest.mark.parametrize(
    "text", ["make train", "python -c 'import x'", "echo 'it is", "python -m sweeper +script=a"]
)
def test_a_shell_script_that_starts_no_python_program_names_none(text):
    assert python_command(text) is None
