from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool.budget import (
    BUDGETS,
    BoxBudget,
    ImageBudget,
    SecondsBudget,
    build_budget,
)
from mmal.pool.costs import PER_BOX, PER_IMAGE, CostModel


class Counts:
    """An oracle with a given number of boxes for each id."""
    knows_counts = True
    name = 'Counts'

    def __init__(self, counts):
        self.counts = dict(counts)

    def count_boxes(self, ids):
        return np.array([self.counts[i] for i in ids], dtype=np.int64)


def watched(order, drawn):
    """An order that notes what is drawn from it."""
    for image in order:
        drawn.append(image)
        yield image


def _brute(order, counts, size):
    """The longest prefix that fits, by looking at all."""
    sums = [0, *accumulate(counts[i] for i in order)]
    return max([1, *(n for n, s in enumerate(sums) if s <= size)])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=120),
       st.integers(1, 300), st.randoms(use_true_random=False))
def test_boxes_take_the_longest_prefix(counts, size, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    drawn = []
    acquired = BoxBudget(size).acquire(
        watched(order, drawn), Counts(enumerate(counts)))
    n = _brute(order, counts, size)
    assert acquired.ids == order[:n]
    assert acquired.boxes == sum(counts[i] for i in acquired.ids)
    assert acquired.boxes <= size or n == 1
    assert bool(acquired.note) == (
        acquired.boxes > size or (n == len(order) and acquired.boxes < size))
    # no more is computed than what is used and what did not fit
    assert drawn == order[:n if acquired.boxes > size else n + 1]


def test_a_budget_in_images_draws_just_what_it_uses():
    drawn = []
    acquired = ImageBudget(7).acquire(watched(range(100), drawn), Blind())
    assert acquired.ids == drawn == list(range(7))


def test_one_image_above_the_box_budget():
    acquired = BoxBudget(3).acquire([5, 6], Counts({5: 8, 6: 1}))
    assert acquired.ids == [5] and acquired.boxes == 8
    assert 'first image alone costs 8 boxes' in acquired.note


def test_images_without_boxes_are_free():
    oracle = Counts({1: 2, 2: 0, 3: 1, 4: 0, 5: 0, 6: 1})
    acquired = BoxBudget(3).acquire(range(1, 7), oracle)
    assert acquired.ids == [1, 2, 3, 4, 5] and acquired.boxes == 3


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60),
       st.integers(1, 90), st.integers(0, 20))
def test_an_image_may_cost_more_than_its_boxes(counts, size, quarters):
    per_image, order = quarters / 4, list(range(len(counts)))
    budget = build_budget(dict(size=size, unit='boxes', per_image=per_image))
    assert budget.costs == (1., per_image)
    acquired = budget.acquire(order, Counts(enumerate(counts)))
    n = _brute(order, [c + per_image for c in counts], size)
    assert acquired.ids == order[:n] and acquired.boxes == sum(counts[:n])
    total = sum(counts) + per_image * len(counts)
    if size > total:
        with pytest.raises(ValueError, match=f'cost only {total:g} at the'):
            budget.check(len(counts) + 1, 1, sum(counts))
    else:
        budget.check(len(counts) + 1, 1, sum(counts))


def test_images():
    oracle = Counts({i: i for i in range(10)})
    acquired = ImageBudget(3).acquire(range(10), oracle)
    assert (acquired.ids, acquired.boxes, acquired.note) == ([0, 1, 2], 3, '')
    last = ImageBudget(3).acquire(range(2), oracle)
    assert last.ids == [0, 1]
    assert 'only 2 images were left of the 3' in last.note
    assert ImageBudget(3).acquire(range(3), oracle).note == ''


class Blind:
    knows_counts = False
    name = 'ManualOracle'

    def count_boxes(self, ids):
        raise AssertionError('must not be asked')


def test_oracle_that_cannot_count():
    acquired = ImageBudget(2).acquire(range(9), Blind())
    assert acquired.ids == [0, 1] and acquired.boxes is None
    with pytest.raises(ValueError, match="ManualOracle.*unit='images'"):
        BoxBudget(2).acquire(range(9), Blind())


@pytest.mark.parametrize('unit', ['images', 'boxes'])
def test_nothing_left(unit):
    budget = build_budget({'size': 1, 'unit': unit})
    acquired = budget.acquire([], Counts({}))
    assert (acquired.ids, acquired.boxes) == ([], 0)
    assert 'only 0 images' in acquired.note


