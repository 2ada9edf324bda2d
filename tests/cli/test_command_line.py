"""The literal command: its errors, and Hydra's own flags."""

import errno
import json
import os
import subprocess
import sys

import pytest

from sweeper import __version__, cli
from sweeper.cli import VERBS, with_mode
from sweeper.core.settings import setting_names
from sweeper.hydra_edge.completion import answer
from tests.support import ROOT, environment, run_sweeper, sweeper_command

STUDY = ("+model=gpt2-nano", "hydra/sweeper=optuna")

ERRORS = [
    # (arguments, said, allowed or what to type)
    ((), "no model was given", "type +model=gpt2"),
    (("hydra/sweeper=optuna",), "no model was given", "type +model=gpt2"),
    (("-m", "zero=stage1,stage2"), "no model was given", "type +model=gpt2"),
    (("+model=gtp2",), "there is no model gtp2", "type +model=gpt2"),
    (("+modle=gpt2",), "there is no setting modle", "type +model=gpt2"),
    (("+model=gpt2", "zero=stage7"), "zero=stage7: allowed are stage0", "type zero=stage"),
    (("+model=gpt2", "zero.stag=2"), "there is no setting zero.stag", "type zero.stage="),
    (("+model=gpt2", "foo=1"), "there is no setting foo", "allowed are"),
    (("+model=gpt2", "+foo=1"), "there is no setting foo", "allowed are"),
    (("+model=gpt2", "batch.micro_size=abc"), "batch.micro_size=abc", "a whole number"),
    (("+model=gpt2", "model.width=abc"), "model.width=abc", "a whole number"),
    (
        ("+model=gpt2", "model.widht=64"),
        "build takes no widht; allowed are layers, width",
        "type model.width=",
    ),
    (("+model=gpt2", "zero.stage=7"), "zero.stage=7: allowed are 0, 1, 2, 3", "type zero.stage=0"),
    (("+model=gpt2", "hardware.memory_limit=x"), "hardware.memory_limit=x", "8GiB"),
    (
        ("+model=gpt2", "batch.micro_size=choice(1,2"),
        "choice(1,2 does not parse",
        "type 'batch.micro_size=choice(1,2)'",
    ),
    (
        ("+model=gpt2", "batch.micro_size=choice(1,2)"),
        "no sweeper was chosen",
        "hydra/sweeper=optuna",
    ),
    (("+model=gpt2", "space=quick"), "space=quick", "type hydra/sweeper=optuna"),
    ((*STUDY, "batch.micro_size=choice(1,a)"), "batch.micro_size=", "a whole number"),
    ((*STUDY, "batch.micro_size=choise(1,2)"), "Unknown function 'choise'", "choice"),
    (
        (*STUDY, "zero.stage=choice(1,9)"),
        "zero.stage=9: allowed are 0, 1, 2, 3",
        "type zero.stage=",
    ),
    ((*STUDY, "zero=choice(stage1,stage9)"), "stage9): allowed are stage0", "type zero=stage"),
    ((*STUDY, "space=nosuch"), "space=nosuch: allowed are full, memory, none", "type space="),
    ((*STUDY, "hydra.sweeper.n_trails=3"), "hydra.sweeper.n_trails=3", "hydra.sweeper.n_trials=3"),
    ((*STUDY, "hydra.sweeper.n_trials=abc"), "hydra.sweeper.n_trials=abc", "a whole number"),
    ((*STUDY, "hydra.sweeper.n_trials=0"), "hydra.sweeper.n_trials=0", "at least 1"),
    ((*STUDY, "hydra.sweeper.n_jobs=2"), "hydra.sweeper.n_jobs=2", "type hydra.sweeper.n_jobs=1"),
    (
        (*STUDY, "hydra.sweeper.direction=minimize"),
        "objective=throughput is in tokens/s",
        "type hydra.sweeper.direction=maximize",
    ),
    (
        (*STUDY, "objective=cost"),
        "needs the price of a device",
        "type objective.price_per_device_hour=2.5",
    ),
    ((*STUDY, "objective.floor=3"), "objective.floor", "type"),
    (
        ("+model=gpt2-nano,gpt2", "hydra/sweeper=optuna"),
        "+model=gpt2-nano,gpt2: every candidate of a study does the same work",
        "start a study for each",
    ),
    (
        (*STUDY, "workload.sequence_length=choice(32,64)"),
        "workload.sequence_length=32,64: every candidate of a study does the same work",
        "type one value",
    ),
    (("+model=gpt2-nano", "model.layers=0"), "model.layers=0: must be at least 1", "type model"),
    (("+model=hf",), "model.config is missing", "model.config=path/to/config.json"),
    (("+model=hf/gpt2", "model.override.foo=3"), "gpt2 has no foo", "docs/models-hf.md"),
    ((*STUDY, "hydra.sweeper.finalists=-1"), "hydra.sweeper.finalists=-1", "at least 0"),
    ((*STUDY, "hydra.sweeper.patience=0"), "hydra.sweeper.patience=0", "at least 1"),
    ((*STUDY, "hydra.sweeper.timeout=-1"), "hydra.sweeper.timeout=-1", "at least 1"),
    (
        (*STUDY, "hydra.sweeper.max_failure_rate=-1"),
        "hydra.sweeper.max_failure_rate=-1",
        "must be from 0 to 1",
    ),
    (
        (*STUDY, "hydra.sweeper.warm_start=nowhere"),
        "there is no trial in this folder",
        "type hydra.sweeper.warm_start=results/<study>",
    ),
    ((*STUDY, "hydra/sweeper/sampler=x"), "hydra/sweeper/sampler=x: allowed are", "type"),
    # A mistake beside an expression is that mistake.
    ((*STUDY, "zero=stage1,stage2", "workload.globl=4"), "no setting workload.globl", "type"),
    ((*STUDY, "zero=stage1,stage2", "precision=int4"), "precision=int4: allowed are", "type"),
    (("+model=gpt2", "~checkpointing"), "every training has a checkpointing", "checkpointing=none"),
    ((*STUDY, "~zero.reduce_bucket_size"), "a setting has a value", "zero.reduce_bucket_size=null"),
    (
        ("-m", *STUDY, "hydra.sweep.subdir=${hydra.job.override_dirname}"),
        "trials lie in trials/<number>",
        "hydra.sweep.dir=",
    ),
    (
        ("-m", "+model=gpt2-nano", "zero=stage0,stage1", "hydra.sweep.subdir=${hydra.job.num}"),
        "trials lie in trials/<number>",
        "hydra.sweep.dir=",
    ),
    ((*STUDY, "zero=glob(nix*)"), "no option of zero matches", "choice(stage0,stage1)"),
    ((*STUDY, "+hydra.sweeper.n_trails=3"), "hydra.sweeper.n_trails=3", "hydra.sweeper.n_trials=3"),
    (
        (*STUDY, "hydra.sweeper.search_space={a:1}"),
        "the old name of hydra.sweeper.params",
        "choice(",
    ),
    (("+model=gpt2", "hydra.sweeper.n_trials=3"), "an option of a study", "hydra/sweeper=optuna"),
    (
        (*STUDY, "space=none", "hydra.sweeper.sampler.n_ei_candidates=3", "zero=stage0,stage1"),
        "the sampler guided takes a seed alone",
        "hydra/sweeper/sampler=tpe",
    ),
    (
        (*STUDY, "offload.optimizer_ratio=tag(log,interval(0,1))"),
        "a logarithm begins above 0",
        "tag(log,interval(0.001,1))",
    ),
    ((*STUDY, "zero.stage=range(1,9)"), "zero.stage=8: allowed are 0, 1, 2, 3", "type zero.stage="),
    (
        (*STUDY, "+hydra.sweeper.params={script.args: 'choice(a,b)'}"),
        "script.args=a,b: every candidate of a study does the same work",
        "start a study for each",
    ),
    (
        (*STUDY, "script.path=choice(a.py,b.py)"),
        "every candidate of a study runs the same script",
        "type one value",
    ),
    ((*STUDY, "hydra.sweeper.storage=journal:/nowhere/x.log"), "/nowhere is no folder", "type"),
    (("reprot", "x"), "there is no command reprot", "type python -m sweeper report"),
    (("exprot", "x"), "there is no command exprot", "type python -m sweeper export"),
    (("report",), "one study's folder is wanted", "type python -m sweeper report"),
    (("report", "nowhere"), "there is no study in this folder", "type python -m sweeper report"),
]


