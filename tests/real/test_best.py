"""A script of the user's own trains with what was exported as the trial did."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweeper.best import prepare
from sweeper.core.exported import exported_layout, exported_settings
from sweeper.core.files import read_json, write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, reason_of
from sweeper.core.plan import plan
from sweeper.core.standing import standing
from sweeper.core.trial import Trial
from sweeper.report.bundle import bundle_of, write_bundle
from sweeper.report.failures import Failures
from sweeper.run.launch import free_port
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from sweeper.worker.batches import Batches
from sweeper.worker.building import recompute
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.feed import TokenIds
from tests.support import MACHINE, ds_config_of, environment, measured, nano, trial_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TOLERANCE = 1e-4
MODEL = {"layers": 4, "width": 64, "heads": 4, "vocab_size": 512, "max_positions": 64}
LLAMA = {**MODEL, "kv_heads": 4, "feed_forward_width": 128}
TWO_RANKS = {
    "hardware.ranks": 2,
    "zero.stage": 1,
    "zero.reduce_bucket_size": 1_000_000,  # else a buffer of 2 GB on each rank
}

# The user's: family, its arguments, the data and where the losses go are given.
SCRIPT = """\
import importlib, json, os, sys
import torch
from sweeper.best import prepare

best, family, arguments, data, losses_file = sys.argv[1:]
torch.manual_seed(1)
model = importlib.import_module(f"sweeper.models.{family}").build(**json.loads(arguments))
torch.manual_seed(99)  # the weights are the model's, not drawn again
engine = prepare(best, model)
losses = []
for micro_batches in torch.load(data):
    if engine.pipeline_parallelism:
        losses.append(float(engine.train_batch(map(model.split, micro_batches))))
        continue
    parts = []
    for tokens in micro_batches:
        loss = engine(tokens)
        engine.backward(loss)
        engine.step()
        parts.append(loss.detach())
    loss = torch.stack(parts).mean()
    torch.distributed.all_reduce(loss)
    losses.append(float(loss) / torch.distributed.get_world_size())
if os.environ["RANK"] == "0":
    with open(losses_file, "w") as file:
        json.dump(losses, file)
torch.distributed.destroy_process_group()
"""


def write_best(folder, trial):
    failures = Failures(folder)
    write_bundle(folder, bundle_of(folder, standing([trial]), failures), failures)
    assert [] == failures.lines


@pytest.mark.parametrize(
    ("family", "arguments", "changes"),
    [
        ("llama", LLAMA, {"parallel.tensor": 2, "checkpointing.every_nth_block": 1}),
        pytest.param(  # its loss is scaled for the backward pass
            *("gpt2", MODEL, {"parallel.sequence": 2}), marks=pytest.mark.slow
        ),
        ("gpt2", MODEL, {"parallel.pipeline": 2, "checkpointing.every_nth_block": 2}),
    ],
    ids=["tensor-recomputed", "sequence", "pipeline-recomputed"],
)
def test_two_lines_and_the_launch_script_train_as_the_trial_did(
    tmp_path, family, arguments, changes
):
    ensure_ops(["ShareMemCommBuilder"], accelerator="cpu", say=print)
    folder = StudyFolder(tmp_path / "a study")
    model = {"_target_": f"sweeper.models.{family}.build", **arguments}
    trial = measured_trial(folder, model=model, **TWO_RANKS, **changes)
    write_best(folder, trial)

    losses = trial.outcome.measurement.losses
    spec = plan(nano(model=model, **TWO_RANKS, **changes), MACHINE).ready
    batches = Batches(spec, make_batch=TokenIds(512), data_rank=0, device="cpu")
    torch.save([batches.micro_batches(step) for step in range(len(losses))], tmp_path / "data.pt")
    (tmp_path / "train.py").write_text(SCRIPT)
    said = subprocess.run(
        [str(folder.bundle.launch), f"--master_port={free_port()}", "train.py",
         str(folder.best), family, json.dumps(arguments), "data.pt", "losses.json"],
        cwd=tmp_path,
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert 0 == said.returncode, said.stdout[-3000:] + said.stderr[-3000:]
    assert pytest.approx(losses, rel=TOLERANCE) == read_json(tmp_path / "losses.json")
    assert losses[0] != losses[-1]


def measured_trial(folder: StudyFolder, **changes) -> Trial:
    spec = plan(nano(**changes), MACHINE).ready
    outcome = runner("warm").run(spec, folder.trial(0))
    assert isinstance(outcome, Measured), reason_of(outcome)
    trial = trial_of(0, outcome, **changes)
    write_json(folder.trial(0).trial, trial.to_json())
    return trial


class FromHuggingFace(torch.nn.Linear):
    """As far as it matters."""

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs):
        self.given = gradient_checkpointing_kwargs


def layout_of(**changes):
    return exported_layout(exported_settings(nano(**changes).flat()), where="here")


def test_a_model_of_hugging_faces_recomputes_every_block_or_says_what_is_needed():
    model = FromHuggingFace(1, 1)
    recompute(model, layout_of(**{"checkpointing.every_nth_block": 1}))
    assert {"use_reentrant": False} == model.given
    for changes in ({"every_nth_block": 2}, {"every_nth_block": 1, "on_cpu": True}):
        with pytest.raises(UnsupportedHere, match="recomputes all of its blocks, on the device"):
            recompute(model, layout_of(**{f"checkpointing.{n}": v for n, v in changes.items()}))


def test_a_pipeline_of_a_model_that_has_no_parts_is_one_line(tmp_path):
    folder = StudyFolder(tmp_path)
    trial = trial_of(0, measured(), **{"parallel.pipeline": 2, "hardware.ranks": 2})
    write_json(folder.trial(0).ds_config, ds_config_of(trial))
    write_best(folder, trial)
    with pytest.raises(UnsupportedHere, match=r"PipelineModule\(layers=..., num_stages=2\)"):
        prepare(folder.best, torch.nn.Linear(1, 1))


def test_a_folder_without_a_bundle_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="results/<study>/best"):
        prepare(tmp_path, torch.nn.Linear(1, 1))