@pytest.mark.parametrize('unit', ['images', 'boxes'])
def test_a_selector_that_gives_an_image_twice(unit):
    budget = build_budget({'size': 2, 'unit': unit})
    with pytest.raises(ValueError, match='the selector gave image 1 twice'):
        budget.acquire([1, 1], Counts({1: 1}))


def test_check_at_the_start():
    images, boxes = ImageBudget(10), BoxBudget(10)
    images.check(15, 5)
    with pytest.raises(ValueError, match='size is 10 but only 9 of the 14'):
        images.check(14, 5)
    boxes.check(14, 5, 10)
    boxes.check(14, 5)
    with pytest.raises(ValueError, match='size is 10 boxes .* only 9'):
        boxes.check(14, 5, 9)
    with pytest.raises(ValueError, match='all 5 images'):
        boxes.check(5, 5, 9)


def test_build():
    assert isinstance(build_budget({'size': 4}), ImageBudget)
    budget = build_budget({'size': np.int64(4), 'unit': 'boxes'})
    assert isinstance(budget, BoxBudget) and budget.size == 4
    assert sorted(BUDGETS.module_dict) == ['boxes', 'images', 'seconds']


@pytest.mark.parametrize('cfg, message', [
    ({'size': 0}, r'budget\.size is 0: .*number of images above 0'),
    ({'size': -3, 'unit': 'boxes'}, 'size is -3.*boxes'),
    ({'size': 1.5}, r'size is 1\.5'),
    ({'size': True}, 'size is True'),
    ({'size': None}, 'size is None'),
    ({'size': '10'}, "size is '10'"),
    ({'unit': 'boxes'}, 'needs size'),
    ({'size': 3, 'seize': 4}, "keys .*'seize'"),
    ({'size': 3, 'unit': 'seconds', 'per_box': -1}, 'per_box is -1'),
    ({'size': 3, 'per_class': {'cat': '1'}}, "per_class.cat is '1'"),
    ({'size': 3, 'targets': {'cat': 0}}, 'targets.cat is 0.*above 0'),
    ({'size': 0, 'unit': 'seconds'}, 'size is 0: .*number of seconds'),
    ({'size': 3, 'unit': 'boxes', 'per_image': -1}, 'per_image is -1'),
    ({'size': 3, 'unit': 'boxes', 'per_image': '1'}, "per_image is '1'"),
    ({'size': 3, 'unit': 'hours'},
     r"'hours'.*\['boxes', 'images', 'seconds'\]"),
])
def test_build_errors(cfg, message):
    with pytest.raises(ValueError, match=message) as e:
        build_budget(cfg)
    assert 'active_learning.budget' in str(e.value)


def _free(order, costs, labelled, size):
    """What a selector's order gives where repetitions are free: new images
    while they can be paid, and the labelled ones before the last of them."""
    taken, paid, last = 0, 0, 0
    for n, i in enumerate(order, 1):
        if i in labelled:
            continue
        if taken and paid + costs[i] > size:
            break
        taken, paid, last = taken + 1, paid + costs[i], n
    return order[:last], paid


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1,
                max_size=60), st.integers(1, 40), st.booleans(),
       st.randoms(use_true_random=False))
def test_reselected_images_are_free(images, size, boxes, random):
    order = list(range(len(images)))
    random.shuffle(order)
    labelled = {i for i, (_, done) in enumerate(images) if done}
    if len(labelled) == len(order):
        labelled.discard(order[-1])
    counts = {i: c for i, (c, _) in enumerate(images)}
    costs = counts if boxes else dict.fromkeys(order, 1)
    expected, paid = _free(order, costs, labelled, size)
    budget = (BoxBudget if boxes else ImageBudget)(size)
    acquired = budget.acquire(order, Counts(counts), labelled)
    new = [i for i in acquired.ids if i not in labelled]
    assert acquired.ids == expected and new
    assert acquired.boxes == sum(counts[i] for i in new)
    assert paid <= size or len(new) == 1


def test_labelled_images_alone_are_not_reselected_where_they_are_free():
    acquired = ImageBudget(3).acquire([0, 1], Blind(), {0, 1})
    assert acquired.ids == []


@pytest.mark.parametrize('size, ids, boxes', [
    (2, [0, 1], 0), (3, [0, 1, 2], 4), (9, [0, 1, 2, 3], 9)])
def test_counted_repetitions_fill_the_budget_in_images(size, ids, boxes):
    budget = build_budget({'size': size, 'repeats': 'counted'})
    acquired = budget.acquire(
        range(4), Counts({0: 2, 1: 3, 2: 4, 3: 5}), {0, 1})
    assert acquired.ids == ids and acquired.boxes == boxes


