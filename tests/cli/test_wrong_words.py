"""Everything that people mistype: one line each, at once, and the advice in it is taken."""

from __future__ import annotations

import functools
import os
import re
import shlex

import pytest
import yaml

from tests.cli.forked import ForkServer
from tests.recorded import small_study
from tests.support import environment, sweeper_command

MODEL = "+model=gpt2-nano"
STUDY = f"{MODEL} hydra/sweeper=optuna"
MOST_CPU_SECONDS = 2.0

# What stands before the wrong words, the words (one wrong thing a line), by kind.
WRONG = {
    "no model, or none that there is": (
        "",
        """
        +model=gtp2
        +model=
        +model=1
        +model=null
        +model=bert
        +model=llama
        +model=nope/gpt2
        +model={a:1}
        +model=[gpt2]
        +modell=gpt2-nano
        +modle=gpt2
        ~model
        +model
        +gpt2
        gpt2
        gpt2:xl
        model._target_=nope.build
        model._target_=
        model._target_=sweeper.models.gpt2.nope
        model._target_=sweeper.models.nope.build
        """,
    ),
    "options of groups": (
        MODEL,
        """
        zero=9
        zero=stage7
        zero=true
        zero=
        zero=infinity
        zero={a:1}
        zero=[stage1,stage2]
        zero=1.5
        offload=cpu
        offload=1
        offload=true
        offload=gpu
        precision=mixed
        precision=bf16-mixed
        precision=int4
        precision=64
        compile=maybe
        compile=2
        parallel=2
        parallel=tp
        parallel=tp3
        parallel=fsdp
        checkpointing=3
        comm=int8
        optimizer=sgd
        optimizer=1
        measure=slowly
        launch=2
        launch=slurm
        hardware=2
        hardware=tpu
        objective=5
        objective=latency
        workload=big
        batch=8
        callbacks=slack
        'callbacks=[tensorboard,slack]'
        ~zero
        ~checkpointing
        zero@foo=stage1
        """,
    ),
    "settings that there are not": (
        MODEL,
        """
        zero.stag=2
        zero.stage.x=1
        +zero.foo=1
        micro_sizes=2
        batch.micro=2
        foo=1
        +foo=1
        +experiment=mine
        workload.globl_batch_size=4
        measure.step=3
        objective.floor=3
        model.widht=64
        hydra.foo=1
        hydra/foo=1
        hydra/swepeer=optuna
        ds=3
        ~nope
        ~zero.stage
        ~zero.reduce_bucket_size
        resume.me=1
        space=quick
        hydra.sweeper.n_trials=3
        """,
    ),
    "values of settings": (
        MODEL,
        """
        zero.stage=two
        zero.stage=
        zero.stage=7
        zero.stage=1.5
        zero.stage=null
        zero.stage=[1]
        zero.stage={a:1}
        batch.micro_size=abc
        batch.micro_size=0
        batch.micro_size=-1
        batch.micro_size=true
        launch.bind_cores=maybe
        launch.timeout_seconds=inf
        launch.timeout_seconds=soon
        launch.runner=fork
        checkpointing.on_cpu=2
        offload.optimizer_ratio=1.5
        offload.optimizer_ratio=most
        offload.optimizer=disk
        precision.mode=int8
        optimizer.lr=-1
        optimizer.lr=nan
        optimizer.lr=fast
        optimizer.betas=[0.9]
        optimizer.betas=0.9
        optimizer.betas=[2,3]
        optimizer.betas=[a,b]
        optimizer.type=SGD
        hardware.memory_limit=x
        hardware.device_memory=24
        hardware.ranks=0
        workload.seed=-1
        workload.sequence_length=long
        'workload.seed=${nope}'
        'workload.seed=${oc.env:NO_SUCH_VARIABLE}'
        'workload.seed=${nope:1}'
        'workload.seed=${zero'
        measure.min_steps=50
        measure.min_warmup_steps=9
        ds.train_batch_size=7
        ds.gradient_accumulation_steps=2
        ds.zero_optimization=3
        ds.fp16=true
        model.layers=0
        model.layers=many
        model.heads=1.5
        +model.layers=3
        +zero.stage=1
        hydra.job.env_set={A:1}
        hydra.mode=NONSENSE
        hydra.run.dir=
        hydra.run=results/x
        hydra.job=3
        hydra.job.chdir=maybe
        """,
    ),
    "words that are no name=value": (
        MODEL,
        """
        =
        =stage3
        +=1
        zero
        stage3
        zero:stage3
        zero..stage=1
        .=1
        'zero stage=1'
        zero=stage3,
        'zero="stage3'
        'zero=(stage3)'
        zero==stage3
        'zero.stage==3'
        'batch.micro_size=2)'
        'batch.micro_size=1 2'
        """,
    ),
    "flags": (
        MODEL,
        """
        --nonsense
        -x
        -V1
        --zero=stage3
        --zero stage3
        --zero-stage 3
        --bf16
        --lr 1e-3
        --num_gpus 2
        --config-name=nope
        --config-dir=nope
        --config-path=nope
        --cfg nonsense
        --cfg
        --info nonsense
        --cfg job --package nope
        --cfg job -p zero.nope
        --package
        -p zero
        --resolve
        -m -r
        --cfg job --multirun
        --experimental-rerun=nope
        --multrun
        """,
    ),
    "search expressions": (
        STUDY,
        """
        'zero=choice(stage1,stage9)'
        'zero=choice(stage1,7)'
        'zero=range(1,3)'
        'zero=interval(0,3)'
        'batch.micro_size=choice(1,2'
        'zero=glob(nix*)'
        'batch.micro_size=choice(1,2),4'
        'batch.micro_size=choice(1,a)'
        'batch.micro_size=choice(0,1)'
        'batch.micro_size=choise(1,2)'
        'batch.micro_size=range(4,0)'
        'batch.micro_size=range(4,4)'
        'batch.micro_size=range(0.5,2.5,0.5)'
        'batch.micro_size=interval(8,1)'
        'batch.micro_size=interval(3,3)'
        'batch.micro_size=interval(1.2,1.8)'
        'batch.micro_size=tag(log,interval(0,8))'
        'batch.micro_size=glob(*)'
        'launch.omp_threads=choice(null,2)'
        'zero.stage=range(1,9)'
        'zero.stage=choice(1,9)'
        'offload.optimizer_ratio=tag(log,interval(0,1))'
        'offload.optimizer_ratio=interval(0,2)'
        'optimizer.betas=choice(1,2)'
        """,
    ),
    "a search without what searches": (
        MODEL,
        """
        zero=stage1,stage2
        'batch.micro_size=choice(1,2)'
        """,
    ),
    "options of the sweeper": (
        STUDY,
        """
        hydra.sweeper.n_trails=3
        +hydra.sweeper.n_trails=3
        hydra.sweeper.n_trials=abc
        hydra.sweeper.n_trials=0
        hydra.sweeper.n_trials=1.5
        hydra.sweeper.n_trials=null
        hydra.sweeper.n_trials=[1]
        hydra.sweeper.n_trials={a:1}
        hydra.sweeper.n_trials=1,2
        hydra.sweeper.n_jobs=2
        hydra.sweeper.timeout=inf
        hydra.sweeper.timeout=nan
        hydra.sweeper.timeout=-1
        hydra.sweeper.timeout=1h
        hydra.sweeper.patience=0
        hydra.sweeper.seed=-1
        hydra.sweeper.seed=99999999999
        hydra.sweeper.finalists=-1
        hydra.sweeper.finalist_rounds=1
        hydra.sweeper.max_failure_rate=1.5
        hydra.sweeper.max_failure_rate=half
        hydra.sweeper.resume=maybe
        hydra.sweeper.direction=minimize
        hydra.sweeper.direction=sideways
        hydra.sweeper.storage=nonsense
        hydra.sweeper.storage=journal:
        hydra.sweeper.storage=journal:/nowhere/x.log
        hydra.sweeper.warm_start=nowhere
        hydra.sweeper.custom_search_space=nope
        hydra.sweeper.sampler._target_=nope
        hydra.sweeper.params=3
        'hydra.sweeper.params=[zero]'
        'hydra.sweeper.search_space={a:1}'
        'hydra.sweeper.params.zero=choice(stage1,stage9)'
        'hydra.sweeper.params.batch.micro_size=interval(8,1)'
        hydra/sweeper/sampler=tpee
        hydra/sweeper/sampler=[tpe]
        hydra/sweeper/sampler=tpe,random
        hydra/launcher=nope
        hydra.launcher=nope
        hydra.sweep.dir=
        hydra.sweep=results/x
        space=quik
        space=3
        """,
    ),
    "the sweeper itself": (
        MODEL,
        """
        hydra/sweeper=opuna
        hydra/sweeper=1
        hydra/sweeper=optuna,basic
        hydra.sweeper=3
        """,
    ),
    "what goes on with a study": (
        "",
        """
        resume=
        resume=nowhere
        resume=/etc/passwd
        +resume=nowhere
        resume=nowhere zero=3
        resume=results/mine resume=results/another
        """,
    ),
    "verbs": (
        "",
        """
        reprot
        reports
        exprot
        verfiy
        docter
        sweep
        version 2
        help nope
        report
        report nowhere
        report nowhere elsewhere
        report --nope
        report . --output
        report . --output x.html
        export
        export nowhere
        export a b
        export . --formt hf
        export . --to
        export . --format
        verify
        verify nowhere
        verify a b
        verify --again
        doctor --nope
        doctor now
        doctor --accelerator tpu
        doctor --accelerator
        doctor --hostfile
        """,
    ),
    "explain": (
        "explain +model=gpt2-nano",
        """
        zero=9
        offload=cpu
        zero=
        zero.stag=2
        nope=1
        stage3
        =
        --cfg
        'batch.micro_size=choice(1,2)'
        zero=stage1,stage2
        batch.micro_size=0
        hardware.device_memory=24
        resume=nowhere
        space=quick
        'batch.micro_size=range(3,1)'
        ~zero
        """,
    ),
}
_ALL = [
    (kind, before, line.strip())
    for kind, (before, lines) in WRONG.items()
    for line in lines.strip().splitlines()
]
# Two of three in every run, all with the slow ones.
LINES = [
    pytest.param(
        shlex.split(before),
        shlex.split(line),
        id=f"{kind}: {before} {line}",
        marks=[pytest.mark.slow] if number % 3 == 2 else [],
    )
    for number, (kind, before, line) in enumerate(_ALL)
]
# A sample of each kind of refusal, with the start of an interpreter.
THROUGH_THE_COMMAND = [
    f"{MODEL} zero=9",
    f"{MODEL} launch.bind_cores=maybe",
    f"{MODEL} --nonsense",
    f"{STUDY} 'batch.micro_size=choice(1,2),4'",
    f"{STUDY} hydra.sweeper.direction=sideways",
    f"{MODEL} hydra.mode=NONSENSE",
    "resume=nowhere",
    "report nowhere",
]
_SCRIPT = "+script=train.py"
_NO_FOLDER = "/proc/nowhere"
_ENDS_ADVICE = ("or", "and", "for", "to", "with", "alone", "too", "again", "once")


