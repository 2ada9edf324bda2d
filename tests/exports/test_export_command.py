"""``export`` and ``best/``: which files are written, what they say, what is refused."""

import json
from pathlib import Path

import pytest
import yaml

from sweeper.core.export_formats import FORMATS
from sweeper.core.files import read_json, write_json, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed
from sweeper.errors import NothingMeasured, UsageError
from sweeper.report.build import build_report
from sweeper.report.export import export
from tests.exports.made_up import study_of_script
from tests.support import ds_config_of, measured, run_sweeper, trial_of

FILES = {
    "native": {"ds_config.json", "settings.yaml", "launch.sh"},
    "deepspeed": {"launch.sh"},
    "torchrun": {"launch_torchrun.sh"},
    "slurm": {"launch_slurm.sh"},
    "hf": {"ds_config.hf.json", "hf_args.txt", "launch.sh"},
    "accelerate": {"ds_config.accelerate.json", "accelerate.yaml"},
    "lightning": {"ds_config.lightning.json"},
    "axolotl": {"ds_config.hf.json", "axolotl.yaml"},
    "llamafactory": {"ds_config.hf.json", "llamafactory.yaml"},
}
TRIAL = {"zero.stage": 2, "hardware.ranks": 2, "batch.micro_size": 2, "precision.mode": "bf16"}
TENSOR = {"parallel.tensor": 2, "hardware.ranks": 2}


def study_of(path: Path, outcome=None, **changes) -> StudyFolder:
    folder = StudyFolder(path / "study")
    trial = trial_of(0, outcome or measured(), **changes)
    own = folder.trial(0)
    write_json(own.trial, trial.to_json())
    write_json(own.ds_config, ds_config_of(trial))
    write_text(own.command, "DS_ACCELERATOR=cpu python -m sweeper.worker spec.json\n")
    return folder


def exported(folder: StudyFolder, name: str = "all", **more) -> str:
    return export(str(folder.path), name=name, **({"to": None, "force": False} | more))


def names_in(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_its_files_and_a_readme_that_names_them(tmp_path, name):
    folder = study_of(tmp_path, **TRIAL)
    said = exported(folder, name)
    target = folder.export(name)
    assert FILES[name] | {"README.md"} == names_in(target)
    assert [str(target / file.name) for file in map(Path, said.splitlines())] == said.splitlines()
    readme = (target / "README.md").read_text()
    for file in FILES[name]:
        assert file in readme
    assert 1 == readme.count("(`--format ")


def test_best_has_every_format_and_a_readme_that_says_how_it_was_measured(tmp_path):
    folder = study_of(tmp_path, **TRIAL)
    build_report(folder)
    assert set().union(*FILES.values(), {"README.md"}) == names_in(folder.best)
    readme = folder.bundle.readme.read_text()
    for part in (
        "device a CPU, torch 2.13.0, deepspeed 0.19.8",
        "DS_ACCELERATOR=cpu python -m sweeper.worker spec.json",
        "a micro-batch of 2, accumulated over 2 micro-steps",
        "./launch.sh your_script.py --deepspeed ds_config.hf.json $(cat hf_args.txt)",
        "per_device_train_batch_size=2",
        "accelerate launch --config_file accelerate.yaml",
        "DeepSpeedStrategy(config=",
        "accumulate_grad_batches=2",
    ):
        assert part in readme
    assert "Not exported" not in readme


def test_no_file_has_a_comment(tmp_path):
    folder = study_of(tmp_path, **TRIAL, **{"launch.bind_cores": True})
    exported(folder)
    for path in folder.export("all").iterdir():
        if path.name == "README.md":
            continue
        lines = path.read_text().splitlines()
        comments = [n for n in lines if n.lstrip().startswith("#") and not n.startswith("#SBATCH")]
        assert comments in ([], ["#!/bin/sh"]), path


def test_the_lines_for_the_trainer_are_words_of_a_shell(tmp_path):
    folder = study_of(tmp_path, **TRIAL, **{"checkpointing.every_nth_block": 1})
    exported(folder, "hf")
    words = (folder.export("hf") / "hf_args.txt").read_text().split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert {"--bf16": "true", "--per_device_train_batch_size": "2"}.items() <= given.items()
    kwargs = json.loads(given["--gradient_checkpointing_kwargs"])
    assert {"use_reentrant": False} == kwargs


@pytest.mark.parametrize("name", ["accelerate", "axolotl", "llamafactory"])
def test_a_file_that_another_names_is_where_it_says(tmp_path, monkeypatch, name):
    folder = study_of(tmp_path, **TRIAL)
    monkeypatch.chdir(tmp_path)
    exported(folder, name, to="elsewhere")
    document = yaml.safe_load((tmp_path / "elsewhere" / f"{name}.yaml").read_text())
    named = document.get("deepspeed") or document["deepspeed_config"]["deepspeed_config_file"]
    assert Path(named).is_absolute()
    assert json.loads(Path(named).read_text())["zero_optimization"]["stage"] == 2


def test_a_winner_that_a_framework_cannot_carry_is_one_line_for_that_format_alone(tmp_path):
    folder = study_of(tmp_path, **TENSOR)
    with pytest.raises(UsageError, match=r"--format hf: the winner is tensor parallel \(2 ranks"):
        exported(folder, "hf")
    assert not folder.export("hf").exists()
    said = exported(folder)
    assert "not hf: the winner is tensor parallel" in said
    target = folder.export("all")
    assert FILES["native"] | FILES["torchrun"] | FILES["slurm"] | {"README.md"} == names_in(target)
    readme = (target / "README.md").read_text()
    assert "* `accelerate`: the winner is tensor parallel" in readme.partition("Not exported")[2]


def test_what_is_there_is_replaced_only_if_that_is_asked_for(tmp_path):
    folder = study_of(tmp_path, **TRIAL)
    target = tmp_path / "mine"
    target.mkdir()
    exported(folder, "hf", to=str(target))  # an empty folder is free
    mine = target / "train.py"
    mine.write_text("mine")
    (target / "hf_args.txt").write_text("old")
    for name in ("ds_config.hf.json", "launch.sh"):
        (target / name).unlink()
    with pytest.raises(UsageError, match=r"add --force: .*replaces hf_args.txt, README.md$"):
        exported(folder, "hf", to=str(target))
    assert "old" == (target / "hf_args.txt").read_text()
    exported(folder, "hf", to=str(target), force=True)
    assert "--bf16 true" in (target / "hf_args.txt").read_text()
    assert "mine" == mine.read_text()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("to", ["file", "file/below"])
def test_a_file_in_the_place_of_the_folder_stays(tmp_path, to, force):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match="is no folder; type --to <a folder>"):
        exported(study_of(tmp_path, **TRIAL), to=str(tmp_path / to), force=force)
    assert "mine" == file.read_text()


