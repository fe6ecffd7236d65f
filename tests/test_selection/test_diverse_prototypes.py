"""DivProto, image by image and class by class."""
import numpy as np
import pytest
import torch
from brute import scores_of

from mmal.selection import DiversePrototypes, pack_detections

CLASSES = 4
MINORITY = (1, 3)


def pool(seed, number=14):
    """Scores, rows, and of each image its classes' prototypes and scores."""
    rng = np.random.default_rng(seed)
    images = [{c: (float(rng.uniform(.05, .8)),
                   rng.normal(size=2).astype(np.float32))
               for c in range(CLASSES) if rng.uniform() < .6}
              for _ in range(number)]
    values = rng.uniform(size=number)
    values[2] = -np.inf
    scores = scores_of(values)
    best = np.array([[image[c][0] if c in image else 0.
                      for c in range(CLASSES)] for image in images])
    table = np.full_like(best, -1)
    table[:, MINORITY] = best[:, MINORITY]
    scores.columns = dict(minority_scores=table)
    features = np.array([[image[c][1] if c in image else (0, 0)
                          for c in range(CLASSES)] for image in images])
    rows = pack_detections(
        torch.arange(CLASSES).expand(number, -1), torch.from_numpy(best),
        torch.from_numpy(features), torch.from_numpy(best > 0), CLASSES)
    return scores, rows.numpy(), images


def by_hand(scores, images, n, intra, inter, quota):
    order = sorted(range(len(images)), key=lambda i: (
        -scores.values[i], scores.tiebreak[i]))
    left = {c: quota * n / len(MINORITY) for c in MINORITY} if quota else {}
    taken, others = [], []
    for i in order:
        similarities = []
        for c, (_, f) in images[i].items():
            best = -1.0
            for j in taken:
                if c in images[j]:
                    g = images[j][c][1]
                    best = max(best, float(f @ g) / np.linalg.norm(f)
                               / np.linalg.norm(g))
            similarities.append(best)
        wanted = [c for c in left if left[c] > 0]
        scored = [images[i][c][0] if c in images[i] else 0. for c in wanted]
        if scores.values[i] == -np.inf or (
                similarities and min(similarities) > intra) or (
                    wanted and max(scored) < inter):
            others.append(i)
            continue
        taken.append(i)
        for c, score in zip(wanted, scored):
            left[c] -= score >= inter
    return [scores.ids[i] for i in taken + others], len(taken)


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('intra, inter, quota', [
    (.7, .3, .75), (0, .3, .5), (1, .6, 1), (.5, .3, 0)])
def test_order_equals_loops(seed, intra, inter, quota):
    scores, rows, images = pool(seed)
    for n in (2, 6):
        truth, _ = by_hand(scores, images, n, intra, inter, quota)
        selector = DiversePrototypes(intra, inter, quota).with_draws(n)
        assert selector.select(scores, 14, rows) == truth


def test_images_are_passed_over():
    passed = [14 - by_hand(*pool(seed)[::2], 6, .7, .3, .75)[1]
              for seed in range(8)]
    assert max(passed) > 3


def test_copies_of_one_image_come_late():
    scores, rows, _ = pool(0)
    rows[:5] = rows[0]
    scores.values[:5] = [9, 8, 7, 6, 5]
    order = DiversePrototypes(quota=0).select(scores, 14, rows)
    assert order[0] == 'image 0'
    # behind all that were not passed over
    assert order.index('image 1') > 2


def test_a_threshold_of_one_passes_over_no_copies():
    rng, n = np.random.default_rng(3), 60
    features = np.repeat(rng.normal(size=(n // 2, 1, 5)), 2, 0)
    rows = pack_detections(
        torch.zeros(n, 1).long(), torch.ones(n, 1),
        torch.from_numpy(features), torch.ones(n, 1) > 0, 1).numpy()
    scores = scores_of(rng.uniform(size=n))
    order = DiversePrototypes(intra_thr=1, quota=0).select(scores, n, rows)
    assert order == [scores.ids[i] for i in np.argsort(-scores.values)]


def test_half_precision_gives_the_same_order():
    scores, rows, _ = pool(1)
    orders = [DiversePrototypes(dtype=d).select(scores, 9, rows.astype(d))
              for d in ('float32', 'float16')]
    assert orders[0] == orders[1]


def test_mistakes_are_named():
    scores, rows, _ = pool(0)
    for kwargs in (dict(intra_thr=2), dict(inter_thr=-1), dict(quota=1.5)):
        name, value = next(iter(kwargs.items()))
        with pytest.raises(ValueError, match=f'{name} is {value}'):
            DiversePrototypes(**kwargs)
    with pytest.raises(ValueError, match='Set quota=0'):
        DiversePrototypes().order(scores, rows)
    with pytest.raises(ValueError, match='needs the detections'):
        DiversePrototypes(quota=0).order(scores, np.zeros((14, 4)))
    scores.columns = {}
    with pytest.raises(ValueError, match='use mmal.EntropyNMSScorer'):
        DiversePrototypes().with_draws(3).order(scores, rows)
