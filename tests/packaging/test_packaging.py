"""What an installed package brings, and that it works away from the checkout."""

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The wheel is made from the source distribution."""

    sdist: Path
    wheel: Path
    said: str


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    made = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist=sdist, wheel=wheel, said=made.stdout + made.stderr)


@pytest.fixture(scope="module")
def wheel(built):
    return built.wheel


@pytest.fixture(scope="module")
def about(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = [n for n in files.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(files.read(name))


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


def test_setuptools_has_nothing_to_warn_of(built):
    assert "would be ignored" not in built.said
    assert "SetuptoolsDeprecationWarning" not in built.said


def test_the_source_distribution_has_all_that_is_kept_beside_the_package(built):
    with tarfile.open(built.sdist) as files:
        there = {name.partition("/")[2] for name in files.getnames()}
    kept = subprocess.run(
        ["git", "ls-files", "docs", "examples", "tests", "conf", "models", "benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    wanted = {"CHANGELOG.md", "DECISIONS.md", "README.md", "Makefile", "constraints.txt"}
    assert set() == {*filter(None, kept), *wanted} - there
    assert not [name for name in there if "__pycache__" in name or "node_modules" in name]


def test_the_metadata_says_what_an_index_page_shows(about):
    assert "The sweeper authors" == about["Author"]
    assert "Apache-2.0" == about["License-Expression"]
    assert "deepspeed" in about["Keywords"]
    assert "Programming Language :: Python :: 3.10" in about.get_all("Classifier")
    assert "text/markdown" == about["Description-Content-Type"]


def test_what_an_index_page_shows_has_no_link_into_the_checkout(about):
    links = re.findall(r"\]\(([^)]*)\)", about.get_payload())
    assert links
    assert [] == [link for link in links if not link.startswith("https://")]


def test_what_is_typed_on_an_index_page_is_understood(about, site, tmp_path):
    (line,) = re.findall(r"^sweeper (explain .*?)\s*#", about.get_payload(), flags=re.M)
    shown = python(site, "-m", "sweeper", *line.split(), cwd=tmp_path)
    assert 0 == shown.returncode, shown.stderr
    extras = set(
        re.findall(r"`(\w+)`", about.get_payload().partition("Extras: ")[2].partition(": ")[0])
    )
    assert {"hf"} < extras <= set(about.get_all("Provides-Extra"))


def test_hydra_finds_the_sweeper_by_an_entry_point_too(site):
    (folder,) = site.glob("*.dist-info")
    (entry,) = PathDistribution(folder).entry_points.select(group="hydra.plugins")
    assert "OptunaSweeper" == entry.load().__name__


def test_what_an_installed_package_says_to_read_or_type_is_not_of_a_checkout(site, tmp_path):
    code = "from sweeper.places import page; print(page('models-hf.md'))"
    said = python(site, "-c", code, cwd=tmp_path).stdout
    assert "docs/models-hf.md of the source distribution" == said.strip()
    code = "from sweeper.core.extras import install_line; print(install_line('hf'))"
    said = python(site, "-c", code, cwd=tmp_path).stdout
    assert "pip install 'deepspeed-sweeper[hf]'" == said.strip()


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