def advice_in(line: str) -> tuple[list[str], bool]:
    """The words behind the last "type" of a line, and whether they are to be typed beside what is there."""
    behind = re.split(r"(?:^|\W)type (?:for example )?", line)[-1]
    words: list[str] = []
    for word in shlex.split(behind):
        plain = word.rstrip(",;")
        if plain in _ENDS_ADVICE:
            return words, plain == "too"
        words.append(plain)
        if plain != word:
            break
    return words, False


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Where ``results/<study>`` is, and ``results/<another>``."""
    place = tmp_path_factory.mktemp("words")
    for name in ("mine", "another"):
        folder = small_study(place / "results" / name)
        document = yaml.safe_load(folder.study.read_text())
        folder.study.write_text(yaml.safe_dump({**document, "arguments": shlex.split(STUDY)}))
    (place / "train.py").write_text("import deepspeed\n")
    (place / "hostfile").write_text("localhost slots=1\n")
    return place


@pytest.fixture(scope="module")
def server():
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def accepted(server, study):
    """Whether a command line gets past all that looks at words: each is tried once, and trains nothing."""

    @functools.cache
    def accepted(*arguments: str) -> str:
        first = arguments[0]
        settings = [a for a in arguments if not a.startswith("-")]
        if first == "doctor":
            finished = server.run(*arguments[1:], cwd=study, through="parse")
        elif first == "explain":
            finished = server.run(*arguments[1:], cwd=study, through="explain")
        elif first == "verify":  # it measures
            return "" if list(arguments[1:]) == ["results/mine"] else "no study is named"
        elif first.startswith("resume="):
            finished = server.run(*arguments, cwd=study, through="resume")
        elif _SCRIPT in arguments and "--cfg" not in arguments:
            finished = server.run(*arguments, cwd=study, through="script")
        elif "=" not in first or {"--cfg", "--info", "--help", "--hydra-help", "--version"} & {
            *arguments
        }:
            finished = server.run(*arguments, cwd=study)
        elif {"--multirun", "-m", "hydra/sweeper=optuna"} & {*arguments}:
            if any("hydra.sweep.dir" in a for a in arguments):
                finished = server.run(*arguments, "--cfg", "hydra", cwd=study)
            else:
                more = [f"hydra.sweep.dir={_NO_FOLDER}"]
                if "hydra/sweeper=optuna" in arguments and not any(
                    "space=" in a for a in arguments
                ):
                    more.append("space=none")
                finished = server.run(*arguments, *more, cwd=study)
                if f"{_NO_FOLDER}: no folder can be made there" in finished.stderr:
                    return ""
        elif settings != list(arguments):
            finished = server.run(*arguments, "--cfg", "job", cwd=study)
        else:
            finished = server.run(*arguments, cwd=study, through="explain")
        return "" if finished.exit_code == 0 else finished.stderr

    return accepted


@pytest.mark.parametrize(("before", "wrong"), LINES)
def test_what_is_wrong_is_one_line_at_once_and_its_advice_is_taken(
    server, study, accepted, before, wrong
):
    finished = server.run(*before, *wrong, cwd=study)
    assert 2 == finished.exit_code, finished.stderr
    assert "" == finished.stdout
    *notes, line = finished.stderr.strip().splitlines()
    assert all(note.startswith("note: ") for note in notes), finished.stderr
    assert line.startswith("sweeper: ")
    assert "Traceback" not in line
    assert finished.cpu_seconds < MOST_CPU_SECONDS
    advice, beside = advice_in(line.replace("<study>", "mine").replace("<another>", "another"))
    if advice[:3] == ["python", "-m", "sweeper"]:
        typed = advice[3:]
    else:
        typed = [*before, *(wrong if beside else ()), *advice]
    assert advice
    assert "" == accepted(*typed), line


@pytest.mark.parametrize("line", THROUGH_THE_COMMAND)
def test_the_command_itself_is_as_quick(study, line):
    arguments = sweeper_command(*shlex.split(line))
    process = os.posix_spawn(
        arguments[0],
        arguments,
        environment(),
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(process, 0)
    assert 2 == os.waitstatus_to_exitcode(status)
    assert used.ru_utime + used.ru_stime < MOST_CPU_SECONDS


@pytest.mark.parametrize("more", ["", " precision=16", " 'script.args=a,b ${x}'"])
def test_a_script_gets_past_all_that_looks_at_words(accepted, more):
    line = f"{_SCRIPT} hydra/sweeper=optuna --cfg job{more}"
    assert "" == accepted(*shlex.split(line))


def test_there_are_lines_enough_of_every_kind():
    assert len(LINES) >= 150
