import pytest

from sweeper.core.quantities import format_bytes, format_rate, parse_bytes
from sweeper.core.settings import setting_names, settings_from_mapping
from sweeper.errors import UsageError
from tests.support import nano, nano_config


def test_every_setting_has_a_dotted_name_and_a_meaning():
    names = setting_names()
    assert {"zero.stage", "batch.micro_size", "hardware.memory_limit"} <= set(names)
    assert all(metadata["help"] for metadata in names.values())


def test_settings_flatten_to_what_is_typed():
    flat = nano(**{"zero.stage": 2}).flat()
    assert flat["zero.stage"] == 2
    assert flat["model.layers"] == 2
    assert set(setting_names()) <= set(flat)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("zero.stage", 7, "zero.stage=7: allowed are 0, 1, 2, 3"),
        ("batch.micro_size", 0, "batch.micro_size=0: must be at least 1"),
        ("precision.mode", "fp8", "precision.mode=fp8: allowed are fp32, bf16, fp16"),
        ("hardware.memory_limit", "lots", "hardware.memory_limit=lots: not a size"),
        ("hardware.device_memory", "big", "hardware.device_memory=big: not a size"),
        ("optimizer.lr", -1.0, "optimizer.lr=-1.0: must be at least 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(name, value, said):
    with pytest.raises(UsageError, match="type ") as error:
        settings_from_mapping(nano_config(**{name: value}))
    assert str(error.value).startswith(said)


def test_a_key_that_is_no_setting_is_refused_because_it_would_be_believed_to_act():
    with pytest.raises(UsageError, match=r"there is no setting zeros; .* type python"):
        settings_from_mapping({**nano_config(), "zeros": {"stage": 3}})


def test_a_model_without_a_factory_is_refused():
    with pytest.raises(UsageError, match="_target_"):
        settings_from_mapping({**nano_config(), "model": {"layers": 2}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8589934592", 8 * 2**30),
        ("8GiB", 8 * 2**30),
        ("1.5 MB", 1_500_000),
        ("2g", None),
        ("2048kib", 2 * 2**20),
    ],
)
def test_sizes_are_read_as_people_write_them(text, expected):
    if expected is None:
        with pytest.raises(UsageError, match="not a size"):
            parse_bytes(text, setting="x")
    else:
        assert expected == parse_bytes(text, setting="x")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("24", "24GiB"), ("24.5", "24.5GiB"), ("8192", "8192MiB"), ("24KiB", "8GiB")],
)
def test_a_size_in_which_nothing_trains_lacks_its_unit(text, meant):
    with pytest.raises(UsageError, match=rf"x={text}: is .* bytes.* 1MiB.* type .* x={meant}$"):
        parse_bytes(text, setting="x")


def test_numbers_are_shown_with_four_digits():
    assert format_rate(15318.4) == "15,320"
    assert format_rate(87.694) == "87.69"
    assert format_bytes(3 * 2**29) == "1.50 GiB"
