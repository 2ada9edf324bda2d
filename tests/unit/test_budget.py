import math
from dataclasses import fields

import pytest

from sweeper.errors import UsageError
from sweeper.hydra_edge.budget import budget_of
from sweeper.hydra_edge.schema import OptunaSweeperConf

DEFAULTS = {f.name: f.default for f in fields(OptunaSweeperConf)}
NUMBERS = [n for n, v in DEFAULTS.items() if isinstance(v, int | float) and n[0] != "_"]


def test_the_defaults_are_a_budget():
    budget = budget_of(DEFAULTS)
    assert (DEFAULTS["n_trials"], None, None) == (budget.trials, budget.seconds, budget.patience)
    assert DEFAULTS["max_failure_rate"] == budget.crash_rate


@pytest.mark.parametrize("given", [-1, math.nan, math.inf])
@pytest.mark.parametrize(
    "name", [*(n for n in NUMBERS if n != "resume"), "timeout", "patience", "seed"]
)
def test_a_number_out_of_its_range_is_one_line(name, given):
    with pytest.raises(UsageError) as error:
        budget_of({**DEFAULTS, name: given})
    said = str(error.value)
    assert said.startswith(f"hydra.sweeper.{name}={given}: must be ")
    typed = float(said.rpartition(f"type hydra.sweeper.{name}=")[2])
    budget_of({**DEFAULTS, name: int(typed)})  # what is to be typed is allowed


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("timeout", 0, "must be at least 1; type hydra.sweeper.timeout=1"),
        ("max_failure_rate", 1.5, "must be from 0 to 1; type hydra.sweeper.max_failure_rate=1"),
        ("finalist_rounds", 2, "must be at least 3"),
        ("n_jobs", 2, "disturb each other's timing; type hydra.sweeper.n_jobs=1"),
    ],
)
def test_what_is_allowed_is_said(name, given, said):
    with pytest.raises(UsageError, match=said):
        budget_of({**DEFAULTS, name: given})
