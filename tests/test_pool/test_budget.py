from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool.budget import BUDGETS, BoxBudget, ImageBudget, build_budget


class Counts:
    """An oracle with a given number of boxes for each id."""
    knows_counts = True
    name = 'Counts'

    def __init__(self, counts):
        self.counts = dict(counts)

    def count_boxes(self, ids):
        return np.array([self.counts[i] for i in ids], dtype=np.int64)


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
    taken = BoxBudget(size).take(
        lambda n: order[:n], Counts(enumerate(counts)), len(order))
    n = _brute(order, counts, size)
    assert taken.ids == order[:n]
    assert taken.boxes == sum(counts[i] for i in taken.ids)
    assert taken.exhausted == (n == len(order))
    assert taken.boxes <= size or n == 1
    assert bool(taken.note) == (
        taken.boxes > size or (taken.exhausted and taken.boxes < size))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60),
       st.integers(1, 100))
def test_boxes_with_a_choice_that_depends_on_n(counts, size):
    """Half from the top, half from the bottom."""
    ids = list(range(len(counts)))

    def rank(n):
        return ids[:(n + 1) // 2] + ids[len(ids) - n // 2:]

    taken = BoxBudget(size).take(rank, Counts(enumerate(counts)), len(ids))
    assert taken.ids == rank(len(taken.ids))
    assert taken.boxes <= size or len(taken.ids) == 1
    # one image is the same choice in both kinds of order
    if not taken.exhausted and len(taken.ids) > 1:
        # one more would not have fitted
        more = rank(len(taken.ids) + 1)
        assert sum(counts[i] for i in more) > size


def test_few_questions_for_many_images():
    asked = []

    def rank(n):
        asked.append(n)
        return range(n)

    oracle = Counts(dict.fromkeys(range(100000), 1))
    taken = BoxBudget(1000).take(rank, oracle, 100000)
    assert len(taken.ids) == taken.boxes == 1000
    assert len(asked) < 8 and max(asked) <= 2000


def test_one_image_above_the_box_budget():
    taken = BoxBudget(3).take(lambda n: [5, 6][:n], Counts({5: 8, 6: 1}), 2)
    assert taken.ids == [5] and taken.boxes == 8 and not taken.exhausted
    assert 'first image alone has 8 boxes' in taken.note


def test_images():
    oracle = Counts({i: i for i in range(10)})
    taken = ImageBudget(3).take(lambda n: range(n), oracle, 10)
    assert (taken.ids, taken.boxes, taken.exhausted, taken.note) == (
        [0, 1, 2], 3, False, '')
    last = ImageBudget(3).take(lambda n: range(n), oracle, 2)
    assert last.ids == [0, 1] and last.exhausted
    assert 'only 2 images were left of the 3' in last.note
    exact = ImageBudget(3).take(lambda n: range(n), oracle, 3)
    assert exact.exhausted and exact.note == ''


class Blind:
    knows_counts = False
    name = 'ManualOracle'

    def count_boxes(self, ids):
        raise AssertionError('must not be asked')


def test_oracle_that_cannot_count():
    taken = ImageBudget(2).take(lambda n: range(n), Blind(), 9)
    assert taken.ids == [0, 1] and taken.boxes is None
    with pytest.raises(ValueError, match="ManualOracle.*unit='images'"):
        BoxBudget(2).take(lambda n: range(n), Blind(), 9)


@pytest.mark.parametrize('unit', ['images', 'boxes'])
def test_nothing_left(unit):
    with pytest.raises(ValueError, match='exhausted'):
        build_budget({'size': 1, 'unit': unit}).take(range, Counts({}), 0)


@pytest.mark.parametrize('unit', ['images', 'boxes'])
@pytest.mark.parametrize('rank', [lambda n: [], lambda n: [1] * (n + 1)])
def test_a_selector_that_miscounts(unit, rank):
    budget = build_budget({'size': 2, 'unit': unit})
    with pytest.raises(ValueError, match='the selector gave'):
        budget.take(rank, Counts({1: 1}), 9)


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
    assert sorted(BUDGETS.module_dict) == ['boxes', 'images']


@pytest.mark.parametrize('cfg, message', [
    ({'size': 0}, r'budget\.size is 0: .*number of images above 0'),
    ({'size': -3, 'unit': 'boxes'}, 'size is -3.*boxes'),
    ({'size': 1.5}, r'size is 1\.5'),
    ({'size': True}, 'size is True'),
    ({'size': None}, 'size is None'),
    ({'size': '10'}, "size is '10'"),
    ({'unit': 'boxes'}, 'needs size'),
    ({'size': 3, 'seize': 4}, "keys .*'seize'"),
    ({'size': 3, 'unit': 'hours'}, r"'hours'.*\['boxes', 'images'\]"),
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
def test_images_taken_again_are_free(images, size, boxes, random):
    order = list(range(len(images)))
    random.shuffle(order)
    labelled = {i for i, (_, done) in enumerate(images) if done}
    if len(labelled) == len(order):
        labelled.discard(order[-1])
    counts = {i: c for i, (c, _) in enumerate(images)}
    costs = counts if boxes else dict.fromkeys(order, 1)
    expected, paid = _free(order, costs, labelled, size)
    budget = (BoxBudget if boxes else ImageBudget)(size)
    taken = budget.take(lambda n: order[:n], Counts(counts), len(order),
                        labelled)
    new = [i for i in taken.ids if i not in labelled]
    assert taken.ids == expected and new
    assert taken.boxes == sum(counts[i] for i in new)
    assert taken.exhausted == (len(new) == len(order) - len(labelled))
    assert paid <= size or len(new) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 30))
def test_free_repetitions_with_a_choice_that_depends_on_n(done, size):
    ids = list(range(len(done)))
    labelled = {i for i in ids if done[i]} - {0}

    def rank(n):
        return ids[:(n + 1) // 2] + ids[len(ids) - n // 2:]

    taken = ImageBudget(size).take(rank, Blind(), len(ids), labelled)
    new = [i for i in taken.ids if i not in labelled]
    assert taken.ids == rank(len(taken.ids))
    assert len(new) == min(size, len(ids) - len(labelled))


@pytest.mark.parametrize('size, ids, boxes', [
    (2, [0, 1], 0), (3, [0, 1, 2], 4), (9, [0, 1, 2, 3], 9)])
def test_counted_repetitions_fill_the_budget_in_images(size, ids, boxes):
    budget = build_budget({'size': size, 'repeats': 'counted'})
    taken = budget.take(lambda n: list(range(n)),
                        Counts({0: 2, 1: 3, 2: 4, 3: 5}), 4, {0, 1})
    assert taken.ids == ids and taken.boxes == boxes
    assert taken.exhausted == (size == 9)


def test_counted_repetitions_cost_their_boxes():
    budget = build_budget({'size': 9, 'unit': 'boxes', 'repeats': 'counted'})
    taken = budget.take(lambda n: list(range(n)),
                        Counts({0: 2, 1: 3, 2: 4, 3: 5}), 4, {0, 1})
    assert taken.ids == [0, 1, 2] and taken.boxes == 4


def test_a_plain_budget_in_images_asks_once():
    asked = []

    def rank(n):
        asked.append(n)
        return range(n)

    ImageBudget(7).take(rank, Blind(), 100)
    assert asked == [7]


def test_repeats_are_free_or_counted():
    assert build_budget({'size': 1}).repeats == 'free'
    with pytest.raises(ValueError, match=r"budget\.repeats is 'half'"):
        build_budget({'size': 1, 'repeats': 'half'})
