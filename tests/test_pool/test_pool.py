import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool.images import UnreadableImage
from mmal.pool.pool import (
    STATE_VERSION,
    Pool,
    State,
    draw_initial,
)

IDS = [7, 'x', 3, '3', 12]


def _bad(id, reason='no such file'):
    return UnreadableImage(id, f'{id}.jpg', f'/d/{id}.jpg', reason)


def ids_of_rounds(pool):
    return [r['ids'] for r in pool.to_state('', 0).rounds]


def unreadable(pool):
    state = pool.to_state('', 0)
    return [
        UnreadableImage(**{k: v for k, v in image.items()
                           if k != 'from_round'})
        for image in state.unreadable]


@pytest.fixture
def pool():
    pool = Pool(IDS)
    pool.commit([12, 7], seed=5)
    pool.set_unreadable([_bad('x')])
    pool.commit(['3'])
    return pool


def test_rounds(pool):
    assert pool.num_rounds == 2 and len(pool) == 5
    assert ids_of_rounds(pool) == [[12, 7], ['3']]
    assert pool.labelled() == [7, '3', 12]
    assert pool.labelled(0) == [7, 12]
    assert pool.unlabelled() == [3]
    assert pool.unlabelled(0) == [3, '3']
    assert [b.id for b in unreadable(pool)] == ['x']
    assert pool.commit([3]) == 2
    assert pool.unlabelled() == []


def test_before_the_first_round():
    pool = Pool(IDS)
    assert pool.labelled() == [] and pool.unlabelled() == IDS
    with pytest.raises(IndexError, match='no round 0 yet'):
        pool.labelled(0)


def test_results_are_copies(pool):
    pool.to_state('', 0).rounds[0]['ids'].append(3)
    pool.labelled().clear()
    assert ids_of_rounds(pool) == [[12, 7], ['3']]
    assert pool.labelled() == [7, '3', 12]


@pytest.mark.parametrize('ids, message', [
    ([], 'round 2 would add no image'),
    ([3, 3], 'holds an image twice: 3, 3'),
    ([3, 99], 'no images with the ids 99'),
    ([3, 7], 'images 7 cannot be labelled in round 2.*since round 0'),
    ([3, 'x'], r"images 'x' cannot be labelled in round 2.*no such file"),
])
def test_a_wrong_commit_changes_nothing(pool, ids, message):
    before = pool.to_state('', 0)
    with pytest.raises(ValueError, match=message):
        pool.commit(ids)
    assert pool.to_state('', 0) == before


@pytest.mark.parametrize('id, message', [
    (99, 'no images with the ids 99'),
    (7, 'images 7 cannot be called unreadable')])
def test_a_wrong_unreadable_image_changes_nothing(pool, id, message):
    with pytest.raises(ValueError, match=message):
        pool.set_unreadable([_bad(3), _bad(id)])
    assert pool.unlabelled() == [3]


def test_unreadable_twice_keeps_the_first_reason(pool):
    pool.set_unreadable([_bad('x', 'other')])
    assert unreadable(pool) == [_bad('x')]


@pytest.mark.parametrize('ids, message', [([], 'the pool is empty'),
                                          ([1, 2, 1], 'more than once')])
def test_wrong_pools(ids, message):
    with pytest.raises(ValueError, match=message):
        Pool(ids)


def test_numpy_ids_become_the_pools(tmp_path):
    pool = Pool([1, 2, 3])
    pool.commit(np.array([3, 1]), seed=np.int64(4))
    pool.save(str(tmp_path / 's.json'), 'h', np.int64(0))
    assert State.load(str(tmp_path / 's.json')).rounds == [
        {'ids': [3, 1], 'seed': 4}]


def test_round_trip(pool, tmp_path):
    path = str(tmp_path / 'state.json')
    pool.save(path, 'abc', 3, 'target', note='AP 0.22')
    state = State.load(path)
    assert (state.config_hash, state.seed, state.stopped) == (
        'abc', 3, 'target')
    assert state.meta == {'note': 'AP 0.22'} and state.num_images == 5
    # the order of the file may change, the images may not
    again = Pool.from_state(state, IDS[::-1])
    assert again.to_state('abc', 3, 'target', note='AP 0.22') == state
    assert ids_of_rounds(again) == ids_of_rounds(pool)
    assert unreadable(again) == unreadable(pool)
    assert repr(again) == ('Pool(5 images: 3 labelled in 2 rounds, '
                           '1 unreadable)')


def test_a_pool_may_grow(pool):
    grown = Pool.from_state(pool.to_state('', 0), [100, *IDS, 200])
    assert ids_of_rounds(grown) == ids_of_rounds(pool)
    assert grown.unlabelled() == [100, 3, 200]
    assert unreadable(grown) == unreadable(pool)


def test_a_pool_may_lose_images_that_nobody_chose(pool):
    smaller = Pool.from_state(pool.to_state('', 0), [7, 'x', '3', 12])
    assert ids_of_rounds(smaller) == ids_of_rounds(pool)
    assert smaller.unlabelled() == []
    assert unreadable(smaller) == unreadable(pool)
    smallest = Pool.from_state(pool.to_state('', 0), [7, '3', 12])
    assert ids_of_rounds(smallest) == ids_of_rounds(pool)


