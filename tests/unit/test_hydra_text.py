"""A text that is written into an override is the one that Hydra reads."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sweeper.core.commands import typed
from sweeper.core.hydra_text import override

NAMES = [
    "plain-1.2/x_y",
    "it's Anna's",
    'say "so"',
    "a, b,c",
    "lr=1e-3 zero=stage2",
    "[draft] {2}",
    "(a) choice(1,2)",
    "back\\slash\\",
    "ends in '",
    "\\'",
    "per$on ${HOME} ${oc.env:HOME}",
    "#1 100% a&b;c|d <e> *?!`~",
    "прогон 研究 تجربة ünïcode",
    "null",
    "007",
    "1e5",
    "true",
    "a:b@c+d",
    "~x",
    " led and trailed ",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_from_the_shell_and_from_hydra_as_it_was(name):
    *_, argument = shlex.split(typed(override("hydra.sweep.dir", name)))
    (parsed,) = OverridesParser.create().parse_overrides([argument])
    assert not parsed.is_sweep_override()
    assert name == OmegaConf.create({"dir": parsed.value()}).dir


def test_a_plain_name_is_typed_without_quotes():
    assert "hydra.sweep.dir=results/gpt2-20261130" == override(
        "hydra.sweep.dir", "results/gpt2-20261130"
    )
