"""Scripts that are started otherwise than ``python train.py``: modules, Hydra apps, those that start ranks themselves."""

import os
import socket
import textwrap

import psutil
import pytest

from sweeper.core.outcome import Measured
from tests.real.scripts import tune

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


ONE = "hydra.sweeper.n_trials=1"
TWO = ("zero=choice(stage0,stage1)", "hydra.sweeper.n_trials=2")
TRAIN = """
import os
import deepspeed, torch
from torch.utils.data import DataLoader, TensorDataset

CONFIG = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 1,
    "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}},
}

def train(model, config=CONFIG, **of_loader):
    data = TensorDataset(torch.randn(800, 8), torch.randn(800, 1))
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config
    )
    for inputs, targets in DataLoader(data, batch_size=2, **of_loader):
        loss = torch.nn.functional.mse_loss(engine(inputs), targets)
        engine.backward(loss)
        engine.step()
"""
PLAIN = "\nif __name__ == '__main__':\n    train(torch.nn.Linear(8, 1))\n"


def files(tmp_path, **sources):
    """``pkg__train`` is pkg/train.py."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return folder


def told(done):
    """The one line that says why."""
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("sweeper: ")]
    return line


def assert_measured(done, study, trials=1):
    assert 0 == done.returncode, done.stderr
    outcomes = [trial.outcome for trial in study.read_trials()]
    assert trials == len(outcomes)
    assert all(isinstance(outcome, Measured) for outcome in outcomes), outcomes


def assert_nothing_runs(tmp_path):
    there = [p for p in psutil.process_iter(["environ"]) if str(tmp_path) in str(p.info["environ"])]
    assert [] == there


RELATIVE = "from .shape import model\nfrom mypkg.loop import *\nimport sys\nassert sys.argv[1:] == ['--x']\n"
PACKAGE = {
    "mypkg__shape": "import torch\n\ndef model():\n    return torch.nn.Linear(8, 1)\n",
    "mypkg__loop": TRAIN,
    "models": "OURS = False\n",
}


@pytest.mark.parametrize("script", ["-m mypkg.train", slow("mypkg")])
def test_a_module_runs_as_python_runs_it(script, tmp_path):
    source = (
        f"{RELATIVE}import models\nassert models.OURS is False\n"
        "if __name__ == '__main__':\n    train(model(), num_workers=1, multiprocessing_context='spawn')\n"
    )
    names = ["mypkg__train"] if "train" in script else ["mypkg____main__", "mypkg____init__"]
    folder = files(tmp_path, **PACKAGE, **dict(zip(names, [source, ""], strict=False)))
    done, study = tune(folder, "--x", *TWO, "hardware.ranks=2", script=script)
    assert_measured(done, study, 2)
    assert f"study of {script.removeprefix('-m ')} in" in done.stderr
    assert f"launch.sh --module {script.removeprefix('-m ')} --x" in study.bundle.readme.read_text()


def test_a_file_of_a_package_is_told_by_which_name_it_runs(tmp_path):
    folder = files(tmp_path, **PACKAGE, mypkg__train=f"{RELATIVE}train(model())\n")
    done, _ = tune(folder, "--x", script="mypkg/train.py")
    assert 2 == done.returncode
    assert "type '+script=-m mypkg.train'" in told(done)


HYDRA = f"""
import os
import hydra
{TRAIN}
@hydra.main(config_path="conf", config_name="config", version_base=VERSION)
def main(cfg):
    assert cfg.width == 8
    with open("written.txt" if VERSION == "1.1" else os.path.join(
        hydra.core.hydra_config.HydraConfig.get().runtime.output_dir, "written.txt"
    ), "a") as file:
        file.write("something")
    from omegaconf import OmegaConf
    train(torch.nn.Linear(cfg.width, 1), OmegaConf.to_container(cfg.ds))

if __name__ == "__main__":
    main()
"""
CONFIG_OF_HYDRA = """
width: 4
ds:
  train_micro_batch_size_per_gpu: 2
  gradient_accumulation_steps: 1
  optimizer: {type: Adam, params: {lr: 0.01, torch_adam: true}}
hydra:
  run:
    dir: runs/now
