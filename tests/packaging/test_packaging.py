"""What an installed package brings, and that it works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def python(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """This interpreter, with the wheel's files and without the checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_wheel_puts_nothing_on_the_path_but_the_package_and_the_plugin(site):
    top = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert {"sweeper", "hydra_plugins"} == top
    assert ["sweeper_optuna"] == [path.name for path in (site / "hydra_plugins").iterdir()]


def test_the_wheel_has_the_configuration_and_the_models(site):
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert (site / "sweeper" / "conf" / path.relative_to(ROOT / "conf")).is_file(), path
    assert (site / "sweeper" / "models" / "gpt2.py").is_file()
    for path in (ROOT / "models" / "hf_shapes").glob("*.json"):
        assert (site / "sweeper" / "models" / "hf_shapes" / path.name).is_file(), path


def test_the_wheel_has_what_a_report_is_made_of(site):
    own = ROOT / "sweeper" / "report" / "assets"
    assert {path.name for path in own.iterdir()} == {
        path.name for path in (site / "sweeper" / "report" / "assets").iterdir()
    }


def test_the_installed_package_composes_from_any_folder_with_its_own_files(site, tmp_path):
    where = python(site, "-c", "import sweeper; print(sweeper.__file__)", cwd=tmp_path)
    assert str(site) in where.stdout
    shown = python(
        site, "-m", "sweeper", "+model=gpt2", "hydra/sweeper=optuna", "--cfg", "all", cwd=tmp_path
    )
    assert 0 == shown.returncode, shown.stderr
    assert "layers: 12" in shown.stdout
    assert "sweeper.search.guide.Guide" in shown.stdout


def test_a_model_of_the_installed_package_can_be_built(site, tmp_path):
    code = (
        "from sweeper.models.gpt2 import build; "
        "print(build(layers=1, width=8, heads=2, vocab_size=11, max_positions=4).vocab_size)"
    )
    assert "11" == python(site, "-c", code, cwd=tmp_path).stdout.strip()


def test_our_optuna_wins_where_the_published_plugin_is_installed_too(site, tmp_path):
    # What the published plugin does when Hydra's scan imports it, in the names that clash.
    other = tmp_path / "other" / "hydra_plugins" / "hydra_optuna_sweeper"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "optuna_sweeper.py").write_text(
        "from dataclasses import dataclass\n"
        "from hydra.core.config_store import ConfigStore\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "class OptunaSweeper(Sweeper):\n"
        "    def setup(self, **rest): raise AssertionError('the other one')\n"
        "    def sweep(self, arguments): raise AssertionError('the other one')\n"
        "@dataclass\n"
        "class Conf:\n"
        "    _target_: str = 'hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper'\n"
        "    n_trials: int = 20\n"
        "ConfigStore.instance().store(group='hydra/sweeper', name='optuna', node=Conf)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "sweeper", "+model=gpt2", "hydra/sweeper=optuna", "--cfg", "hydra",
         "-p", "hydra.sweeper._target_"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(tmp_path / "other")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert "hydra_plugins.sweeper_optuna.OptunaSweeper" in shown.stdout, shown.stderr


def test_scripts_that_import_the_wheel_can_be_type_checked(site):
    assert (site / "sweeper" / "py.typed").is_file()


def test_the_licence_goes_with_the_wheel(wheel):
    assert any(name.endswith("LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_this_environments_own_install_hides_the_checkouts_folders(tmp_path):
    code = (
        "import importlib.util as u\n"
        "print([n for n in ('conf', 'models', 'results', 'tests') if u.find_spec(n)])\n"
        "print(u.find_spec('sweeper') is not None)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["[]", "True"] == shown.stdout.split("\n")[:2]
