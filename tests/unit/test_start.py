"""The line that trains with a winner, and what a script is to be changed in before it."""

import shlex
from pathlib import Path

import pytest

from sweeper.core.folder import BundleFolder
from sweeper.core.start import start_of
from tests.support import nano

PLAIN = {
    "framework": None,
    "config_file": "ds.json",
    "config_in_code": False,
    "parses_arguments": False,
    "recomputes": None,
}
IN_CODE = {"config_file": None, "config_in_code": True}
FROM_THE_ENVIRONMENT = {"config_file": None, "config_in_code": False}


def start(tmp_path, arguments, changes=(), **seen):
    """Of a script in a folder with a blank, whose study is below it."""
    folder = tmp_path / "my model"
    settings = nano(**{"batch.micro_size": 2, "hardware.ranks": 2, **dict(changes)}).flat()
    settings |= {
        "script.path": str(folder / "train.py"),
        "script.folder": str(folder),
        "script.args": arguments,
    }
    return start_of(settings, {**PLAIN, **seen}, BundleFolder(folder / "results/s/best"))


def test_a_preset_is_started_with_a_script_of_ones_own():
    made = start_of(nano().flat(), {}, BundleFolder(Path("a study/best")))
    assert "'a study/best/launch.sh' your_script.py" == made.command
    assert (None, ()) == (made.folder, made.changes)


@pytest.mark.parametrize("form", ["--deepspeed_config ds.json", "--deepspeed_config=ds.json"])
def test_the_winners_file_stands_in_the_place_of_the_scripts_own(tmp_path, form):
    made = start(tmp_path, f"{form} --epochs 1")
    given = form.replace("ds.json", "results/s/best/ds_config.json")
    assert f"results/s/best/launch.sh train.py {given} --epochs 1" == made.command
    assert (str(tmp_path / "my model"), ()) == (made.folder, made.changes)


def test_a_module_is_started_as_one(tmp_path):
    module = {"script.module": "pkg.train"}
    folder = tmp_path / "my model"
    settings = {**nano().flat(), "script.path": f"{folder}/pkg/train.py", **module}
    settings |= {"script.folder": str(folder), "script.args": "--deepspeed_config ds.json"}
    made = start_of(settings, PLAIN, BundleFolder(folder / "results/s/best"))
    given = "--deepspeed_config results/s/best/ds_config.json"
    assert f"results/s/best/launch.sh --module pkg.train {given}" == made.command
    ranked = start_of(
        {**settings, "script.args": "--rank {local_rank}"}, PLAIN, BundleFolder(folder)
    )
    assert (
        shlex.split(ranked.command)[-1] == "exec python -u -m pkg.train --rank ''\"$LOCAL_RANK\"''"
    )


def test_the_winners_values_stand_in_the_place_of_placeholders(tmp_path):
    made = start(
        tmp_path, "--batch {micro_batch} --steps={gradient_accumulation} 'two words' {{not_ours}}"
    )
    assert ["--batch", "2", "--steps=2", "two words", "{not_ours}"] == shlex.split(made.command)[2:]


def test_a_file_that_trials_were_given_is_the_winners(tmp_path):
    made = start(tmp_path, "--config {ds_config}", config_file="/trials/3/script_ds_config.json")
    assert made.command.endswith("--config results/s/best/ds_config.json")
    assert () == made.changes


def test_each_rank_is_given_its_own_number(tmp_path):
    made = start(tmp_path, "--local_rank={local_rank} --name 'it'\\''s'", **IN_CODE)
    *launch, line = shlex.split(made.command)
    assert ["results/s/best/launch.sh", "--no_python", "sh", "-c"] == launch
    assert ["exec", "python", "-u", "train.py", "--local_rank=$LOCAL_RANK", "--name", "it's"] == (
        shlex.split(line)
    )


def test_a_rank_is_left_to_the_launcher_where_the_script_asks_as_the_launcher_gives(tmp_path):
    made = start(tmp_path, "--epochs 1", local_rank_option="--local_rank", **IN_CODE)
    assert "results/s/best/launch.sh train.py --epochs 1" == made.command


def test_a_rank_is_given_to_a_script_that_asks_in_other_words_than_the_launcher(tmp_path):
    made = start(tmp_path, "--epochs 1", local_rank_option="--local-rank", **IN_CODE)
    *launch, line = shlex.split(made.command)
    assert ["results/s/best/launch.sh", "--no_python", "sh", "-c"] == launch
    assert ["exec", "python", "-u", "train.py", "--local-rank=$LOCAL_RANK", "--epochs", "1"] == (
        shlex.split(line)
    )