def test_another_json_is_refused(pool):
    with pytest.raises(ValueError, match='5 images and lists 7 now'):
        Pool.from_state(pool.to_state('', 0), [*IDS[1:], 100, 200, 300])
    with pytest.raises(ValueError, match='no longer listed.*the ids'):
        Pool.from_state(pool.to_state('', 0), ['3', 100, 101, 102, 103])


def _state(pool, **changes):
    raw = {'version': STATE_VERSION, **vars(pool.to_state('h', 0)), **changes}
    return json.dumps(raw)


@pytest.mark.parametrize('make', [
    lambda p: '', lambda p: _state(p)[:-40], lambda p: '[]',
    lambda p: '{"rounds": []}', lambda p: _state(p, rounds=None),
    lambda p: _state(p, rounds=[[1, 2]]), lambda p: _state(p, extra=1),
    lambda p: _state(p, rounds=[{'ids': 3, 'seed': 0}]),
    lambda p: _state(p, unreadable=[{'id': 3}]),
    lambda p: _state(p, unreadable=[dict(vars(_bad(7)), from_round='1')]),
    lambda p: _state(p, stopped=1),
], ids=range(11))
def test_a_corrupt_state_says_what_to_do(pool, tmp_path, make):
    path = tmp_path / 'state.json'
    path.write_text(make(pool))
    with pytest.raises(ValueError, match='state.json is corrupt') as e:
        State.load(str(path))
    assert 'backup' in str(e.value) and '--work-dir' in str(e.value)


@pytest.mark.parametrize('rounds', [
    [{'ids': [7, 7], 'seed': 0}], [{'ids': [[7]], 'seed': 0}],
    [{'ids': [7], 'seed': 0}, {'ids': [7], 'seed': 0}]])
def test_a_contradicting_state(pool, tmp_path, rounds):
    path = tmp_path / 'state.json'
    path.write_text(_state(pool, rounds=rounds))
    with pytest.raises(ValueError, match='corrupt'):
        Pool.from_state(State.load(str(path)), IDS)


def test_a_state_of_another_version(pool, tmp_path):
    path = tmp_path / 'state.json'
    path.write_text(_state(pool, version=STATE_VERSION + 1))
    with pytest.raises(ValueError, match='another version of mmal'):
        State.load(str(path))


def test_a_state_of_the_first_version_is_refused_in_one_sentence(
        pool, tmp_path):
    """Its keys are others: it must not be called corrupt, nor half read."""
    content = json.loads(_state(pool, version=1))
    content['bad_images'] = content.pop('unreadable')
    content['rounds'][1]['repeated'] = [7]
    path = tmp_path / 'state.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as e:
        State.load(str(path))
    assert str(e.value) == (
        f'{path} was written by another version of mmal (its format is not '
        '3). Use that version, or start again in another work folder.')


def test_no_state(tmp_path):
    with pytest.raises(FileNotFoundError):
        State.load(str(tmp_path / 'state.json'))


def test_a_quarantined_image_was_labelled_before(pool):
    pool.commit([3], reselected=[7])
    pool.quarantine([_bad(7, 'it is cut')])
    again = Pool.from_state(pool.to_state('', 0), IDS)
    for one in (pool, again):
        assert one.labelled() == [3, '3', 12]
        assert one.labelled(1) == [7, '3', 12]
        assert one.labelled(0) == [7, 12]
        assert one.unlabelled() == [] and one.unlabelled(0) == [3, '3']
        assert one.repeat_counts() == {}
        assert unreadable(one) == [_bad('x'), _bad(7, 'it is cut')]
        one.set_unreadable([_bad(7)])  # known already
        with pytest.raises(ValueError, match='7 cannot be reselected'):
            one.commit([], reselected=[7])
    assert '3 labelled in 3 rounds, 2 unreadable' in repr(pool)


@pytest.mark.parametrize('id', [3, 'x'])
def test_only_labelled_images_are_quarantined(pool, id):
    with pytest.raises(ValueError, match='cannot be quarantined in round 1'):
        pool.quarantine([_bad(7), _bad(id)])
    assert 7 in pool.labelled()
    with pytest.raises(IndexError):
        pool.quarantine([_bad(7)], 2)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_every_image_is_in_one_set(data):
    ids = data.draw(st.lists(st.one_of(st.integers(), st.text(max_size=3)),
                             min_size=1, max_size=20, unique=True))
    pool, quarantined = Pool(ids), {}
    for _ in range(data.draw(st.integers(0, 6))):
        left = pool.unlabelled()
        if not left:
            break
        some = data.draw(st.lists(st.sampled_from(left), min_size=1,
                                  unique=True))
        if data.draw(st.booleans()):
            pool.commit(some)
        else:
            pool.set_unreadable(map(_bad, some))
        labelled = pool.labelled()
        if labelled and data.draw(st.booleans()):
            broken = data.draw(st.sampled_from(labelled))
            pool.quarantine([_bad(broken)])
            quarantined[broken] = pool.num_rounds - 1
    broken = [b.id for b in unreadable(pool)]
    parts = pool.labelled() + pool.unlabelled() + broken
    assert len(parts) == len(ids) and set(parts) == set(ids)
    assert [i for i in ids if i in set(pool.labelled())] == pool.labelled()
    for r in range(pool.num_rounds):
        then = set(pool.labelled(r))
        assert then == {i for ids in ids_of_rounds(pool)[:r + 1]
                        for i in ids if quarantined.get(i, r + 1) > r}
        assert not then & set(pool.unlabelled(r))
    again = Pool.from_state(
        State(**json.loads(json.dumps(vars(pool.to_state('h', 0))))), ids)
    assert again.to_state('h', 0) == pool.to_state('h', 0)


