"""Forecasts against sampling from the prior, and against curves whose future
is known."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation.forecast import (
    cost_of_target,
    fit_forecast,
    forecast_curve,
)

COSTS, VALUES = [50, 100, 200, 400], [0.21, 0.38, 0.49, 0.56]


def prior(count, generator):
    """a, start, c, d and noise as the docstring of fit_forecast says."""
    a = generator.random(count)
    noise = np.exp(generator.uniform(*np.log([0.003, 0.15]), count))
    # uniform in its logarithm so far: made half-normal by its weight
    weight = noise * np.exp(-noise**2 / (2 * 0.03**2))
    c = np.exp(generator.uniform(*np.log([0.1, 3]), count))
    d = generator.choice([0, 0.5, 1, 2, 4, 8], count)
    return a, a * generator.random(count), c, d, noise, weight


def test_the_curves_are_those_of_bayes_rule():
    costs, values = [50, 100, 200], [0.25, 0.29, 0.45]
    a, start, c, d, noise, p = prior(3_000_000, np.random.default_rng(0))
    for cost, value in zip(costs, values):
        curve = a - (a - start) * ((cost / 50 + d) / (1 + d))**-c
        p = p / noise * np.exp(-(value - curve)**2 / (2 * noise**2))
    p /= p.sum()
    assert 1 / (p**2).sum() > 2000  # draws that count
    forecast = fit_forecast(costs, values)

    def compare(truth, mine, tolerance):
        order = np.argsort(truth)
        levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        at = np.searchsorted(np.cumsum(p[order]), levels)
        np.testing.assert_allclose(np.quantile(mine, levels),
                                   truth[order][at], atol=tolerance)

    compare(a, forecast.limits, 0.02)
    compare(np.log(c), np.log(forecast.exponents), 0.1)
    compare(np.log(noise), np.log(forecast.noise), 0.1)
    compare(a - (a - start) * ((16 + d) / (1 + d))**-c,
            forecast.values([800])[:, 0], 0.008)


def test_intervals_hold_as_often_as_they_say():
    """120 curves of 4 to 8 rounds, and rounds at 1.5 and 4 times the cost."""
    generator = np.random.default_rng(1)
    inside = {80: [], 95: []}
    for _ in range(120):
        rounds = generator.integers(4, 9)
        costs = np.arange(1, rounds + 1) * 100.
        a, c = generator.uniform(0.3, 0.95), generator.uniform(0.2, 1.5)
        start, noise = a * generator.uniform(0.2, 0.8), 0.015
        later = costs[-1] * np.array([1.5, 4])
        x = np.append(costs, later)
        measured = (a - (a - start) * (x / 100)**-c +
                    noise * generator.normal(size=len(x))).clip(0, 1)
        truth = measured[rounds:]
        band = forecast_curve(costs, measured[:rounds], later)
        for level, hits in inside.items():
            hits += ((np.array(band[f'low{level}']) <= truth) &
                     (truth <= band[f'high{level}'])).tolist()
    # 240 of them: three standard errors are 8% and 4%
    assert 0.72 < np.mean(inside[80]) < 0.95
    assert 0.91 < np.mean(inside[95])


def test_more_rounds_on_the_curve_narrow_the_interval():
    def width(rounds):
        x = np.geomspace(50, 400, rounds)
        band = forecast_curve(x, 0.7 - 2 * x**-0.5, [1600])
        return band['high95'][0] - band['low95'][0]

    assert width(16) < width(8) < width(4)


def test_a_clean_curve_is_found():
    x = np.geomspace(50, 3200, 12)
    forecast = fit_forecast(x, 0.6 - 3 * x**-0.7)
    assert np.median(forecast.limits) == pytest.approx(0.6, abs=0.005)
    assert np.median(forecast.exponents) == pytest.approx(0.7, abs=0.03)
    assert np.median(forecast.values([12_800])) == pytest.approx(
        0.6 - 3 * 12_800**-0.7, abs=0.004)
    expected = 3 * (3200**-0.7 - 6400**-0.7)
    assert forecast.gain(3200, 6400) == pytest.approx(expected, abs=0.002)


def test_a_weight_counts_as_that_many_rounds():
    twice = fit_forecast([*COSTS, 400, 400], [*VALUES, 0.56, 0.56])
    heavy = fit_forecast(COSTS, VALUES, [1, 1, 1, 3])
    # the same curve; the noise knows of fewer rounds
    assert np.median(twice.values([800])) == pytest.approx(
        np.median(heavy.values([800])), abs=0.005)


def test_runs_and_rounds_may_come_in_any_order_and_unit():
    first = forecast_curve(COSTS, VALUES, [800, 1600])
    again = forecast_curve(COSTS[::-1], VALUES[::-1], [800, 1600])
    hours = forecast_curve(np.array(COSTS) / 500, VALUES, [1.6, 3.2])
    for key in first.keys() - {'x'}:
        assert again[key] == pytest.approx(first[key], abs=1e-9)
        assert hours[key] == pytest.approx(first[key], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0, 1)), min_size=3,
                max_size=12, unique_by=lambda p: p[0]),
       st.floats(1, 50))
def test_intervals_are_nested_whatever_the_rounds(rounds, further):
    x, y = zip(*rounds)
    band = forecast_curve(x, y, [max(x), max(x) * further])
    for i in range(2):
        low95, low80, median, high80, high95 = (
            band[k][i] for k in ('low95', 'low80', 'median', 'high80',
                                 'high95'))
        assert 0 <= low95 <= low80 <= high80 <= high95 <= 1
        assert low95 - 1e-6 <= median <= high95 + 1e-6
    # none of the curves falls
    assert band['median'][0] <= band['median'][1] + 1e-9


def test_the_cost_of_a_target_is_where_the_curve_gets_there():
    x = np.geomspace(50, 3200, 12)
    forecast = fit_forecast(x, 0.6 - 3 * x**-0.7)
    near = cost_of_target(forecast, 0.59)
    assert near.probability > 0.95
    assert near.low < (3 / 0.01)**(1 / 0.7) < near.high
    reached = np.isfinite(forecast.costs_of(0.59))
    values = forecast.values([near.median])[reached]
    assert np.mean(values >= 0.59) == pytest.approx(0.5, abs=0.03)
    never = cost_of_target(forecast, 0.9)
    assert never.probability < 0.01 and never.median == np.inf
    below = cost_of_target(forecast, 0.01)
    assert below.median == below.high == 50


@pytest.mark.parametrize('costs, values, weights, message', [
    ([1, 2], [0.1, 0.2], None, 'needs 3 rounds'),
    ([1, 1, 2, 2], [0.1, 0.2, 0.3, 0.3], None, 'different cost, got 2'),
    ([1, 2, 3], [0.1, 0.2], None, '3 costs, 2 values'),
    ([1, 2, 3], [10, 20, 30], None, 'not in percent'),
    ([1, 2, 3], [0.1, float('nan'), 0.2], None, 'from 0 to 1'),
    ([0, 2, 3], [0.1, 0.2, 0.2], None, 'above 0'),
    ([1, 2, 3], [0.1, 0.2, 0.2], [1, 0, 1], 'weights'),
])
def test_what_is_no_curve_is_named(costs, values, weights, message):
    with pytest.raises(ValueError, match=message):
        fit_forecast(costs, values, weights)


def test_targets_and_costs_out_of_range_are_named():
    with pytest.raises(ValueError, match='between 0 and 1'):
        cost_of_target(fit_forecast(COSTS, VALUES), 50)
    with pytest.raises(ValueError, match='above 0'):
        forecast_curve(COSTS, VALUES, [0])
