"""Near duplicates, class targets and the walk that respects both, against a
slow account of what they promise."""
import posixpath
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import ClassTargets, Neighbours, Spacing, Walk


class Counts:
    """Expected boxes by class; notes who was asked about."""
    class_names = ('cat', 'dog')

    def __init__(self, table):
        self.table = table
        self.asked = []

    def count_by_class(self, ids):
        self.asked += ids
        return np.array([self.table[i] for i in ids], float)


def distance(x, y):
    x, y = (np.asarray(v, np.float64) for v in (x, y))
    x, y = (v / (np.linalg.norm(v) or 1) for v in (x, y))
    return np.linalg.norm(x - y)


def slow_walk(ids, rows=None, labelled=(), least=None, groups=None, k=None,
              counts=None, wanted=None, done=()):
    """The order by going over all images again for each that comes."""
    out, near, left = [], set(), list(ids)
    wanted = list(wanted or ())

    def is_near(i):
        if i in done:
            return False
        if k is not None and groups[i] is not None and sum(
                groups[j] == groups[i] for j in out if j not in done) >= k:
            return True
        return least is not None and any(
            distance(rows[i], row) < least
            for row in [*labelled, *(rows[j] for j in out if j not in done)])

    passed = 0  # as long as classes are wanted, only onward from here
    while any(w > 1e-9 for w in wanted) and passed < len(left):
        i = left[passed]
        if is_near(i):
            near.add(i)
        elif i in done:
            pass
        elif any(w > 1e-9 and c >= .5 for w, c in zip(wanted, counts[i])):
            wanted = [w - c for w, c in zip(wanted, counts[i])]
        else:
            passed += 1
            continue
        left.remove(i)
        if i not in near:
            out.append(i)
    unfilled = [n for n, w in enumerate(wanted) if w > 1e-9]

    def hopes(i):
        return -sum(counts[i][n] for n in unfilled)

    for i in sorted(left, key=hopes) if unfilled else ():
        if is_near(i) or not any(
                w > 1e-9 and c for w, c in zip(wanted, counts[i])):
            continue
        left.remove(i)
        wanted = [w - c for w, c in zip(wanted, counts[i])]
        out.append(i)
    late = [i for i in ids if i in near]
    for i in left:
        (late if is_near(i) else out).append(i)
    return out, late


grid = st.integers(-2, 2).map(float)


@st.composite
def pools(draw):
    n = draw(st.integers(1, 14))
    ids = draw(st.permutations(range(n)))
    row = st.tuples(grid, grid, grid)
    return dict(
        ids=list(ids),
        rows=np.array(draw(st.lists(row, min_size=n, max_size=n)),
                      draw(st.sampled_from(['f4', 'f2']))),
        labelled=np.array(draw(st.lists(row, max_size=4)), 'f4').reshape(
            -1, 3),
        # none that rows of this grid keep exactly
        least=draw(st.none() | st.sampled_from([.3, .8, 1.2, 1.99])),
        k=draw(st.none() | st.integers(1, 3)),
        groups=draw(st.lists(st.sampled_from(['a', 'b', None]), min_size=n,
                             max_size=n)),
        counts=draw(st.lists(st.tuples(*[st.sampled_from(
            [0., .25, .375, .5, 1., 3.])] * 2), min_size=n, max_size=n)),
        wanted=draw(st.none() | st.tuples(*[st.sampled_from(
            [.5, 1., 2., 50.])] * 2)),
        done=draw(st.sets(st.sampled_from(range(n)), max_size=3)))


@settings(deadline=None, max_examples=300)
@given(pools())
def test_a_walk_is_what_it_promises(pool):
    # rows by id; the selector's order is another one
    ids, by_id = pool['ids'], sorted(pool['ids'])
    least, k, wanted = pool['least'], pool['k'], pool['wanted']
    names = [f'{g}/{i}.png' if g else f'{i}.png'
             for i, g in enumerate(pool['groups'])]
    neighbours = targets = None
    if least is not None or k is not None:
        by = None if k is None else dict(k=k, by=r'^(\w)/')
        neighbours = Neighbours(
            Spacing(least, by), by_id, names, pool['rows'], pool['labelled'])
    if wanted is not None:
        targets = ClassTargets(dict(zip(('cat', 'dog'), wanted)),
                               Counts(pool['counts']))
    walk = Walk(ids, neighbours, targets, pool['done'])
    came = list(walk)
    out, near = slow_walk(**pool)
    assert sorted(came) == by_id
    assert came[:len(out)] == out
    assert sorted(came[len(out):]) == sorted(near) == sorted(walk.near)