@pytest.mark.parametrize(
    ("arguments", "said", "hint"), ERRORS, ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_a_mistake_is_one_line_that_says_what_was_given_and_what_to_type(
    tmp_path, arguments, said, hint
):
    finished = run_sweeper(*arguments, cwd=tmp_path)
    assert 2 == finished.returncode, finished.stderr
    assert 1 == len(finished.stderr.strip().splitlines()), finished.stderr
    assert said in finished.stderr
    assert hint in finished.stderr
    assert "" == finished.stdout
    assert [] == list(tmp_path.iterdir())  # nothing is littered


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "results/x/study.yaml")

    monkeypatch.setattr(cli, "_hydra", full)
    monkeypatch.setattr(sys, "argv", ["sweeper", "+model=gpt2"])
    with pytest.raises(SystemExit, match="4"):
        cli.main()
    assert "the disk is full: results/x/study.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EISDIR])
def test_a_file_that_may_not_be_written_is_one_line(monkeypatch, capsys, number):
    def refused(*_):
        raise OSError(number, os.strerror(number), "results/x/report.md")

    monkeypatch.setattr(cli, "_hydra", refused)
    monkeypatch.setattr(sys, "argv", ["sweeper", "+model=gpt2"])
    with pytest.raises(SystemExit, match="4"):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"sweeper: results/x/report.md: {os.strerror(number)}; allow it, or type" in line


