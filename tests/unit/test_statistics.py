import random

import pytest

from sweeper.core.statistics import has_settled, median_absolute_deviation, median_interval


def test_the_median_absolute_deviation_shrugs_off_one_straggler():
    assert 1 == median_absolute_deviation([9, 10, 11, 10, 500, 8, 12])


@pytest.mark.parametrize("count", [6, 9, 15, 30])
def test_the_interval_contains_the_true_median_as_often_as_it_says(count):
    draw = random.Random(count)
    hits = 0
    for _ in range(2000):
        # skewed as step times are; the median of this distribution is 1
        values = [2.0 ** draw.gauss(0, 0.5) for _ in range(count)]
        interval = median_interval(values)
        assert interval.coverage >= 0.95
        hits += interval.low <= 1.0 <= interval.high
    assert hits / 2000 >= 0.94  # 0.95 less three standard deviations of the count


def test_more_values_narrow_the_interval():
    draw = random.Random(1)
    values = [draw.gauss(10, 1) for _ in range(60)]
    widths = [median_interval(values[:n]).relative_half_width for n in (6, 20, 60)]
    assert widths[0] > widths[1] > widths[2]


def test_fewer_than_six_values_say_that_they_do_not_cover_95_percent():
    interval = median_interval([1.0, 3.0, 2.0])
    assert (1.0, 3.0) == (interval.low, interval.high)
    assert pytest.approx(0.75) == interval.coverage


def test_no_values_have_no_interval():
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


@pytest.mark.parametrize(
    ("seconds", "settled"),
    [
        ([], False),
        ([9.0], False),
        ([9.0, 3.0], False),  # still getting faster
        ([9.0, 3.0, 2.9], True),
        ([9.0, 3.0, 4.0], True),  # slower again: noise, the descent has ended
        ([9.0, 3.0, 2.0], False),
    ],
)
def test_warm_up_ends_when_steps_stop_getting_faster(seconds, settled):
    assert settled == has_settled(seconds, within=0.1)