def test_images_put_off_stay_in_the_selectors_order():
    rows = np.array([[1., 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    walk = Walk('abcde', Neighbours(Spacing(.1), 'abcde', None, rows))
    assert list(walk) == ['a', 'c', 'b', 'd', 'e'] and walk.near == [*'bde']


def test_an_image_is_drawn_when_it_is_needed():
    drawn = []
    order = (drawn.append(i) or i for i in range(99))
    walk = iter(Walk(order, None, ClassTargets(
        dict(dog=1), Counts([(1, i % 10 == 9) for i in range(99)]))))
    assert [next(walk), next(walk)] == [9, 0] and drawn == [*range(10)]


@given(st.integers(0, 10**6), st.sampled_from([1e-4, 1e-3, .02, .5]),
       st.floats(.9999, 1.0001), st.sampled_from([1e-6, 1., 1e6]))
def test_distances_near_the_least_one_are_exact(seed, least, factor, scale):
    """Two unit vectors at a distance of about the least one."""
    rng = np.random.default_rng(seed)
    x, y = np.linalg.qr(rng.standard_normal((64, 2)))[0].T
    half = np.arcsin(least * factor / 2)
    rows = np.stack([np.cos(half) * x + np.sin(half) * y,
                     np.cos(half) * x - np.sin(half) * y])
    rows = (rows * scale).astype('f4')
    truth = distance(*rows)
    if abs(truth - least) < 2e-7:  # of float32 itself
        return
    for chosen in (True, False):
        near = Neighbours(Spacing(least), 'ab', None, rows,
                          None if chosen else rows[:1])
        if chosen:
            near.take('a')
        assert near.too_near('b') == (truth < least)


def test_more_labelled_images_than_are_compared_at_a_time():
    rng = np.random.default_rng(0)
    rows, labelled = (rng.standard_normal((n, 4)).astype('f4')
                      for n in (30, 9000))
    near = Neighbours(Spacing(.1), range(30), None, rows, labelled)
    unit = labelled / np.linalg.norm(labelled, axis=1, keepdims=True)
    truth = [bool((np.linalg.norm(unit - r / np.linalg.norm(r), axis=1)
                   < .1).any()) for r in rows]
    assert [near.too_near(i) for i in range(30)] == truth
    assert 0 < sum(truth) < 30
    # some of them by images of the last block alone
    late = Neighbours(Spacing(.1), range(30), None, rows, labelled[:8192])
    assert truth != [late.too_near(i) for i in range(30)]


@pytest.mark.parametrize('by, name, group', [
    ('folder', 'a/b/1.png', 'a/b'), ('folder', r'a\b\1.png', 'a/b'),
    ('folder', '1.png', ''), (r'(.*)_\d+', 'cam1_007.png', 'cam1'),
    (r'cam\d', 'x/cam1_007.png', 'cam1'), (r'(.*)_\d+', 'alone.png', None)])
def test_groups_by_file_name(by, name, group):
    assert Spacing(max_per_group=dict(k=1, by=by)).group(name) == group
    if by == 'folder':
        assert group == posixpath.dirname(re.sub(r'\\', '/', name))


@pytest.mark.parametrize('cfg, message', [
    (dict(), 'give at least one'),
    (dict(min_distance=0), 'min_distance is 0: .*above 0 and up to 2'),
    (dict(min_distance=2.1), 'min_distance is 2.1'),
    (dict(min_distance='1'), "min_distance is '1'"),
    (dict(min_distance=True), 'min_distance is True'),
    (dict(min_distance=float('nan')), 'min_distance is nan'),
    (dict(max_per_group=2), 'max_per_group is 2: .*with k and by'),
    (dict(max_per_group=dict(k=2)), 'with k and by'),
    (dict(max_per_group=dict(k=0, by='folder')), r'max_per_group\.k is 0'),
    (dict(max_per_group=dict(k=1.5, by='folder')), r'max_per_group\.k is 1.5'),
    (dict(max_per_group=dict(k=1, by='(')), r"max_per_group\.by is '\('"),
    (dict(max_per_group=dict(k=1, by='')), r"max_per_group\.by is ''"),
])
def test_rules_that_make_no_sense(cfg, message):
    with pytest.raises(ValueError, match=message):
        Spacing(**cfg)


def test_what_the_rules_need():
    rows = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r'embeddings of shape \[2, D\]'):
        Neighbours(Spacing(.1), 'ab')
    with pytest.raises(ValueError, match='3 dimensions but .* images 4'):
        Neighbours(Spacing(.1), 'ab', None, rows, np.ones((1, 4)))
    with pytest.raises(ValueError, match='file name of each'):
        Neighbours(Spacing(max_per_group=dict(k=1, by='folder')), 'ab')
    rows[1] = np.nan
    with pytest.raises(ValueError, match='image b is not finite'):
        Neighbours(Spacing(.1), 'ab', None, rows).too_near('b')
    with pytest.raises(ValueError, match='targets for cow, .*cat, dog'):
        ClassTargets(dict(cow=1), Counts([]))
