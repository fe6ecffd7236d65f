import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation import area_under_curve, cost_needed

COSTS = [100, 200, 400]
VALUES = [0.1, 0.3, 0.2]


def test_area_by_hand():
    # 100 wide at 0.2 on average, 200 wide at 0.25
    assert area_under_curve(COSTS, VALUES) == pytest.approx(70 / 300)


def test_area_of_an_interval_cuts_the_segments():
    # 150..200 at 0.25 on average, 200..300 at 0.275
    area = area_under_curve(COSTS, VALUES, low=150, high=300)
    assert area == pytest.approx((50 * 0.25 + 100 * 0.275) / 150)


def test_area_of_one_round_and_of_no_width():
    assert area_under_curve([5], [0.4]) == 0.4
    assert area_under_curve(COSTS, VALUES, 150, 150) == pytest.approx(0.2)


def test_area_with_rounds_that_cost_nothing():
    costs, values = [100, 100, 200, 200], [0.1, 0.3, 0.3, 0.9]
    assert area_under_curve(costs, values) == pytest.approx(0.3)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_area_agrees_with_a_fine_grid(data):
    n = data.draw(st.integers(2, 6))
    steps = data.draw(
        st.lists(st.integers(1, 50), min_size=n, max_size=n))
    values = data.draw(
        st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n))
    costs = np.cumsum(steps)
    # midpoints of a grid with a node at every integer are exact
    mid = np.arange(costs[0], costs[-1]) + 0.5
    expected = np.interp(mid, costs, values).mean()
    assert area_under_curve(costs, values) == pytest.approx(
        expected, abs=1e-9)


@pytest.mark.parametrize('costs, values, message', [
    ([], [], 'at least one'),
    ([1, 2], [0.1], 'as many costs'),
    ([2, 1], [0.1, 0.2], 'fall'),
    ([1, 2], [0.1, float('nan')], 'NaN'),
])
def test_bad_curves_are_named(costs, values, message):
    with pytest.raises(ValueError, match=message):
        area_under_curve(costs, values)
    with pytest.raises(ValueError, match=message):
        cost_needed(costs, values, 0.1)


def test_interval_outside_is_refused():
    with pytest.raises(ValueError, match='not inside'):
        area_under_curve(COSTS, VALUES, high=401)
    with pytest.raises(ValueError, match='not inside'):
        area_under_curve(COSTS, VALUES, low=99)


@pytest.mark.parametrize('target, cost', [
    (0.05, 100), (0.1, 100), (0.15, 125), (0.3, 200), (0.31, None)
])
def test_cost_needed(target, cost):
    assert cost_needed(COSTS, VALUES, target) == (
        None if cost is None else pytest.approx(cost))


def test_cost_needed_is_the_first_crossing():
    assert cost_needed([0, 10, 20, 30], [0, .4, 0, .4], .2) == 5