def test_counted_repetitions_cost_their_boxes():
    budget = build_budget({'size': 9, 'unit': 'boxes', 'repeats': 'counted'})
    acquired = budget.acquire(
        range(4), Counts({0: 2, 1: 3, 2: 4, 3: 5}), {0, 1})
    assert acquired.ids == [0, 1, 2] and acquired.boxes == 4


def test_repeats_are_free_or_counted():
    assert build_budget({'size': 1}).repeats == 'free'
    with pytest.raises(ValueError, match=r"budget\.repeats is 'half'"):
        build_budget({'size': 1, 'repeats': 'half'})


class ByClass:
    """Who counts cats and dogs."""
    knows_counts = True
    name = 'ByClass'
    class_names = ('cat', 'dog')

    def __init__(self, counts):
        self.counts = np.array(counts)

    def count_by_class(self, ids):
        return self.counts[list(ids)]

    def count_boxes(self, ids):
        return self.count_by_class(ids).sum(1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1,
                max_size=40), st.integers(1, 900), st.booleans())
def test_seconds_take_the_longest_prefix(counts, size, is_expected):
    """Known of an oracle, or expected where it knows nothing."""
    budget = build_budget(dict(size=size, unit='seconds', per_image=1.5,
                               per_box=8, per_class=dict(dog=.25)))
    costs = [1.5 + 8 * cats + .25 * dogs for cats, dogs in counts]
    order, drawn = list(range(len(counts))), []
    oracle, expected = ByClass(counts), None
    if is_expected:
        oracle, expected = Blind(), ByClass(counts)
    acquired = budget.acquire(watched(order, drawn), oracle,
                              expected=expected)
    n = _brute(order, costs, size)
    assert acquired.ids == order[:n]
    assert len(drawn) <= n + 1
    spent = sum(costs[:n])
    assert bool(acquired.note) == (
        spent > size or (n == len(order) and size - spent >= 1.5))
    boxes = sum(map(sum, counts[:n]))
    assert acquired.boxes == (None if is_expected else boxes)


def test_boxes_may_be_expected():
    expected = ByClass([[.5, 0], [1., .75], [2., .5], [0, 0]])
    acquired = BoxBudget(3).acquire(range(4), Blind(), expected=expected)
    assert acquired.ids == [0, 1] and acquired.boxes is None
    with pytest.raises(ValueError, match="unit is 'seconds' but ManualOracle"):
        SecondsBudget(3).acquire(range(4), Blind())


def test_boxes_that_people_have_drawn_are_not_expected():
    class People(ByClass):
        knows_counts = False

    drawn = People([[1, 1], [2, 2], [9, 9], [9, 9]])
    expected = ByClass([[50., 50], [50, 50], [.5, 0], [0, .5]])
    for cls in (BoxBudget, SecondsBudget):
        acquired = cls(7, 'counted', cost_model=CostModel(0, 1)).acquire(
            range(4), drawn, {0, 1}, expected)
        assert acquired.ids == [0, 1, 2, 3]


def test_check_of_seconds():
    budget = build_budget(dict(size=100, unit='seconds', per_image=2,
                               per_box=5, per_class=dict(cat=10)))
    budget.check(15, 5, 8)
    budget.check(15, 5)
    with pytest.raises(ValueError, match='100 seconds but .* at most 90 at'):
        budget.check(15, 5, 7)
    with pytest.raises(ValueError, match='all 5 images'):
        budget.check(5, 5)
    assert budget.costs == (5., 2.)


@pytest.mark.parametrize('cfg, model', [
    ({}, CostModel(PER_IMAGE, PER_BOX)),
    (dict(per_image=3), CostModel(3, PER_BOX)),
    (dict(unit='seconds', per_image=0), CostModel(0, PER_BOX)),
    (dict(unit='seconds', per_box=7, per_class=dict(cat=2.)),
     CostModel(PER_IMAGE, 7, dict(cat=2.))),
    # an image costs two boxes
    (dict(unit='boxes', per_image=2, per_box=7), CostModel(14, 7)),
    (dict(unit='boxes', per_box=7), CostModel(PER_IMAGE, 7)),
    (dict(unit='boxes', per_image=0), CostModel(PER_IMAGE, PER_BOX)),
])
def test_cost_model_of_a_budget(cfg, model):
    assert build_budget(dict(size=3, **cfg)).cost_model == model
