import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation import area_under_curve, cost_needed, saving

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


@st.composite
def curves(draw):
    """Integer costs and values in thousandths, so that ties are likely."""
    n = draw(st.integers(1, 6))
    steps = draw(st.lists(st.integers(1, 40), min_size=n, max_size=n))
    values = draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))
    return np.cumsum(steps), np.array(values) / 20


@settings(deadline=None, max_examples=100)
@given(curves(), st.integers(0, 60))
def test_cost_needed_agrees_with_a_search_from_the_left(curve, target):
    costs, values = curve
    target = target / 60
    # every round is on the grid, so that no peak is missed
    grid = np.arange(costs[0] * 64, costs[-1] * 64 + 1) / 64
    there = grid[np.interp(grid, costs, values) >= target - 1e-12]
    found = cost_needed(costs, values, target)
    assert (found is None) == (not len(there))
    if len(there):
        assert there[0] - 1 / 64 - 1e-6 <= found <= there[0] + 1e-6


@settings(deadline=None, max_examples=50)
@given(curves(), curves())
def test_saving_is_what_both_need_to_where_the_other_ends(ours, other):
    found = saving(ours, other)
    assert found.target == other[1][-1]
    assert found.cost == cost_needed(*ours, found.target)
    assert found.other is not None and found.other <= other[0][-1]
    if found.cost is None:
        assert found.fewer is None and found.percent is None
    else:
        assert found.fewer == found.other - found.cost
        assert found.cost == pytest.approx(
            found.other * (1 - found.percent / 100))
    assert saving(ours, ours).percent == 0


def test_saving_to_a_target_that_one_does_not_reach():
    ours, other = ([1, 2], [.1, .5]), ([1, 3], [.1, .3])
    assert saving(ours, other, .2).percent == pytest.approx(37.5)
    assert saving(other, ours, .2).percent == pytest.approx(-60)
    for found in (saving(ours, other, .4), saving(other, ours, .4)):
        assert None in (found.cost, found.other)
        assert found.fewer is None and found.percent is None


def test_no_share_of_nothing():
    found = saving(([0, 1], [.2, .3]), ([0, 1], [.2, .2]))
    assert (found.fewer, found.percent) == (0, None)


def test_the_other_counts_from_when_it_was_first_there():
    found = saving(([0, 10], [0, 1]), ([0, 10, 20], [0, 1, .5]))
    assert (found.cost, found.other, found.percent) == (5, 5, 0)


# Last rounds of tables 4, 5, 6 and 8 of the ISAL paper: steps (thousands of
# images; SVHN: of the ten; VOC2012: boxes) and values of ISAL, those of the
# other, the value reached, and the saving that section 4 states.
PAPER = {
    'CIFAR10, core-set': ([8, 9], [88.056, 89.264], [9, 10],
                          [88.614, 89.052], None, 12),
    'CIFAR10, random': ([7, 8], [85.958, 88.056], [9, 10],
                        [86.460, 87.290], None, 23),
    'CIFAR100, core-set': ([13, 14], [61.746, 63.378], [13, 14],
                           [61.244, 62.704], None, 2.9),
    'CIFAR100, random': ([12, 13], [59.872, 61.746], [13, 14],
                         [60.214, 61.230], None, 9.3),
    'SVHN, core-set': ([8, 9], [69.448, 71.311], [9, 10],
                       [68.280, 70.824], None, 12),
    'SVHN, random': ([8, 9], [69.448, 71.311], [9, 10],
                     [69.234, 70.402], None, 14),
    'VOC2012, core-set': ([4446, 5616], [.32367, .42], [5736.67, 7292.67],
                          [.38467, .459], .42, 13),
}


@pytest.mark.parametrize('name', PAPER)
def test_savings_are_those_that_the_paper_states(name):
    costs, values, theirs, reached, target, percent = PAPER[name]
    found = saving((costs, values), (theirs, reached), target)
    assert found.percent == pytest.approx(percent, abs=1)
