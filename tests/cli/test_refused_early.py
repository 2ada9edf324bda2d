"""What can be known before the first trial is refused before it: nothing is started, nothing is left."""

import json
import subprocess
import sys

import pytest

from tests.support import environment

STUDY = ("+model=gpt2-nano", "hydra/sweeper=optuna")
# Notes which processes are started, and whether torch was.
COMMAND = """
import json, os, sys
started = []
def audit(event, arguments):
    if event in ("os.fork", "os.forkpty", "os.posix_spawn"):
        started.append(event)
    elif event == "subprocess.Popen" and "python" in str(arguments):
        started.append(str(arguments[1]))
sys.addaudithook(audit)
place, sys.argv = sys.argv[1], ["sweeper", *sys.argv[2:]]
sys.path.insert(0, os.getcwd())
from sweeper.cli import main
try:
    main()
finally:
    heavy = {"torch", "deepspeed", "pandas", "matplotlib"} & set(sys.modules)
    with open(place, "w") as file:
        json.dump([sorted(heavy), started], file)
"""
HOOKS = """
def raises(config, trial):
    raise RuntimeError("oops")

def suggests_nonsense(config, trial):
    trial.suggest_int("batch.micro", 1, 2)

nothing_to_call = 3
"""
RATIO = (
    "space=none",
    "zero=stage3",
    "offload=optimizer",
    "offload.optimizer_ratio=interval(0.1,1)",
)
REFUSED = [
    # (arguments, said, what to type)
    ((*STUDY, "workload.tokens_file=nothere.bin"), "No such file or directory", "or null"),
    (("+model=gpt2-nano", "workload.tokens_file=here"), "Is a directory", "or null"),
    (("+model=gpt2-nano", "workload.tokens_file=odd.bin"), "has 3 bytes", "or null"),
    (
        (*STUDY, "workload.tokens_file=short.bin"),
        "holds 10 tokens, fewer than one sample of 33",
        "type workload.sequence_length=9",
    ),
    (
        (*STUDY, "hydra.sweeper.storage=sqlite:///no/x.db"),
        "no is no folder",
        "type for example hydra.sweeper.storage=",
    ),
    ((*STUDY, "hydra.sweeper.storage=journal:no/x"), "no is no folder", "type for example"),
    (
        (*STUDY, "hydra.sweeper.storage={_target_:optuna.storages.Nope}"),
        "there is no _target_ optuna.storages.Nope",
        "type for example hydra.sweeper.storage=",
    ),
    (
        (*STUDY, "hydra.sweeper.sampler._target_=optuna.samplers.Nope"),
        "no such sampler",
        "hydra/sweeper/sampler=tpe",
    ),
    ((*STUDY, "hydra/sweeper/sampler=motpe"), "allowed are guided, tpe", "sampler="),
    (
        (*STUDY, "hydra/sweeper/sampler=tpe", "hydra.sweeper.sampler.n_startup=3"),
        "unexpected keyword argument 'n_startup'",
        "hydra/sweeper/sampler=tpe",
    ),
    (
        (*STUDY, *RATIO, "hydra/sweeper/sampler=grid"),
        "offload.optimizer_ratio: the sampler GridSampler",
        "type offload.optimizer_ratio=range(",
    ),
    (
        (*STUDY, "offload.optimizer_ratio=tag(log,interval(0,1))"),
        "a logarithm begins above 0",
        "tag(log,interval(0.001,1))",
    ),
    ((*STUDY, "hydra.sweeper.warm_start=here"), "no trial in this folder", "results/<study>"),
    ((*STUDY, "hydra.sweeper.direction=minimize"), "is in tokens/s", "direction=maximize"),
    (
        (*STUDY, "hydra.sweeper.custom_search_space=no.such.hook"),
        "cannot be imported",
        "give package.module.function",
    ),
    (
        (*STUDY, "hydra.sweeper.custom_search_space=hooks.nothing_to_call"),
        "is int, and no function",
        "give package.module.function",
    ),
    (
        (*STUDY, "hydra.sweeper.custom_search_space=hooks.raises"),
        "raised RuntimeError: oops (hooks.py:3)",
        "type hydra.sweeper.custom_search_space=null",
    ),
    (
        (*STUDY, "hydra.sweeper.custom_search_space=hooks.suggests_nonsense"),
        "suggests batch.micro=2: there is no setting batch.micro",
        "type batch.micro_size=",
    ),
    (
        (*STUDY, "workload.sequence_length=100000"),
        "more than the 128 positions of the model: none of the 360 candidates can be run",
        "type workload.sequence_length=128",
    ),
    (
        (*STUDY, "space=full", "workload.sequence_length=100000"),
        "candidates can be run",
        "type workload.sequence_length=128",
    ),
    (
        (*STUDY, "batch.micro_size=3", "workload.global_batch_size=4"),
        "none of the 72 candidates can be run",
        "type batch.micro_size=4, or workload.global_batch_size=3",
    ),
    ((*STUDY, "hardware.ranks=1000"), "1000 (hardware.ranks): none of", "or hardware.ranks=4"),
    (
        ("+model=gpt2-nano", "batch.micro_size=3", "workload.global_batch_size=4"),
        "is not a multiple of 3 (batch.micro_size)",
        "type batch.micro_size=4, or workload.global_batch_size=3",
    ),
    ((*STUDY, "measure.min_steps=10", "measure.max_steps=5"), "is more than", "max_steps=10"),
    (("+model=gpt2-nano", "optimizer.betas=[0.9]"), "must be two numbers", "[0.9,0.999]"),
    (("+model=gpt2-nano", "ds.train_batch_size=7"), "contradicts workload", "global_batch_size=7"),
    ((*STUDY, "hydra.sweep.dir="), "names no folder", "type hydra.sweep.dir="),
    (("+model=gpt2-nano", "hydra.run.dir="), "names no folder", "type hydra.run.dir="),
    ((*STUDY, "hydra.sweep.dir='${nothere}'"), "hydra.sweep.dir=${nothere}", "type hydra.sweep"),
    ((*STUDY, "hydra.sweep.subdir=x"), "trials lie in trials/<number>", "leave it out"),
    (
        ("+model=gpt2-nano", "zero=[stage1,stage2]"),
        "takes one option",
        "type zero=stage1, or 'zero=choice(stage1,stage2)'",
    ),
    (
        ("-m", "+model=gpt2-nano", "zero=[stage1,stage2]", "batch.micro_size=1,2"),
        "takes one option",
        "type zero=stage1",
    ),
    (("+model=gpt2-nano", "hydra.launcher=nope"), "allowed are basic", "hydra/launcher=basic"),
    ((*STUDY, "hydra.launcher=nope"), "allowed are basic", "type hydra/launcher=basic"),
    (
        (*STUDY, "hydra.launcher._target_=hydra_plugins.joblib.JoblibLauncher"),
        "hydra_plugins.joblib.JoblibLauncher: trials follow one another",
        "type hydra/launcher=basic",
    ),
    ((*STUDY, "+hydra.sweeper.nonsense=3"), "hydra.sweeper.nonsense=3: allowed are", "type hydra"),
    ((*STUDY, "hydra.sweeper.sampler=3"), "allowed are guided, tpe", "sampler="),
]


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    REFUSED,
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_it_is_one_line_before_anything_is_started_or_written(tmp_path, arguments, said, hint):
    here = tmp_path / "here"
    (here / "here").mkdir(parents=True)
    (here / "odd.bin").write_bytes(b"abc")
    (here / "short.bin").write_bytes(b"ab" * 10)
    (here / "hooks.py").write_text(HOOKS)
    before = {path.name for path in here.iterdir()}
    finished = subprocess.run(
        [sys.executable, "-B", "-c", COMMAND, str(tmp_path / "seen.json"), *arguments],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 2 == finished.returncode, finished.stderr
    *notes, line = finished.stderr.strip().splitlines()
    assert all(note.startswith("note: ") for note in notes)  # how a word was read
    assert said in line
    assert hint in line
    assert "" == finished.stdout
    assert [[], []] == json.loads((tmp_path / "seen.json").read_text())
    assert before == {path.name for path in here.iterdir()}


def test_in_another_app_the_sweeper_says_in_a_line_that_it_is_for_this_command(tmp_path):
    (tmp_path / "app.py").write_text(
        "import hydra\n\n\n@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(config):\n    print('ran')\n\n\nmain()\n"
    )
    chosen = "hydra.sweeper._target_=hydra_plugins.sweeper_optuna.OptunaSweeper"
    finished = subprocess.run(
        [sys.executable, "app.py", "-m", chosen, "+x=choice(1,2)"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 1 == finished.returncode
    first, *hydras = [line for line in finished.stderr.splitlines() if line]
    assert "type python -m sweeper +model=gpt2 hydra/sweeper=optuna" in first
    assert ["Set the environment variable HYDRA_FULL_ERROR=1"] == [h[:47] for h in hydras]
    assert "" == finished.stdout
