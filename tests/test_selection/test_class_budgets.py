"""Class budgets and what each class chooses, in plain loops."""
import math

import numpy as np
import pytest
from brute import scores_of
from hypothesis import given
from hypothesis import strategies as st

from mmal.selection import ClassBudgets
from mmal.selection.class_budgets import class_budgets

CLASSES = 4
WEIGHTS = dict(uncertainty_weight=.9, diversity_weight=.02, image_weight=.04)


def pool(seed, number=20):
    """Scores with the scorer's columns, and embeddings; of some images
    nothing is known."""
    rng = np.random.default_rng(seed)
    table = np.where(rng.uniform(size=(number, CLASSES)) < .4,
                     rng.uniform(size=(number, CLASSES)), -np.inf)
    table[3] = -np.inf
    r = rng.uniform(.2, 1, CLASSES)
    scores = scores_of(table.max(1))
    scores.columns = dict(
        class_scores=table, class_weights=(table > -np.inf) * r,
        weighted_entropy=rng.uniform(0, 5, number))
    return scores, rng.normal(size=(number, 3)).astype(np.float32)


def budgets_by_hand(weights, available, total):
    """One image after another to the class that is farthest below its share;
    the share of a class that can use no more goes to the others."""
    open_classes = {c for c, n in enumerate(available) if n}
    budgets = [0] * len(weights)
    while open_classes:
        left = total - sum(budgets)
        all_weights = sum(weights[c] for c in open_classes)
        shares = {c: left * (weights[c] / all_weights if all_weights else
                             1 / len(open_classes)) for c in open_classes}
        full = {c for c in open_classes if shares[c] >= available[c]}
        for c in full:
            budgets[c] = available[c]
        if not full:
            for c in open_classes:
                budgets[c] = math.floor(shares[c])
            missing = total - sum(budgets)
            for c in sorted(open_classes, key=lambda c: (
                    math.floor(shares[c]) - shares[c], c))[:missing]:
                budgets[c] += 1
            break
        open_classes -= full
    return budgets


def scaled(values):
    low, high = min(values), max(values)
    return [(v - low) / (high - low) if high > low else 0. for v in values]


def by_hand(scores, embeddings, n, keep=2., uncertainty_weight=.9,
            diversity_weight=.02, image_weight=.04):
    table, weights, entropy = (scores.columns[k] for k in (
        'class_scores', 'class_weights', 'weighted_entropy'))
    known = [i for i in range(len(scores)) if scores.values[i] > -math.inf]
    of_class = [[i for i in known if table[i, c] > -math.inf]
                for c in range(CLASSES)]
    r = [max(weights[:, c]) for c in range(CLASSES)]
    budgets = budgets_by_hand(r, [len(images) for images in of_class], n)
    chosen = {}
    for c in sorted(range(CLASSES), key=lambda c: (-r[c], c)):
        ranked = sorted(
            (i for i in of_class[c] if i not in chosen),
            key=lambda i: (-table[i, c], scores.tiebreak[i]))
        ranked = ranked[:math.ceil(keep * budgets[c])]
        if not ranked:
            continue
        novelty = []
        for place, i in enumerate(ranked):
            cosines = [
                float(embeddings[i].astype(float) @ embeddings[j].astype(
                    float)) / math.sqrt(sum(embeddings[i].astype(float)**2))
                / math.sqrt(sum(embeddings[j].astype(float)**2))
                for j in ranked[:place]]
            novelty.append(1 - max(cosines) if cosines else 1.)
        parts = zip(ranked, scaled(novelty),
                    scaled([entropy[i] for i in ranked]),
                    scaled([sum(weights[i]) for i in ranked]))
        value = {
            i: uncertainty_weight * table[i, c] + diversity_weight * d
            + image_weight * (e + x) for i, d, e, x in parts}
        best = sorted(value, key=lambda i: (-value[i], scores.tiebreak[i]))
        chosen.update((i, value[i]) for i in best[:budgets[c]])
    order = sorted(chosen, key=lambda i: (-chosen[i], scores.tiebreak[i]))
    others = sorted((i for i in range(len(scores)) if i not in chosen),
                    key=lambda i: (-scores.values[i], scores.tiebreak[i]))
    return [scores.ids[i] for i in order + others]


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('options', [
    {}, dict(keep=1.), dict(keep=3.3, uncertainty_weight=.1),
    dict(diversity_weight=5.), dict(image_weight=5.)])