"""


@pytest.mark.parametrize(
    ("version", "more"),
    [slow("'1.1'", "hydra.run.dir=theirs"), ("None", "-m hydra.sweep.dir=theirs")],
)
def test_a_hydra_app_runs_and_leaves_nothing_in_its_folder(version, more, tmp_path):
    folder = files(tmp_path, train=f"VERSION = {version}\n{HYDRA}")
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").write_text(CONFIG_OF_HYDRA)
    done, study = tune(folder, f"{more} width=8", ONE, "hardware.ranks=2")
    assert_measured(done, study)
    assert ["conf", "train.py"] == sorted(path.name for path in folder.iterdir())
    assert list(study.trial(0).script_output.rglob("written.txt"))


def by_itself(**variables):
    lines = [f"os.environ[{name!r}] = {value!r}" for name, value in variables.items()]
    return "\n".join(["import os", *lines, ""])


def test_ranks_meet_where_the_trial_says_whatever_address_the_script_sets(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        source = by_itself(MASTER_ADDR="localhost", MASTER_PORT=str(port)) + TRAIN + PLAIN
        done, study = tune(files(tmp_path, train=source), "", *TWO, "hardware.ranks=2")
    assert_measured(done, study, 2)


def test_a_process_group_of_the_scripts_own_at_a_fixed_address_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        method = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        init = f"torch.distributed.init_process_group('gloo', init_method={method!r}, rank=0, world_size=1)\n"
        alone = by_itself(WORLD_SIZE="1", RANK="0", LOCAL_RANK="0")
        source = f"{alone}{TRAIN}{init}deepspeed.init_distributed()\n{PLAIN}"
        done, study = tune(files(tmp_path, train=source), "", ONE)
    assert_measured(done, study)


def test_a_script_that_says_that_it_is_alone_is_told_so_where_it_is_one_of_two(tmp_path):
    source = by_itself(WORLD_SIZE="1", RANK="0", MASTER_PORT="29512") + TRAIN + PLAIN
    done, _ = tune(files(tmp_path, train=source), "", "hardware.ranks=2")
    assert 2 == done.returncode, done.stderr
    assert "train.py sets WORLD_SIZE to 1, where this process was started with WORLD_SIZE=2" in (
        told(done)
    )


SPAWN = f"""{TRAIN}
def worker(rank, world_size):
    os.environ |= {{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}}
    os.environ |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29513"}}
    deepspeed.init_distributed()
    train(torch.nn.Linear(8, 1))

if __name__ == "__main__":
    START
"""
SPAWNED = "torch.multiprocessing.spawn(worker, args=(2,), nprocs=2)"
FORKED = textwrap.dedent("""
    import multiprocessing
        processes = [multiprocessing.Process(target=worker, args=(r, 2)) for r in range(2)]
        [p.start() for p in processes]
        [p.join() for p in processes]
""").strip()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (SPAWNED, ()),
        slow(SPAWNED, ("hardware.ranks=2",)),
        # They wait for each other for half a minute.
        slow(SPAWNED, ("hardware.ranks=2", "launch=torchrun")),
        (FORKED, ()),
    ],
    ids=["spawned", "spawned by two", "spawned under torchrun", "forked"],
)
def test_workers_that_a_script_starts_itself_are_told_and_ended(start, more, tmp_path):
    folder = files(tmp_path, train=SPAWN.replace("START", start))
    done, _ = tune(folder, "", *more)
    assert 2 == done.returncode, done.stderr
    assert "train.py starts its training in processes of its own" in told(done)
    assert "hardware.ranks" in told(done)
    assert_nothing_runs(tmp_path)


@pytest.mark.parametrize("launcher", ["deepspeed", slow("torch.distributed.run")])
def test_a_launcher_in_a_script_is_told_with_the_script_to_give(launcher, tmp_path):
    options = {
        "deepspeed": ["-m", "deepspeed.launcher.runner", "--num_gpus=1", "--no_local_rank"],
        "torch.distributed.run": ["-m", "torch.distributed.run", "--nproc_per_node=1"],
    }[launcher]
    start = f"import subprocess, sys\nsubprocess.run([sys.executable, *{options}, 'worker.py'], check=True)\n"
    folder = files(tmp_path, train=start, worker=TRAIN + PLAIN)
    done, _ = tune(folder, "")
    assert 2 == done.returncode, done.stderr
    assert "type +script=worker.py hardware.ranks=1" in told(done)
    assert_nothing_runs(tmp_path)


@pytest.mark.parametrize("method", [slow("fork"), "spawn", slow("forkserver")])
def test_workers_of_a_data_loader_work_and_are_gone_afterwards(method, tmp_path):
    loader = f"num_workers=2, persistent_workers=True, multiprocessing_context={method!r}"
    source = TRAIN + PLAIN.replace("Linear(8, 1)", f"Linear(8, 1), {loader}")
    done, study = tune(files(tmp_path, train=source), "", ONE)
    assert_measured(done, study)
    assert_nothing_runs(tmp_path)


def test_a_shell_script_is_told_with_what_it_starts(tmp_path):
    folder = files(tmp_path, train=TRAIN + PLAIN)
    (folder / "run.sh").write_text(
        "#!/bin/bash\nset -e\nexport NCCL_DEBUG=INFO\ndeepspeed --num_gpus 2 train.py \\\n  --epochs 1\n"
    )
    done, _ = tune(folder, "", script="run.sh")
    assert 2 == done.returncode
    assert "it starts train.py; type +script=train.py 'script.args=\"--epochs 1\"'" in told(done)
    assert os.listdir(tmp_path) == ["theirs"], "no study is begun"
