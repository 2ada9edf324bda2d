"""The names of the files of a study; the folder is the protocol between parent, ranks and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.core.files import Damaged, read_json, read_object, seen_json
from sweeper.core.prediction import Prediction
from sweeper.core.space import Point
from sweeper.core.trial import TRIAL_SCHEMA, Trial


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """One trial's files."""

    path: Path

    @property
    def mark(self) -> str:
        """What the processes of this trial carry in their environment."""
        return str(self.path.resolve())

    @property
    def spec(self) -> Path:
        """All that a rank is told."""
        return self.path / "spec.json"

    @property
    def ds_config(self) -> Path:
        """DeepSpeed's configuration, as the trial ran with it."""
        return self.path / "ds_config.json"

    @property
    def script_ds_config(self) -> Path:
        """What stands for {ds_config} in a script's arguments."""
        return self.path / "script_ds_config.json"

    @property
    def script_output(self) -> Path:
        """What stands for the output folder of a Trainer's script, or of one that is a Hydra app."""
        return self.path / "script_output"

    @property
    def command(self) -> Path:
        """What started the ranks; paste it to run the trial by hand."""
        return self.path / "command.txt"

    @property
    def stdout(self) -> Path:
        """What its ranks printed."""
        return self.path / "stdout.log"

    @property
    def stderr(self) -> Path:
        """Likewise, their errors."""
        return self.path / "stderr.log"

    @property
    def pending(self) -> Path:
        """There from the start of a trial; the trial was interrupted where there is no trial.json beside it."""
        return self.path / "pending.json"

    @property
    def prediction(self) -> Path:
        """What the memory model expected, where it knew the model."""
        return self.path / "prediction.json"

    @property
    def trial(self) -> Path:
        """How it ended: settings, outcome, raw step times, environment."""
        return self.path / "trial.json"

    @property
    def point(self) -> Point | None:
        """What it was to try, as its start wrote down; None where that is not known."""
        point = read_object(self.pending).get("point")
        if not isinstance(point, dict) or not all(isinstance(v, str) for v in point.values()):
            return None
        return point

    def read(self) -> Trial | Damaged | None:
        """None where it has not ended."""
        document = seen_json(self.trial)
        if document is None or isinstance(document, Damaged):
            return document
        if not isinstance(document, dict):
            return Damaged(self.trial, "is no trial's record")
        version = document.get("schema_version")
        if isinstance(version, int) and version != TRIAL_SCHEMA:
            return Damaged(self.trial, BY_ANOTHER_VERSION)
        try:
            trial = Trial.from_json(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Damaged(self.trial, f"is no trial's record ({_in_words(error)})")
        if trial.number != int(self.path.name):
            return Damaged(self.trial, f"is that of trial {trial.number}")
        return trial

    def result(self, rank: int) -> Path:
        return self.path / f"result.rank{rank}.json"

    def progress(self, rank: int) -> Path:
        return self.path / f"progress.rank{rank}.json"

    def forget_results(self, ranks: int) -> None:
        """Before the trial is started once more."""
        for rank in range(ranks):
            self.result(rank).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """The files of an exported winner."""

    path: Path

    @property
    def ds_config(self) -> Path:
        """For ``deepspeed.initialize`` as it is."""
        return self.path / "ds_config.json"

    @property
    def settings(self) -> Path:
        """What that JSON cannot carry; ``sweeper.best.prepare`` applies it."""
        return self.path / "settings.yaml"

    @property
    def launch(self) -> Path:
        """Starts a script as the trial was started, with DeepSpeed's launcher."""
        return self.path / "launch.sh"

    @property
    def launch_torchrun(self) -> Path:
        """The same with torchrun."""
        return self.path / "launch_torchrun.sh"

    @property
    def launch_slurm(self) -> Path:
        """The same for ``sbatch``."""
        return self.path / "launch_slurm.sh"

    @property
    def trainer_ds_config(self) -> Path:
        """For Hugging Face's Trainer, Axolotl and LLaMA-Factory."""
        return self.path / "ds_config.hf.json"

    @property
    def trainer_arguments(self) -> Path:
        """The ``TrainingArguments`` that belong to it."""
        return self.path / "hf_args.txt"

    @property
    def accelerate_ds_config(self) -> Path:
        """For Accelerate."""
        return self.path / "ds_config.accelerate.json"

    @property
    def accelerate(self) -> Path:
        """For ``accelerate launch --config_file``."""
        return self.path / "accelerate.yaml"

    @property
    def lightning_ds_config(self) -> Path:
        """For Lightning's ``DeepSpeedStrategy``."""
        return self.path / "ds_config.lightning.json"

    @property
    def axolotl(self) -> Path:
        """Lines for Axolotl's YAML."""
        return self.path / "axolotl.yaml"

    @property
    def llamafactory(self) -> Path:
        """Lines for LLaMA-Factory's YAML."""
        return self.path / "llamafactory.yaml"

    @property
    def readme(self) -> Path:
        """The lines to add, what stays behind, and where the winner was measured."""
        return self.path / "README.md"


@dataclass(frozen=True, slots=True)
class RoundsFolder:
    """Trials of a study that were measured again, round by round, under their own numbers."""

    path: Path

    @property
    def summary(self) -> Path:
        """Beside the folder."""
        return self.path.with_name(f"{self.path.name}.json")

    def round(self, number: int) -> Path:
        return self.path / f"round-{number:02d}"

    def trial(self, round_number: int, number: int) -> TrialFolder:
        return TrialFolder(self.round(round_number) / f"{number:04d}")

    def read_rounds(self) -> list[dict[int, Trial]]:
        """By trial number, up to the last round that there is; what is damaged is left out."""
        last = max((int(r.name.partition("-")[2]) for r in self._rounds()), default=0)
        rounds = [_trials(self.round(number + 1)) for number in range(last)]
        while rounds and not rounds[-1]:
            rounds.pop()
        return rounds

    def damaged(self) -> list[Damaged]:
        """Records of it that cannot be read."""
        return [found for round_ in self._rounds() for found in _damaged(round_)]

    def _rounds(self) -> list[Path]:
        return [p for p in sorted(self.path.glob("round-*")) if p.name[6:].isdecimal()]


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """One study's files."""

    path: Path

    @property
    def study(self) -> Path:
        """How it was made: options, space, configuration, environment."""
        return self.path / "study.yaml"

    @property
    def lock(self) -> Path:
        """Held by what writes into the folder, while it lives: host, process, and since when."""
        return self.path / ".lock"

    @property
    def stop_reason(self) -> Path:
        """Why the search ended."""
        return self.path / "stop_reason.txt"

    @property
    def trials(self) -> Path:
        """A folder for each trial."""
        return self.path / "trials"

    @property
    def journal(self) -> Path:
        """Optuna's storage, unless another is typed."""
        return self.path / "optuna.journal"

    @property
    def name(self) -> str:
        """The folder's own, also where it is typed as ``.``."""
        return self.path.resolve().name

    @property
    def trials_csv(self) -> Path:
        """One row for each trial, bytes and seconds."""
        return self.path / "trials.csv"

    @property
    def trials_parquet(self) -> Path:
        """The same with its types, where pyarrow is installed."""
        return self.path / "trials.parquet"

    @property
    def report(self) -> Path:
        """The report as Markdown."""
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        """The answer, why, pictures, what failed, how far to trust it: one file that loads nothing."""
        return self.path / "report.html"

    @property
    def errors(self) -> Path:
        """Tracebacks of what the report names as not made: a picture, an export."""
        return self.path / "report_errors.log"

    @property
    def figures(self) -> Path:
        """The report's pictures."""
        return self.path / "figures"

    @property
    def best(self) -> Path:
        """The winner, for every framework."""
        return self.path / "best"

    @property
    def bundle(self) -> BundleFolder:
        """What is in it."""
        return BundleFolder(self.best)

    @property
    def best_ds_config(self) -> Path:
        """For ``deepspeed.initialize`` as it is."""
        return self.bundle.ds_config

    @property
    def finalists(self) -> RoundsFolder:
        """The best few and the baseline, measured again round by round."""
        return RoundsFolder(self.path / "finalists")

    @property
    def script(self) -> Path:
        """What the probe found out of a training script, where one is tuned."""
        return self.path / "script.json"

    def probe(self, name: str) -> TrialFolder:
        return TrialFolder(self.path / "probe" / name)

    @property
    def put_aside(self) -> Path:
        """Folders of trials whose record was damaged, as ``resume=`` found them."""
        return self.path / "put-aside"

    @property
    def ruled_out(self) -> Path:
        """How much of the space is not worth a trial, by rule."""
        return self.path / "ruled_out.json"

    @property
    def longest_sequence(self) -> Path:
        """What the winner is predicted to need at the longest sequence of its model."""
        return self.path / "longest_sequence.json"

    def export(self, name: str) -> Path:
        """Where the format ``name`` is written unless the user says where."""
        return self.path / "export" / name

    def verification(self, stamp: str) -> RoundsFolder:
        """Of one ``verify``, begun at the time ``stamp``."""
        return RoundsFolder(self.path / f"verify-{stamp}")

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.trials / f"{number:04d}")

    def read_trials(self) -> list[Trial]:
        """Every trial that has ended, by number; what is damaged is left out."""
        return list(_trials(self.trials).values())

    def damaged(self) -> list[Damaged]:
        """Records of trials that cannot be read."""
        return _damaged(self.trials)

    def without_a_record(self) -> list[TrialFolder]:
        """Folders of trials that lost it, or are run again since they did."""
        running = self.unfinished()
        return [f for f in _folders(self.trials) if f.read() is None and f not in running]

    def read_predictions(self) -> dict[int, Prediction]:
        """By trial number, of the trials that have one."""
        found = {}
        for path in self.trials.glob("*/prediction.json"):
            prediction = Prediction.from_json(read_json(path))
            if prediction is not None and path.parent.name.isdecimal():
                found[int(path.parent.name)] = prediction
        return found

    def unfinished(self) -> list[TrialFolder]:
        """Folders of trials that were started and have not ended: they come behind all that have."""
        last = max((trial.number for trial in self.read_trials()), default=-1)
        return [
            f
            for f in _folders(self.trials)
            if int(f.path.name) > last and f.pending.exists() and f.read() is None
        ]


BY_ANOTHER_VERSION = "is by another version of sweeper"


def _folders(place: Path) -> list[TrialFolder]:
    """Those named by a trial's number."""
    return [TrialFolder(path) for path in sorted(place.glob("*")) if path.name.isdecimal()]


def _trials(place: Path) -> dict[int, Trial]:
    found = (folder.read() for folder in _folders(place))
    trials = sorted((t for t in found if isinstance(t, Trial)), key=lambda trial: trial.number)
    return {trial.number: trial for trial in trials}


def _damaged(place: Path) -> list[Damaged]:
    found = (folder.read() for folder in _folders(place))
    return [each for each in found if isinstance(each, Damaged)]


def _in_words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