def test_a_file_that_is_missing_is_a_mistake_of_ours(monkeypatch):
    def missing(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file", "sweeper/assets/report.css")

    monkeypatch.setattr(cli, "_hydra", missing)
    monkeypatch.setattr(sys, "argv", ["sweeper", "+model=gpt2"])
    with pytest.raises(FileNotFoundError):
        cli.main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hydra.sweep.dir=/proc/x",), "/proc/x: no folder can be made there"),
        (
            ("workload.tokens_file='${oc.env:NOPE}'",),
            "workload.tokens_file: \"Environment variable 'NOPE' not found\"; type workload",
        ),
    ],
)
def test_a_study_that_cannot_begin_is_one_line(tmp_path, arguments, said):
    finished = run_sweeper(*STUDY, *arguments, cwd=tmp_path)
    assert 2 == finished.returncode, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert said in line


def test_a_study_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.yaml").write_text("study_name: mine\n")
    finished = run_sweeper(*STUDY, "hydra.sweep.dir=mine", cwd=tmp_path)
    assert 2 == finished.returncode
    assert "there is a study in this folder" in finished.stderr
    assert ["study.yaml"] == [path.name for path in (tmp_path / "mine").iterdir()]


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("+model=gpt2", "batch.micro_size=abc"), (), ("+model=gpt2", "--cfg", "job")],
)
def test_an_answer_that_runs_nothing_imports_nothing_heavy(tmp_path, arguments):
    code = (
        "import sys, json\n"
        "from sweeper.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'deepspeed', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "open('heavy.json', 'w').write(json.dumps(sorted(heavy)))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert [] == json.loads((tmp_path / "heavy.json").read_text())


def test_help_shows_the_commands_the_groups_and_the_settings(tmp_path):
    finished = run_sweeper("--help", cwd=tmp_path)
    assert 0 == finished.returncode
    for part in ("hydra/sweeper=optuna", "model: bert-base", "zero: stage0", "batch.micro_size=1 "):
        assert part in finished.stdout
    assert "$" not in finished.stdout


def test_help_says_of_each_setting_its_value_meaning_and_what_is_allowed(tmp_path):
    shown = run_sweeper("zero=stage2", "--help", cwd=tmp_path).stdout
    listed = shown.partition("== Settings")[2].partition("\n")[2].partition("model.<argument>")[0]
    assert all(len(line) <= 100 for line in listed.splitlines())
    words = " ".join(listed.split())
    for name, about in setting_names().items():
        assert f"{name}=" in listed
        assert about["help"] in words
    for part in (
        "zero.stage=2 what ZeRO shards",  # the group that was typed
        "[0, 1, 2, 3]",
        "[0 to 1]",
        "large saves calls; [at least 1]; null is DeepSpeed's own, 500_000_000",
        "launch.bind_cores=false give each rank cores of its own; [true, false]",
    ):
        assert part in words


def test_cfg_job_shows_the_composed_configuration(tmp_path):
    finished = run_sweeper("+model=gpt2", "zero=stage2", "--cfg", "job", cwd=tmp_path)
    assert 0 == finished.returncode
    assert "stage: 2" in finished.stdout
    assert "layers: 12" in finished.stdout


def test_info_shows_how_it_was_composed(tmp_path):
    finished = run_sweeper("+model=gpt2", "--info", "defaults", cwd=tmp_path)
    assert 0 == finished.returncode
    assert "workload/cpu" in finished.stdout


def test_a_gpus_workload_and_precision_come_with_it_and_can_be_overridden(tmp_path):
    own = run_sweeper("+model=gpt2", "hardware=cuda", "--cfg", "job", cwd=tmp_path).stdout
    assert "sequence_length: 1024" in own
    assert "mode: bf16" in own
    typed = run_sweeper(
        "+model=gpt2", "hardware=cuda", "workload=cpu", "--cfg", "job", cwd=tmp_path
    ).stdout
    assert "sequence_length: 32" in typed


def test_a_space_on_the_command_line_adds_to_the_one_in_yaml(tmp_path):
    finished = run_sweeper(
        *STUDY, "space=quick", "--cfg", "hydra", "-p", "hydra.sweeper", cwd=tmp_path
    )
    assert "zero: choice(stage0,stage1,stage2,stage3)" in finished.stdout
    assert "n_trials: 8" in finished.stdout


def test_tab_completion_answers_for_the_installed_command(tmp_path):
    finished = run_sweeper(
        "-sc", "query=bash", cwd=tmp_path, COMP_LINE="sweeper zero=", COMP_POINT="13"
    )
    assert "zero=stage3" in finished.stdout


@pytest.mark.parametrize(
    ("overrides", "has_command", "added"),
    [
        (["hydra/sweeper=optuna"], False, True),
        (["hydra/sweeper=deepspeed", "a=1"], False, True),
        (["hydra/sweeper=basic"], False, False),
        (["hydra/sweeper=optuna"], True, False),
        (["hydra/sweeper=optuna", "hydra.mode=RUN"], False, False),
        (["a=1"], False, False),
    ],
)
def test_multirun_is_chosen_where_a_sweeper_is(overrides, has_command, added):
    assert added == (with_mode(overrides, has_command=has_command) == ["--multirun"])


@pytest.mark.parametrize("word", ["version", "--version", "-V"])
def test_the_version_is_the_sweepers_own(tmp_path, word):
    finished = run_sweeper(word, cwd=tmp_path)
    assert (0, f"sweeper {__version__}\n") == (finished.returncode, finished.stdout)


@pytest.mark.parametrize("arguments", [("--help",), ("help", "export"), ("export", "--help")])
def test_who_no_longer_reads_is_told_nothing(tmp_path, arguments):
    script = 'set -o pipefail; "$@" | true'
    finished = subprocess.run(
        ["bash", "-c", script, "bash", *sweeper_command(*arguments)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "" == finished.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sweeper exp", ["explain", "export"]),
        ("python -m sweeper rep", ["report"]),
        ("sweeper report res", ["results/"]),
        ("sweeper report results/", ["results/mine"]),
        ("sweeper export results/mine --f", ["--format", "--force"]),
        ("sweeper resume=results/m", ["resume=results/mine"]),
        ("sweeper +model=gpt2 zero=st", None),
        ("sweeper verify nowhere", []),
    ],
)
def test_verbs_and_studies_are_completed(tmp_path, monkeypatch, line, words):
    (tmp_path / "results" / "mine" / "trials").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMP_LINE", line)
    assert words == answer(VERBS)


def test_behind_explain_hydra_completes_without_the_verb(monkeypatch):
    monkeypatch.setenv("COMP_LINE", "sweeper explain +model=gpt2 zero=")
    assert answer(VERBS) is None
    assert "sweeper +model=gpt2 zero=" == os.environ["COMP_LINE"]


def test_tab_completion_behind_a_verb_writes_nothing_into_the_prompt(tmp_path):
    finished = run_sweeper(
        *("-sc", "query=bash"), cwd=tmp_path, COMP_LINE="sweeper report res", COMP_POINT="18"
    )
    assert (0, "\n", "") == (finished.returncode, finished.stdout, finished.stderr)


def test_the_full_traceback_is_there_for_who_asks(tmp_path):
    finished = run_sweeper("+model=gtp2", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in finished.stderr


def test_the_readme_shows_commands_that_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("make sweep MODEL=gpt2", "make test"):
        assert command in readme
        assert f"\n{command.split()[1]}:" in makefile