@pytest.mark.parametrize("to", ["/proc/x", "/proc/x/y"])
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path, to):
    with pytest.raises(
        UsageError, match=r"^/proc/x[/y]*: no folder can be made there \(.*\); type"
    ):
        exported(study_of(tmp_path, **TRIAL), to=to)


def test_a_link_to_nothing_is_in_the_way(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match="link is no folder; type --to <a folder>"):
        exported(study_of(tmp_path, **TRIAL), to=str(tmp_path / "link"))


def test_a_trial_without_its_command_says_so_in_the_place_of_an_empty_block(tmp_path):
    folder = study_of(tmp_path, **TRIAL)
    folder.trial(0).command.unlink()
    exported(folder, "native")
    readme = (folder.export("native") / "README.md").read_text()
    assert "Measured by trial 0; its command was not kept." in readme
    assert "```sh\n\n```" not in readme


def script_study_of(path: Path, **seen) -> StudyFolder:
    folder = study_of(path, **TRIAL)
    document = read_json(folder.trial(0).trial)
    document["settings"] |= {
        "script.path": str(path / "train.py"),
        "script.folder": str(path),
        "script.args": "--deepspeed ds.json --batch {micro_batch}",
    }
    write_json(folder.trial(0).trial, document)
    found = {"framework": None, "config_file": "ds.json", "config_in_code": False}
    write_json(folder.script, {"facts": {**found, **seen}})
    return folder


def test_a_scripts_own_command_is_in_best_with_the_winners_arguments(tmp_path):
    folder = script_study_of(tmp_path)
    build_report(folder)
    readme = folder.bundle.readme.read_text()
    typed = "study/best/launch.sh train.py --deepspeed study/best/ds_config.json --batch 2"
    assert f"```sh\ncd {tmp_path}\n{typed}\n```" in readme
    assert "First" not in readme


def test_what_stands_in_a_scripts_code_is_to_be_changed_first(tmp_path):
    folder = script_study_of(tmp_path, config_file=None, config_in_code=True)
    build_report(folder)
    readme = folder.bundle.readme.read_text()
    assert (
        "First:\n\n* in train.py, deepspeed.initialize(config='study/best/ds_config.json')"
        in readme
    )


