"""The choices of a GPU, made by torch on the CPU: the same as without."""
import threading

import numpy as np
import pytest
import torch
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_core_set import order_in_threads, pool, with_outliers

from mmal.randomness import SeededStreams
from mmal.selection import (
    BatchInfluence,
    CoreSet,
    GradientMatching,
    KMeansPlusPlus,
    SparseModeling,
    devices,
    greedy_selector,
)
from mmal.selection.devices import RowsOnDevice, device_of
from mmal.selection.on_device import D2SamplerOnDevice, KCenterOnDevice

CPU = torch.device('cpu')
ON_DEVICE = [CoreSet, KMeansPlusPlus, SparseModeling, GradientMatching,
             BatchInfluence]


class TorchCoreSet(CoreSet):
    """What a GPU would do."""

    def candidates(self, run, rows, weights):
        return KCenterOnDevice(run.embeddings, run.quantizer, rows,
                               run.centres, weights, CPU)


class TorchKMeansPlusPlus(KMeansPlusPlus):
    """What a GPU would do."""

    def candidates(self, run, rows, weights):
        streams = SeededStreams([run.scores.ids[row] for row in rows],
                                self.seed, self.round, *self.seed_key,
                                self.key, 'draws')
        return D2SamplerOnDevice(
            run.embeddings, run.quantizer, rows, run.centres, streams,
            weights, self.trials, run.processes, CPU)


PAIRS = [(CoreSet, TorchCoreSet), (KMeansPlusPlus, TorchKMeansPlusPlus)]


@pytest.fixture(params=[0, 24 * 8 * 6, 2**30],
                ids=['no room', 'room for some', 'room for all'])
def room(request, monkeypatch):
    """How many bytes a GPU has left for rows."""
    monkeypatch.setattr(devices, '_free_bytes', lambda device: request.param)
    monkeypatch.setattr(devices, '_AT_ONCE', 100)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('numpy, by_torch, options', [
    (*PAIRS[0], {}), (*PAIRS[1], {}), (*PAIRS[1], dict(trials=4))])
def test_the_same_images(room, numpy, by_torch, options, weighted, distance):
    embeddings, labelled = pool(n=150, labelled=20)
    scores = scores_of(np.random.default_rng(1).uniform(0, 2, 150))
    scores.values[::20] = -np.inf
    options = dict(options, start='labelled', weighted=weighted,
                   distance=distance)
    chosen = [kind(**options).select(scores, 150, embeddings, labelled)
              for kind in (numpy, by_torch)]
    assert chosen[0] == chosen[1]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_same_of_ties_copies_and_outliers(data):
    n = data.draw(st.integers(1, 12))
    number = st.integers(0, 3)
    row = st.lists(number, min_size=2, max_size=2)
    x = np.array(data.draw(st.lists(row, min_size=n, max_size=n)), 'f4')
    if data.draw(st.booleans()):
        x[0] *= 1e6  # two grids
    weights = data.draw(st.lists(number, min_size=n, max_size=n))
    scores = scores_of(weights, np.array(data.draw(
        st.permutations(range(n)))) / n)
    numpy, by_torch = data.draw(st.sampled_from(PAIRS))
    options = dict(weighted=data.draw(st.booleans()),
                   start=data.draw(st.sampled_from(['random', 'best'])))
    if numpy is KMeansPlusPlus:
        options['trials'] = data.draw(st.integers(1, 3))
    assert by_torch(**options).select(scores, n, x) == \
        numpy(**options).select(scores, n, x)


@pytest.mark.parametrize('numpy, by_torch', PAIRS)
def test_the_same_beside_outliers(room, numpy, by_torch):
    rng = np.random.default_rng(0)
    x = with_outliers(rng, 200, 12, 3, 6)
    scores = scores_of(rng.uniform(0, 2, 200))
    options = dict(start='random', weighted=True)
    if numpy is KMeansPlusPlus:
        options['trials'] = 5
    assert by_torch(**options).select(scores, 80, x) == \
        numpy(**options).select(scores, 80, x)


@pytest.mark.parametrize('by_torch', [
    TorchCoreSet(start='random'),
    TorchKMeansPlusPlus(trials=3)], ids=['core-set', 'k-means++'])
def test_processes_choose_what_one_does(by_torch):
    embeddings, _ = pool(n=80)
    scores = scores_of(np.random.default_rng(2).uniform(0, 2, 80))
    expected = by_torch.select(scores, 80, embeddings)
    # the third has nothing, the second runs out early
    shards = np.arange(0, 70), np.arange(70, 80), np.arange(0)
    assert order_in_threads(by_torch, scores, embeddings, None,
                            shards) == [expected] * 3


def test_all_measure_on_the_cpu_where_one_process_has_no_gpu(monkeypatch):
    embeddings, _ = pool(n=40)
    scores = scores_of(np.zeros(40))
    selector = CoreSet(start='random')
    expected = selector.select(scores, 40, embeddings)
    monkeypatch.setattr(
        greedy_selector, 'device_of', lambda name: torch.device(
            'cuda' if threading.current_thread().name == '1' else 'cpu'))
    halves = np.arange(20), np.arange(20, 40)
    assert order_in_threads(selector, scores, embeddings, None,
                            halves) == [expected] * 2


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_sparse_modelling_with_rows_on_a_gpu(monkeypatch, distance):
    embeddings, _ = pool(n=60)
    scores = scores_of(np.random.default_rng(1).uniform(0, 2, 60))
    scores.values[::9] = -np.inf
    chosen = []
    for room in (0, 6 * 8 * 20, 2**30):
        monkeypatch.setattr(devices, '_free_bytes',
                            lambda device, room=room: room)
        chosen.append(SparseModeling(distance).select(scores, 60, embeddings))
    assert chosen == chosen[:1] * 3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(1, 5), st.integers(0, 900))
def test_rows_come_in_order_however_many_fit(number, width, room):
    rows = np.arange(float(number * width)).reshape(number, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, '_free_bytes', lambda device: room)
        patch.setattr(devices, 'block_rows', lambda width: 3)
        patch.setattr(devices, '_AT_ONCE', 15)
        kept = RowsOnDevice(lambda start, stop: rows[start:stop].copy(),
                            number, width, CPU)
        for _ in range(2):  # those that do not fit are made again
            parts = [*kept]
            assert [start for start, _ in parts] == [
                *np.cumsum([0, *map(len, (t for _, t in parts))])[:-1]]
            got = np.concatenate([np.zeros((0, width)),
                                  *(t.numpy() for _, t in parts)])
            np.testing.assert_array_equal(got, rows)


@pytest.mark.parametrize('kind', ON_DEVICE)
@pytest.mark.parametrize('name', ['gpu', 'cuda:x', 'meta', 0, None])
def test_an_unknown_device_is_refused(kind, name):
    with pytest.raises(ValueError, match=f'{kind.__name__}: device is'):
        kind(device=name)


@pytest.mark.parametrize('kind', ON_DEVICE)
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, kind):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    assert kind(device='cuda:0').device == 'cuda:0'
    with pytest.raises(ValueError, match="'cuda:1', but torch sees 1 GPU h"):
        kind(device='cuda:1')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match="'cuda', but torch sees 0 GPUs here"):
        kind(device='cuda')
    assert device_of('auto') == CPU


def test_a_run_with_an_unknown_device_names_its_key():
    from mmal.engine.build import build_from
    with pytest.raises(ValueError, match=r'(?s)active_learning\.selector.*'
                       "device is 'cuad'"):
        build_from('selector', dict(type='mmal.CoreSet', device='cuad'))