def test_order_equals_loops(seed, options):
    scores, embeddings = pool(seed)
    for n in (1, 5, 12):
        order = ClassBudgets(**options).select(scores, n, embeddings)
        assert order == by_hand(scores, embeddings, n, **options)[:n]
    whole = list(ClassBudgets(**options).with_draws(5).order(
        scores, embeddings))
    assert whole == by_hand(scores, embeddings, 5, **options)
    unknown = np.flatnonzero(scores.values == -np.inf)
    assert set(whole[-len(unknown):]) == {f'image {i}' for i in unknown}


@pytest.mark.parametrize('name', list(WEIGHTS))
def test_each_part_decides_something(name):
    orders = [
        [ClassBudgets(**options).select(scores, 8, embeddings)
         for scores, embeddings in map(pool, range(6))]
        for options in ({}, {name: 20.})]
    assert orders[0] != orders[1]


BUDGETS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30)), min_size=1,
                   max_size=8)


@given(BUDGETS, st.integers(0, 120))
def test_budgets_add_up_and_none_is_too_large(classes, total):
    weights, available = map(np.array, zip(*classes))
    budgets = class_budgets(weights, available, total)
    assert budgets.sum() == min(total, available.sum())
    assert (budgets >= 0).all() and (budgets <= available).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1,
                max_size=8), st.integers(0, 120))
def test_budgets_equal_loops(classes, total):
    # eighths, so that shares are never a rounding apart
    weights, available = map(np.array, zip(*classes))
    budgets = class_budgets(weights / 8, available, total)
    assert budgets.tolist() == budgets_by_hand(
        (weights / 8).tolist(), available.tolist(), total)


@given(BUDGETS, st.integers(0, 120))
def test_of_equally_many_images_the_heavier_class_has_more(classes, total):
    weights = np.array([w for w, _ in classes])
    budgets = class_budgets(weights, np.full(len(weights), 30), total)
    for a, b in zip(weights.argsort()[:-1], weights.argsort()[1:]):
        assert budgets[a] <= budgets[b] or weights[a] == weights[b]


def test_a_single_class_whose_weight_is_zero():
    scores, embeddings = pool(0)
    for name in ('class_scores', 'class_weights'):
        scores.columns[name] = scores.columns[name][:, :1] * (
            1 if name == 'class_scores' else 0)
    scores.values = scores.columns['class_scores'][:, 0]
    order = ClassBudgets(diversity_weight=0, image_weight=0).select(
        scores, 4, embeddings)
    assert order == [scores.ids[i] for i in np.argsort(-scores.values)[:4]]


def test_copies_of_one_image_are_not_new():
    scores, embeddings = pool(1)
    for name in ('class_scores', 'class_weights'):
        scores.columns[name] = np.ones((20, 1))
    scores.columns['weighted_entropy'] = np.ones(20)
    scores.values = np.ones(20)
    embeddings[:] = embeddings[0]
    embeddings[5], embeddings[9] = -embeddings[0], 0
    best = np.argsort(scores.tiebreak)[0]
    chosen = ClassBudgets(keep=20.).select(scores, 3, embeddings)
    assert set(chosen) == {'image 5', 'image 9', scores.ids[best]}


def test_half_precision_and_no_image():
    scores, embeddings = pool(2)
    half = embeddings.astype('float16')
    assert ClassBudgets(dtype='float16').embeddings_dtype == 'float16'
    assert ClassBudgets().select(scores, 6, half) == \
        ClassBudgets().select(scores, 6, half.astype('float32'))
    assert list(ClassBudgets().order(scores.take(slice(0, 0)))) == []


@pytest.mark.parametrize('kwargs, message', [
    (dict(keep=.5), 'keep is 0.5: give a number of at least 1'),
    (dict(uncertainty_weight=-1), 'uncertainty_weight is -1'),
    (dict(diversity_weight=math.nan), 'diversity_weight is nan'),
    (dict(image_weight=math.inf), 'image_weight is inf'),
    (dict(dtype='int8'), "dtype is 'int8'")])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ClassBudgets(**kwargs)


def test_what_is_missing_is_named():
    scores, embeddings = pool(0)
    with pytest.raises(ValueError, match="Set budget.unit='images'"):
        ClassBudgets().order(scores, embeddings)
    selector = ClassBudgets().with_draws(3)
    with pytest.raises(ValueError, match='needs embeddings of shape'):
        selector.order(scores)
    scores.columns['class_weights'] = scores.columns['class_weights'][:, :2]
    with pytest.raises(ValueError, match='use mmal.LogisticUncertainty'):
        selector.order(scores, embeddings)
    del scores.columns['weighted_entropy']
    with pytest.raises(ValueError, match='have class_scores, class_weights:'):
        selector.order(scores, embeddings)