def test_a_command_that_names_files_of_another_format_is_left_out(tmp_path):
    folder = script_study_of(tmp_path, framework="transformers")
    exported(folder, "native")
    assert "Your script" not in (folder.export("native") / "README.md").read_text()
    exported(folder, "hf")
    assert "export/hf/ds_config.hf.json" in (folder.export("hf") / "README.md").read_text()


def test_a_study_without_a_measured_trial_has_nothing_to_export(tmp_path):
    folder = study_of(tmp_path, Crashed(reason="a rank died", evidence="", exit_code=1))
    with pytest.raises(
        NothingMeasured, match=r"nothing was measured \(trials: 1\); type python -m"
    ):
        exported(folder)
    assert ["trials"] == [path.name for path in folder.path.iterdir()]


def test_a_winner_whose_configuration_is_gone_is_planned_again(tmp_path):
    folder = study_of(tmp_path, **TRIAL)
    folder.trial(0).ds_config.unlink()
    exported(folder, "native")
    config = read_json(folder.export("native") / "ds_config.json")
    stage = folder.read_trials()[0].settings["zero.stage"]
    assert stage == config["zero_optimization"]["stage"]


def test_the_command_writes_what_it_says(tmp_path):
    study_of(tmp_path, **TRIAL)
    finished = run_sweeper("export", "study", "--format", "hf", "--to", "for hf", cwd=tmp_path)
    assert 0 == finished.returncode, finished.stderr
    assert FILES["hf"] | {"README.md"} == names_in(tmp_path / "for hf")
    assert "for hf/ds_config.hf.json\n" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said", "hint"),
    [
        ((), 2, "one study's folder is wanted", "type python -m sweeper export results/<study>"),
        (("nowhere",), 2, "there is no study in this folder", "--format hf"),
        (("study", "--format", "hff"), 2, "--format hff: allowed are native", "--format hf"),
        (("study", "--fromat=hf"), 2, "--fromat=hf", "results/<study> --format hf"),
        (("study", "--to"), 2, "--to has no value", "results/<study> --to exported"),
        (("study",), 3, "nothing was measured (trials: 1)", "type python -m sweeper report study"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, code, said, hint):
    study_of(tmp_path, Crashed(reason="a rank died", evidence="", exit_code=1))
    finished = run_sweeper("export", *arguments, cwd=tmp_path)
    assert code == finished.returncode, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert said in line
    assert hint in line
    assert "" == finished.stdout


SGD = {"type": "SGD", "params": {"lr": 0.1}}
ALLOWED = {"zero_allow_untested_optimizer": True}


def carried(tmp_path, config, own) -> tuple[str, str]:
    """What best/README.md and the report say, of a script whose own configuration is ``own``."""
    folder = study_of_script(tmp_path, config, facts={"config": own})
    build_report(folder)
    return folder.bundle.readme.read_text(), folder.report.read_text()


@pytest.mark.parametrize(
    ("config", "own", "line"),
    [
        (
            {"optimizer": SGD, **ALLOWED},
            {"optimizer": SGD},
            "Added to your script's configuration: `zero_allow_untested_optimizer: true`, because ZeRO "
            "refuses SGD without it.",
        ),
        (
            {**ALLOWED, "zero_force_ds_cpu_optimizer": False},
            {},
            "`zero_allow_untested_optimizer: true`, because ZeRO refuses the script's own optimizer "
            "without it; `zero_force_ds_cpu_optimizer: false`, because with an offloaded optimizer",
        ),
        (
            {"autotuning": {"enabled": True}, "csv_monitor": {"enabled": "true"}},
            {},
            "In the JSON as in your own: `csv_monitor`, `autotuning`, which the trials left out. With "
            "`autotuning` enabled DeepSpeed ends a training after some steps",
        ),
        (
            {"wall_clock_breakdown": True},
            {},
            "In the JSON as in your own: `wall_clock_breakdown`, which the trials left out.",
        ),
    ],
)
def test_what_was_added_to_a_scripts_configuration_and_what_it_does_besides_is_said(
    tmp_path, config, own, line
):
    readme, report = carried(tmp_path, config, own)
    assert line in readme
    assert line in report


@pytest.mark.parametrize(
    ("config", "own"),
    [
        ({"optimizer": SGD, **ALLOWED}, {"optimizer": SGD, **ALLOWED}),
        ({"csv_monitor": {"enabled": "false"}, "autotuning": None, "wandb": {}}, {}),
    ],
)
def test_what_was_there_before_or_is_off_is_not_said(tmp_path, config, own):
    for text in carried(tmp_path, config, own):
        assert "Added to" not in text
        assert "as in your own" not in text