class TestDrawInitial:

    def test_depends_on_the_set_and_the_seed(self):
        ids = list(range(200))
        first = draw_initial(ids, 20, 0)
        assert first == draw_initial(ids[::-1], 20, 0)
        assert first == draw_initial(ids, 50, 0)[:20]
        assert len(set(first)) == 20
        assert first != draw_initial(ids, 20, 1)
        assert first[:3] == [159, 67, 145]

    def test_every_image_has_the_same_chance(self):
        counts = np.zeros(10)
        for seed in range(2000):
            counts[draw_initial(range(10), 3, seed)] += 1
        assert abs(counts - 600).max() < 100  # five standard deviations

    @pytest.mark.parametrize('size', [0, -1, 2.0, True, None, '3'])
    def test_wrong_size(self, size):
        with pytest.raises(ValueError, match=r'initial\.size is .* above 0'):
            draw_initial([1, 2, 3], size, 0)

    def test_more_than_there_are(self):
        with pytest.raises(ValueError, match='size is 4 but .* only 3'):
            draw_initial([1, 2, 3], 4, 0)


def _save_for_ever(path, started):
    pool = Pool(range(3000))
    pool.commit(range(1000), 0)
    n = 0
    while True:
        n += 1
        pool.save(path, 'h', 0, n=n)
        started.set()


def test_killed_while_saving(tmp_path):
    path = str(tmp_path / 'state.json')
    context = multiprocessing.get_context('fork')
    last = []
    for k in range(25):
        started = context.Event()
        process = context.Process(target=_save_for_ever, args=(path, started))
        process.start()
        assert started.wait(30)
        time.sleep(0.01 + 0.0017 * k)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        state = State.load(path)
        assert Pool.from_state(state, range(3000)).num_rounds == 1
        last.append(state.meta['n'])
    assert max(last) > 1
    left_over = [n for n in os.listdir(tmp_path) if n != 'state.json']
    assert left_over  # some kills did hit a write


def test_reselected_images(tmp_path):
    pool = Pool(IDS)
    pool.commit([12, 7], seed=5)
    pool.commit(['3'], reselected=np.array([7]))
    pool.commit([], reselected=['3', 7])
    pool.commit([3])
    assert [pool.repeat_counts(n) for n in range(4)] == [
        {}, {7: 1}, {7: 2, '3': 1}, {7: 2, '3': 1}]
    assert list(pool.repeat_counts()) == [7, '3']
    assert pool.labelled(2) == [7, '3', 12] and pool.num_rounds == 4
    assert ids_of_rounds(pool) == [[12, 7], ['3'], [], [3]]
    path = str(tmp_path / 'state.json')
    pool.save(path, 'hash', 0)
    again = Pool.from_state(State.load(path), IDS)
    assert again.to_state('', 0) == pool.to_state('', 0)
    with open(path) as f:
        rounds = json.load(f)['rounds']
    assert rounds == [
        {'ids': [12, 7], 'seed': 5},
        {'ids': ['3'], 'seed': None, 'reselected': [7]},
        {'ids': [], 'seed': None, 'reselected': ['3', 7]},
        {'ids': [3], 'seed': None}]


@pytest.mark.parametrize('ids, reselected, message', [
    ([], [], 'would add no image'),
    ([3], [3], 'images 3 cannot be reselected in round 2.*not labelled'),
    ([3], ['x'], "images 'x' cannot be reselected"),
    ([3], [7, 7], 'holds an image twice'),
    ([3], [99], 'no images with the ids 99'),
])
def test_a_wrong_reselection_changes_nothing(pool, ids, reselected, message):
    before = pool.to_state('', 0)
    with pytest.raises(ValueError, match=message):
        pool.commit(ids, reselected=reselected)
    assert pool.to_state('', 0) == before


@pytest.mark.parametrize('change', [
    dict(reselected=7), dict(reselected=[3]), dict(repeat=[7])])
def test_a_state_with_wrong_reselections_is_corrupt(pool, tmp_path, change):
    path = tmp_path / 'state.json'
    pool.save(str(path), 'hash', 0)
    content = json.loads(path.read_text())
    content['rounds'][1].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='corrupt'):
        Pool.from_state(State.load(str(path)), IDS)
