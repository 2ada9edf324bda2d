"""What of Hydra's own options a trial or a study cannot have, before anything is made."""

from __future__ import annotations

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.errors import UsageError
from sweeper.places import conf_dir

_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def check_hydra_options(config: DictConfig, *, mode: str) -> None:
    """``mode`` is ``run`` or ``sweep``. Raises UsageError."""
    _check_launcher(config)
    _check_folder(config, mode)
    if mode == "sweep":
        _check_subdir(config)


def _check_launcher(config: DictConfig) -> None:
    """A trial's ranks are started here, and what a job returns is its trial."""
    launcher = config.hydra.launcher
    target = launcher.get("_target_") if OmegaConf.is_dict(launcher) else launcher
    if target == _LAUNCHER:
        return
    chosen = config.hydra.runtime.choices.get("hydra/launcher")
    typed = (
        f"hydra/launcher={chosen}" if chosen not in (None, "basic") else f"hydra.launcher={target}"
    )
    raise UsageError(
        f"{typed}: trials follow one another on this machine, which another launcher of Hydra's does "
        "not do; type hydra/launcher=basic, and launch=warm (or deepspeed, torchrun) for what starts the ranks"
    )


def _check_folder(config: DictConfig, mode: str) -> None:
    try:
        folder = str(config.hydra[mode].dir or "")
    except OmegaConfBaseException as error:
        raw = OmegaConf.to_container(config.hydra[mode], resolve=False)
        typed = raw["dir"] if isinstance(raw, dict) else ""
        raise UsageError(
            f"hydra.{mode}.dir={typed}: {str(error).splitlines()[0]}; type hydra.{mode}.dir=<a folder>"
        ) from error
    if "${" in folder:  # where Hydra writes it down, it takes that for an interpolation
        raise UsageError(
            f"hydra.{mode}.dir={folder}: a folder's name cannot have ${{ in it; type another, or leave it out "
            "for one in results/"
        )
    if not folder.strip():
        raise UsageError(
            f"hydra.{mode}.dir=: no folder was given; type hydra.{mode}.dir=<a folder>, or leave it out "
            "for one in results/"
        )


def _check_subdir(config: DictConfig) -> None:
    """Trials would lie elsewhere than what reads them looks."""
    ours = yaml.safe_load((conf_dir() / "config.yaml").read_text())["hydra"]["sweep"]["subdir"]
    typed = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
    if typed != ours:
        raise UsageError(
            f"hydra.sweep.subdir={typed}: trials lie in trials/<number> of their study, and reports "
            "find them there; leave it out, and type hydra.sweep.dir=<a folder> for the study's own"
        )
