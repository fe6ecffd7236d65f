"""A query by two processes of which only one knows how many boxes."""
import os

import numpy as np
import pytest
from helpers.forks import fork_two
from helpers.queries import ask, prepare
from helpers.runs import succeeded

from mmal.dist import ProcessGroup, close_dist, setup_dist
from mmal.fileio import read_json, write_json
from mmal.pool import CocoOracle, load_coco
from mmal.scores import Scores
from mmal.selection import CoreSet, KMeansPlusPlus

N = 61
SELECTORS = dict(
    core_set=dict(type='mmal.CoreSet'),
    weighted=dict(type='mmal.CoreSet', start='best', weighted=True),
    k_means=dict(type='mmal.KMeansPlusPlus'),
    two_stage=dict(type='mmal.TwoStage', first=dict(type='mmal.TopN'),
                   then=dict(type='mmal.CoreSet'), keep=2.))


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
    """N images, each with up to two boxes, and two labelled ones more."""
    path = str(tmp_path_factory.mktemp('pool') / 'pool.json')
    ids = range(N + 2)
    boxes = [i for i in ids for _ in range(i % 3)]
    write_json(path, dict(
        images=[dict(id=i, file_name=f'{i}.png', width=99, height=99)
                for i in ids],
        annotations=[dict(id=n, image_id=i, category_id=1, area=16,
                          bbox=[5, 5, 4, 4], iscrowd=0)
                     for n, i in enumerate(boxes)],
        categories=[dict(id=1, name='dog')]))
    return load_coco(path)


@pytest.fixture(scope='module', params=[False, True], ids=['', 'refused'])
def folder(request, pool, tmp_path_factory):
    """A round with scores and embeddings; and whether selectors that take
    scores for weights must refuse them."""
    root = str(tmp_path_factory.mktemp('round'))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N, 4)).astype('f4')
    values = rng.uniform(0, 1, N)
    scores = Scores(range(N), -values if request.param else values,
                    rng.permutation(N) / N, embeddings=rows)
    prepare(root, pool, scores, [N, N + 1])
    np.save(os.path.join(root, 'embeddings_labelled.npy'), rows[:2] + 9)
    return root, request.param


def choose(root, pool, knows):
    """Ids and boxes by each selector, or the error."""
    oracle = CocoOracle(pool=pool) if knows else None
    out = []
    for selector in SELECTORS.values():
        try:
            chosen = ask(root, pool, oracle, selector=selector,
                         budget=dict(size=17, unit='boxes'))
            out.append([chosen.ids, chosen.boxes])
        except ValueError as e:
            out.append(str(e))
    return out


def process(root, pool, out):
    """What one of two processes does; it notes how many images it looked
    at and how often it talked to the other."""
    setup_dist('pytorch')
    rank = int(os.environ['RANK'])
    shares, gathers = [], []

    def watch(owner, name, note):
        original = getattr(owner, name)

        def watched(self, *args):
            note(args)
            return original(self, *args)

        setattr(owner, name, watched)

    for kind in (CoreSet, KMeansPlusPlus):
        watch(kind, 'order_sharded', lambda args: shares.append(len(args[0])))
    watch(ProcessGroup, 'gather', gathers.append)
    chosen = choose(root, pool, rank == 0)
    close_dist()
    write_json(f'{out}/{rank}.json', [chosen, shares, len(gathers)])


@pytest.fixture(scope='module')
def two(folder, pool, tmp_path_factory):
    out = str(tmp_path_factory.mktemp('two'))
    for done in fork_two(lambda: process(folder[0], pool, out)):
        succeeded(done)
    return [read_json(f'{out}/{rank}.json') for rank in range(2)]


def test_two_processes_choose_what_one_chooses(folder, pool, two):
    root, refuses = folder
    expected = choose(root, pool, True)
    assert [isinstance(e, str) for e in expected] == [
        False, refuses, refuses, False]
    for first, second, alone in zip(two[0][0], two[1][0], expected):
        assert first == second
        if isinstance(alone, str):
            assert 'finite and >= 0' in alone and 'finite and >= 0' in first
        else:
            assert first == alone
            assert 8 <= len(alone[0]) < N and 15 <= alone[1] <= 17


def test_each_looks_at_half_of_the_images(two):
    assert [set(shares[:3]) for _, shares, _ in two] == [{30}, {31}]
    # and of those that are kept: 17 boxes are on 12 images, as the labelled
    # ones have 1.5 each
    assert sum(shares[3] for _, shares, _ in two) == 24
    assert two[0][2] == two[1][2] < 3 * N
