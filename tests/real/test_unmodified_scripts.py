"""Scripts of different kinds in ``theirs/``, each tuned as it is: with a winner, or with the true reason why not."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeper.core.contest_record import read_contest
from sweeper.core.files import read_json
from sweeper.core.outcome import Infeasible, measurement_of
from sweeper.core.standing import standing
from tests.real.scripts import hashes, tune

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

THEIRS = Path(__file__).with_name("theirs")
TRAINERS = (
    "--deepspeed ds_config.json --output_dir out --use_cpu --optim adamw_torch --report_to none"
)
STAGES = "zero=choice(stage1,stage2)"
SIZES = "batch.micro_size=choice(2,4,8)"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``baseline`` is what its own training is; ``says`` stands in a note, ``refused`` in the one line instead."""

    arguments: str = ""
    more: tuple[str, ...] = (STAGES,)
    script: str = "train.py"
    needs: tuple[str, ...] = ()
    baseline: dict[str, object] | None = None
    says: str = ""
    refused: str = ""


KINDS = {
    "plain": Kind(
        arguments="--deepspeed_config ds_config.json",
        more=(STAGES, SIZES, "hardware.ranks=2"),
        baseline={"batch.micro_size": 8, "workload.global_batch_size": 16, "zero.stage": 1},
    ),
    "trainer": Kind(
        arguments=f"{TRAINERS} --per_device_train_batch_size 2 --gradient_accumulation_steps 4",
        more=(STAGES, SIZES, "precision=choice(fp32,bf16)"),
        needs=("transformers", "accelerate"),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 8, "precision.mode": "fp32"},
    ),
    "accelerate": Kind(
        more=("zero=choice(stage0,stage1)", SIZES),
        needs=("accelerate",),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 8, "zero.stage": 1},
    ),
    "lightning": Kind(needs=("lightning",), refused="CUDA"),
    "sft": Kind(
        arguments=f"{TRAINERS} --per_device_train_batch_size 2 --gradient_accumulation_steps 4 --max_length 32"
        " --bf16 false",
        more=(STAGES, SIZES),
        needs=("trl", "datasets"),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 8, "zero.stage": 2},
    ),
    "dpo": Kind(
        arguments=f"{TRAINERS} --per_device_train_batch_size 2 --gradient_accumulation_steps 4 --max_length 32"
        " --bf16 false",
        more=(STAGES, SIZES),
        needs=("trl", "datasets"),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 8, "zero.stage": 2},
        says="4 rows for a micro-batch of 2",
    ),
    "pipeline": Kind(refused="a pipeline's engine takes its steps where they cannot be timed"),
    "two_engines": Kind(
        more=(STAGES, SIZES),
        baseline={"batch.micro_size": 4, "workload.global_batch_size": 8, "zero.stage": 1},
        says="makes 2 engines: number 2 is tuned, the one that trains",
    ),
    "gan": Kind(
        more=("zero=choice(stage0,stage1)",),
        baseline={"batch.micro_size": 8, "zero.stage": 0},
        says="2 engines: number 2 is tuned, of those that train",
    ),
    "own_accumulation": Kind(
        arguments="--deepspeed_config ds_config.json --batch-size {micro_batch}"
        " --accumulate {gradient_accumulation}",
        more=(STAGES, SIZES, "workload.global_batch_size=16", "batch.micro_size=2"),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 16, "zero.stage": 1},
        says="puts 8 micro-batches together in a loop of its own",
    ),
    "packed": Kind(
        arguments="--deepspeed_config ds_config.json",
        more=("zero=choice(stage1,stage2)", SIZES),
        baseline={"batch.micro_size": 4, "workload.global_batch_size": 8, "zero.stage": 2},
        says="1 rows for a micro-batch of 4: samples are counted by what its data loaders draw",
    ),
    "token_budget": Kind(
        arguments="--deepspeed_config ds_config.json",
        more=(STAGES, SIZES),
        baseline={"batch.micro_size": 4, "zero.stage": 2},
        says="batch.micro_size is left out",
    ),
    "hydra_app": Kind(
        arguments="width=48",
        more=(STAGES, SIZES),
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 8, "zero.stage": 1},
    ),
    "module": Kind(
        script="-m pkg.train",
        arguments="--deepspeed_config ds_config.json",
        baseline={"batch.micro_size": 2, "workload.global_batch_size": 2, "zero.stage": 1},
    ),
}
# Of each way to say what a sample is one in every run of the tests.
ALWAYS = ("plain", "two_engines", "packed")


@pytest.mark.parametrize(
    "name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in KINDS]
)
def test_an_unmodified_script_ends_with_a_winner_or_a_true_reason(name, tmp_path):
    kind = KINDS[name]
    for module in kind.needs:
        pytest.importorskip(module)
    folder = tmp_path / "theirs"
    shutil.copytree(THEIRS / name, folder)
    before = hashes(folder)
    done, study = tune(
        folder, kind.arguments, *kind.more, "hydra.sweeper.n_trials=3", script=kind.script
    )
    assert before == hashes(folder)
    assert "Traceback" not in done.stderr
    if kind.refused:
        (line,) = [text for text in done.stderr.splitlines() if text.startswith("sweeper: ")]
        assert kind.refused in line
        assert done.returncode in (2, 3)
        return
    assert 0 == done.returncode, done.stderr
    trials = study.read_trials()
    own = trials[0].settings
    assert kind.baseline == {setting: own[setting] for setting in kind.baseline}
    assert kind.says in done.stderr
    assert kind.says in study.report.read_text()
    others = [t for t in trials[1:] if not isinstance(t.outcome, Infeasible)]
    assert all(measurement_of(trial.outcome) for trial in others), done.stderr
    finals = read_contest(study.finalists)
    winner = standing(trials, finals=finals and finals[1]).winner
    assert winner is not None
    assert read_json(study.bundle.ds_config), "what it is trained with"
