"""What people's scripts may write, for mypy alone: never run, and no test collects it."""

from pathlib import Path

import pandas as pd

import sweeper


def of_one_study() -> pd.DataFrame:
    return sweeper.load("results/gpt2")


def of_several() -> pd.DataFrame:
    return sweeper.load("results/gpt2", Path("results") / "llama")


def version() -> str:
    return sweeper.__version__


def mistakes() -> None:
    sweeper.load(7)  # type: ignore[arg-type]
    sweeper.load(study="results/gpt2")  # type: ignore[call-arg]
    sweeper.lode("results/gpt2")  # type: ignore[attr-defined]
