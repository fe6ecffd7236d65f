"""Selectors that compute on the GPU choose what they choose on the CPU."""
import numpy as np
import pytest

from mmal.scores import Scores
from mmal.selection import (
    BatchInfluence,
    CoreSet,
    GradientMatching,
    KMeansPlusPlus,
    SparseModeling,
)

pytestmark = pytest.mark.cuda
CASES = {
    'core-set': (CoreSet, {}),
    'core-set, weighted': (CoreSet, dict(weighted=True)),
    'core-set, cosine': (CoreSet, dict(distance='cosine')),
    'k-means': (KMeansPlusPlus, {}),
    'k-means, trials': (KMeansPlusPlus, dict(trials=5, weighted=True)),
    'sparse, cosine': (SparseModeling, dict(distance='cosine')),
    'sparse, euclidean': (SparseModeling, dict(distance='euclidean')),
    'gradient matching': (GradientMatching, {}),
    'batch influence': (BatchInfluence, {}),
}


def embeddings_of(kind, rng):
    x = rng.standard_normal((300, 24)).astype('f4')
    if kind == 'copies':
        x[150:] = x[:150]
    elif kind == 'grid':
        x = np.rint(x)
    elif kind == 'outliers':
        x[:3] *= 1e6
    return x


@pytest.mark.parametrize('data', ['plain', 'copies', 'grid', 'outliers'])
@pytest.mark.parametrize('case', CASES)
def test_the_same_images(device, case, data):
    kind, options = CASES[case]
    rng = np.random.default_rng(3)
    x = embeddings_of(data, rng)
    values = rng.uniform(0.1, 2, len(x))
    scores = Scores(ids=list(range(len(x))), values=values,
                    tiebreak=rng.permutation(len(x)) / len(x), columns={})
    labelled = rng.standard_normal((10, 24)).astype('f4')
    here, there = (
        kind(**options, device=where).select(scores, 40, x, labelled)
        for where in ('cpu', 'cuda'))
    assert here == there and len(here) == 40


@pytest.mark.parametrize('case, most', [
    ('core-set', 1), ('k-means', 1), ('k-means, trials', 2),
    ('sparse, cosine', 1.5), ('gradient matching', 1.5),
    ('batch influence', 1)])
def test_waits_of_a_choice(device, watch, case, most):
    kind, options = CASES[case]
    rng = np.random.default_rng(3)
    x = embeddings_of('plain', rng)
    scores = Scores(ids=list(range(len(x))),
                    values=rng.uniform(0.1, 2, len(x)),
                    tiebreak=rng.permutation(len(x)) / len(x), columns={})
    waits = []
    for number in (10, 50):
        watch.kinds.clear()
        with watch:
            kind(**options, device='cuda').select(scores, number, x, x[:3])
        waits.append(watch.waits)
    assert 0 < waits[1] - waits[0] <= 40 * most, watch.report()
