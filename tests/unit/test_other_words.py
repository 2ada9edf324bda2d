"""What people call an option is read as that option, where one alone can be meant."""

import pytest

from sweeper.errors import UsageError
from sweeper.hydra_edge.options import known_options
from sweeper.hydra_edge.other_words import OPTIONS, SEVERAL, as_named_here, normal
from sweeper.hydra_edge.typed import in_our_words

READ_AS = {
    "zero=3": "zero=stage3",
    "zero=0": "zero=stage0",
    "zero=stage-3": "zero=stage3",
    "zero=ZeRO-2": "zero=stage2",
    "zero=none": "zero=stage0",
    "zero=1,2,3": "zero=stage1,stage2,stage3",
    "zero=choice(1, 3)": "zero=choice(stage1, stage3)",
    "zero=shuffle(1,2)": "zero=shuffle(stage1,stage2)",
    "zero=sort(choice(2,1),reverse=true)": "zero=sort(choice(stage2,stage1),reverse=true)",
    "++zero=stage3": "zero=stage3",
    "+zero=2": "zero=stage2",
    "zero_stage=2": "zero=stage2",
    "offload=none": "offload=none",
    "offload=false": "offload=none",
    "offload=optimizer+params": "offload=optimizer_and_params",
    "precision=16": "precision=fp16",
    "precision=BF16": "precision=bf16",
    "bf16=true": "precision=bf16",
    "bf16=false": "bf16=false",
    "compile=true": "compile=engine",
    "parallel=tp2": "parallel=tensor2",
    "tensor_parallel=2": "parallel.tensor=2",
    "gradient_checkpointing=true": "checkpointing=full",
    "objective=speed": "objective=throughput",
    "hardware=gpu": "hardware=cuda",
    "+model=GPT-2": "+model=gpt2",
    "+model=meta-llama/Llama-3.1-8B": "+model=hf/llama-3.1-8b",
    "+model=somebody/gpt2": "+model=somebody/gpt2",
    "callbacks=[tb,wandb]": "callbacks=[tensorboard,wandb]",
    "hydra.sweeper=optuna": "hydra/sweeper=optuna",
    "hydra.sweeper.sampler=TPESampler": "hydra/sweeper/sampler=tpe",
    "hydra.sweeper.params.zero=choice(1,2)": "zero=choice(stage1,stage2)",
    "n_trials=3": "hydra.sweeper.n_trials=3",
    # Not words, or not of a group: as they are.
    "zero=glob(stage*)": "zero=glob(stage*)",
    "zero=${mine}": "zero=${mine}",
    "zero=range(1,3)": "zero=range(1,3)",
    "zero.stage=3": "zero.stage=3",
    "script.args='zero=3'": "script.args='zero=3'",
    "~zero": "~zero",
}


@pytest.mark.parametrize(("typed", "named"), READ_AS.items())
def test_a_word_of_one_meaning_is_that_option(typed, named):
    assert named == as_named_here(typed)
    assert named == as_named_here(named)  # twice is once


@pytest.mark.parametrize(
    "typed", ["offload=cpu", "zero=true", "parallel=2", "parallel=tp", "precision=bf16-mixed"]
)
def test_a_word_of_several_meanings_is_refused_with_all_of_them(typed):
    with pytest.raises(UsageError, match=r"; type \S+=\S+, or \S+=\S+") as error:
        as_named_here(typed)
    assert typed in str(error.value)


def test_a_model_need_not_be_added_where_there_is_one():
    assert ["+model=gpt2"] == in_our_words(["model=gpt2"])
    assert ["model=gpt2"] == in_our_words(["model=gpt2"], own_places=True)
    assert ["+model=gpt2", "model=bert-base"] == in_our_words(["+model=gpt2", "model=bert-base"])


def test_the_table_names_options_that_there_are_and_no_word_twice():
    for group, rows in OPTIONS.items():
        words = [word for others in rows.values() for word in others]
        assert {*rows} <= {*known_options(group)}, group
        assert len(words) == len({*words}), group
        assert all(word == normal(word) for word in words), group
        assert not {*words} & {*SEVERAL.get(group, {})}, group
        assert not {*words} & {normal(option) for option in known_options(group)} - {
            *known_options(group)
        }, group
    for group, several in SEVERAL.items():
        for _, options in several.values():
            assert {*options} <= {*known_options(group)}, group