def test_a_configuration_in_code_is_to_be_changed_there(tmp_path):
    made = start(tmp_path, "--epochs 1", **IN_CODE)
    (change,) = made.changes
    assert "in train.py, deepspeed.initialize(config='results/s/best/ds_config.json')" in change


def test_a_file_that_no_argument_names_is_to_be_replaced(tmp_path):
    (change,) = start(tmp_path, "--epochs 1").changes
    assert (
        change == "put results/s/best/ds_config.json in the place of ds.json, which train.py reads"
    )


def test_of_a_script_that_nobody_looked_at_it_is_said_what_to_change(tmp_path):
    settings = {**nano().flat(), "script.path": "/a/train.py", "script.folder": "/a"}
    made = start_of(settings, {}, BundleFolder(tmp_path))
    assert "deepspeed.initialize(config=" in made.changes[0]


def test_a_trainers_script_takes_its_variant_and_its_arguments_last(tmp_path):
    made = start(
        tmp_path, "--deepspeed ds.json --bf16", framework="transformers", parses_arguments=True
    )
    assert "hf" == made.form
    assert made.command == (
        "results/s/best/launch.sh train.py --deepspeed results/s/best/ds_config.hf.json --bf16"
        " $(cat results/s/best/hf_args.txt)"
    )
    assert () == made.changes


def test_training_arguments_in_code_are_to_be_changed_there(tmp_path):
    made = start(tmp_path, "--ds ds.json", framework="transformers")
    assert "$(cat" not in made.command
    (change,) = made.changes
    assert "TrainingArguments with what stands in results/s/best/hf_args.txt" in change


def test_accelerate_takes_its_file_from_the_environment_unless_code_says_another(tmp_path):
    made = start(tmp_path, "--batch {micro_batch}", framework="accelerate", **FROM_THE_ENVIRONMENT)
    file = "results/s/best/ds_config.accelerate.json"
    assert made.command == (
        f"ACCELERATE_USE_DEEPSPEED=true ACCELERATE_DEEPSPEED_CONFIG_FILE={file} "
        "ACCELERATE_MIXED_PRECISION=no "
        "results/s/best/launch.sh train.py --batch 2"
    )
    made = start(tmp_path, "", framework="accelerate", **IN_CODE)
    assert "ACCELERATE" not in made.command
    assert f"DeepSpeedPlugin(hf_ds_config='{file}')" in made.changes[0]


def test_lightning_takes_its_file_from_the_environment_and_the_accumulation_from_its_trainer(
    tmp_path,
):
    made = start(tmp_path, "", framework="lightning", **FROM_THE_ENVIRONMENT)
    file = "results/s/best/ds_config.lightning.json"
    assert made.command.startswith(f"PL_DEEPSPEED_CONFIG_PATH={file} results/s/best/launch.sh")
    assert ("in train.py, Trainer(accumulate_grad_batches=2)",) == made.changes


@pytest.mark.parametrize(
    ("own", "every", "call"),
    [(False, 1, "enable"), (True, 0, "disable"), (False, 0, None), (True, 1, None)],
)
def test_recomputing_is_switched_in_the_script_where_the_winner_differs(tmp_path, own, every, call):
    made = start(
        tmp_path,
        "--deepspeed_config ds.json",
        {"checkpointing.every_nth_block": every},
        recomputes=own,
    )
    calls = [f"in train.py, model.gradient_checkpointing_{call}()"] if call else []
    assert calls == list(made.changes)


@pytest.mark.parametrize(
    ("own", "mode", "said"),
    [
        ("bf16", "fp32", "'no'"),
        ("bf16", "fp16", "'fp16'"),
        ("fp32", "bf16", "'bf16'"),
        ("fp32", "autocast_bf16", "'no'"),
        ("bf16", "bf16", None),
        ("fp32", "fp32", None),
    ],
)
def test_an_accelerator_that_may_have_a_precision_of_its_own_is_told_the_winners(
    tmp_path, own, mode, said
):
    changes, resolved = {"precision.mode": mode}, {"precision": own}
    made = start(
        tmp_path, "--deepspeed ds.json", changes, framework="accelerate", resolved=resolved
    )
    line = f"in train.py, Accelerator(mixed_precision={said}), or none of its own"
    assert ([line] if said else []) == [*made.changes]
    assert () == start(tmp_path, "--deepspeed ds.json", changes, resolved=resolved).changes


def test_a_start_names_the_files_that_it_takes(tmp_path):
    made = start(tmp_path, "--deepspeed ds.json", framework="transformers")
    assert ["launch.sh", "ds_config.hf.json", "hf_args.txt"] == [p.name for p in made.needs]
    made = start(tmp_path, "--deepspeed ds.json")
    assert ["launch.sh", "ds_config.json"] == [path.name for path in made.needs]
