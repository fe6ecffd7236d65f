"""Images of the pool that break while a run is under way."""
import copy
import json
import os

import pytest
from helpers.tiny import tiny_active_learning, tiny_coco, tiny_config
from mmengine.registry import DefaultScope

from mmal.engine import ActiveLearner
from mmal.engine.query import Query
from mmal.engine.run_state import RunState
from mmal.pool import Pool, State, UnreadableImagesError, verified_images

pytestmark = pytest.mark.run


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def root(tmp_path):
    return tiny_coco(str(tmp_path / 'data'))


def config(root, work='work', **block):
    cfg = tiny_config(root)
    cfg.work_dir = os.path.join(os.path.dirname(root), work)
    cfg.active_learning = tiny_active_learning(
        **dict(dict(on_bad_image='skip'), **block))
    return cfg


class Photos:
    """The image files of a pool, to break some and repair them."""

    def __init__(self, root):
        with open(os.path.join(root, 'pool.json')) as f:
            self.images = json.load(f)['images']
        self.paths = {i['id']: os.path.join(root, 'images', i['file_name'])
                      for i in self.images}
        self.content = {}

    @property
    def ids(self):
        return list(self.paths)

    def cut(self, id):
        """Leave half of the bytes."""
        self.keep(id)
        with open(self.paths[id], 'wb') as f:
            f.write(self.content[id][:len(self.content[id]) // 2])

    def remove(self, id):
        self.keep(id)
        os.unlink(self.paths[id])

    def keep(self, id):
        with open(self.paths[id], 'rb') as f:
            self.content[id] = f.read()

    def repair(self):
        for id, content in self.content.items():
            with open(self.paths[id], 'wb') as f:
                f.write(content)


def read(cfg, *names):
    with open(os.path.join(cfg.work_dir, *names)) as f:
        return json.load(f)


def labelled(cfg, number):
    split = read(cfg, f'round_{number:02d}', 'labelled.json')
    return {image['id'] for image in split['images']}


def pool_of(cfg, photos):
    state = State.load(os.path.join(cfg.work_dir, 'state.json'))
    return Pool.from_state(state, photos.ids)


@pytest.fixture
def break_two(root, monkeypatch):
    """One image of each set breaks when round 1 is committed."""
    photos = Photos(root)
    photos.broken = []
    commit = RunState.commit

    def breaking(self, ids, *args):
        commit(self, ids, *args)
        if self.round == 1:
            photos.broken = [self.pool.labelled(0)[0], ids[0]]
            photos.remove(photos.broken[0])
            photos.cut(photos.broken[1])

    monkeypatch.setattr(RunState, 'commit', breaking)
    return photos


def test_labelled_images_that_break_are_quarantined(root, break_two,
                                                    monkeypatch):
    cfg = config(root, rounds=3)
    report = ActiveLearner(copy.deepcopy(cfg)).run()
    first, second = break_two.broken
    rounds = [r['ids'] for r in read(cfg, 'state.json')['rounds']]
    assert [len(ids) for ids in rounds] == [4, 3, 3]
    assert first in rounds[0] and second in rounds[1]

    # what each round trained on, and what the pool says of it
    pool = pool_of(cfg, break_two)
    for number in range(3):
        chosen = {i for ids in rounds[:number + 1] for i in ids}
        left = chosen if number == 0 else chosen - {first, second}
        assert labelled(cfg, number) == left == set(pool.labelled(number))
        assert read(cfg, 'curve.json')['rounds'][number]['images'] == len(left)

    unreadable = read(cfg, 'state.json')['unreadable']
    assert {u['id']: u['from_round'] for u in unreadable} == {
        first: 1, second: 1}
    assert unreadable[0]['reason'] == 'no such file'
    assert 'truncated' in unreadable[1]['reason']
    assert ('2 labelled images can no longer be read'
            in read(cfg, 'curve.json')['note'])
    with open(report) as f:
        page = f.read()
    assert os.path.basename(break_two.paths[first]) in page
    assert page.count('left out from round 1 on') == 2

    # killed in round 1 and resumed with the files in place again
    break_two.repair()
    resumed = config(root, 'resumed', rounds=3)
    with monkeypatch.context() as patch:
        patch.setattr('mmal.engine.learner.trained', fail_in_round(1))
        with pytest.raises(InterruptedError):
            ActiveLearner(copy.deepcopy(resumed)).run()
    assert break_two.broken == [first, second]
    break_two.repair()
    ActiveLearner(resumed, resume=True).run()
    state, again = read(cfg, 'state.json'), read(resumed, 'state.json')
    assert again['rounds'] == state['rounds']
    assert again['unreadable'] == state['unreadable']
    for number in range(3):
        assert labelled(resumed, number) == labelled(cfg, number)


def fail_in_round(number):
    """Stands for the training of a round that is killed."""
    from mmal.engine.training import trained

    def fail(cfg, title):
        if cfg.work_dir.endswith(f'round_{number:02d}'):
            raise InterruptedError
        return trained(cfg, title)

    return fail


def test_without_skip_they_are_one_error_before_the_training(root, break_two):
    cfg = config(root, on_bad_image='raise')
    with pytest.raises(UnreadableImagesError, match='^2 image') as e:
        ActiveLearner(copy.deepcopy(cfg)).run()
    assert [image.id for image in e.value.images] == break_two.broken
    assert not os.path.exists(os.path.join(cfg.work_dir, 'round_01'))
    # on resume as well; repaired, the run goes on
    with pytest.raises(UnreadableImagesError):
        ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    break_two.repair()
    ActiveLearner(cfg, resume=True).run()
    state = read(cfg, 'state.json')
    assert state['stopped'] == 'rounds' and not state['unreadable']


def test_a_cut_image_is_not_called_replaced(root):
    """Between two starts; replaced ones need --resume force."""
    photos, cfg = Photos(root), config(root, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()
    victim, *others = pool_of(cfg, photos).labelled()
    photos.cut(victim)
    cfg.active_learning.rounds = 2
    ActiveLearner(cfg, resume=True).run()
    entry, = read(cfg, 'state.json')['unreadable']
    # the round that was under way: it is scored and goes on without it
    assert entry['id'] == victim and entry['from_round'] == 0
    assert labelled(cfg, 0) == set(others) < labelled(cfg, 1)


def test_nothing_is_left_to_train_on(root):
    photos, cfg = Photos(root), config(root, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()
    for victim in pool_of(cfg, photos).labelled():
        photos.cut(victim)
    cfg.active_learning.rounds = 2
    with pytest.raises(ValueError, match='none of its 4 labelled images can'):
        ActiveLearner(cfg, resume=True).run()


@pytest.mark.parametrize('scored', [False, True])
def test_unlabelled_images_that_disappear(root, monkeypatch, scored):
    """Before a run goes on, with scores of an interrupted query or none."""
    # looks at the images when it scores, and never again
    cfg = config(root, scorer=dict(type='mmal.EntropyScorer'))
    photos = Photos(root)
    with monkeypatch.context() as patch:
        def fail(*args):
            raise InterruptedError

        patch.setattr(Query, '_acquire' if scored else '_scores', fail)
        with pytest.raises(InterruptedError):
            ActiveLearner(copy.deepcopy(cfg)).run()
    scores = os.path.join(cfg.work_dir, 'round_00', 'scores.npz')
    assert os.path.exists(scores) == scored
    gone = pool_of(cfg, photos).unlabelled()[:6]  # two are left, of 8
    for victim in gone:
        photos.remove(victim)

    strict = copy.deepcopy(cfg)
    strict.active_learning.on_bad_image = 'raise'
    with pytest.raises(UnreadableImagesError, match='^6 image'):
        ActiveLearner(strict, resume=True)
    ActiveLearner(cfg, resume=True).run()
    state = read(cfg, 'state.json')
    assert {u['id'] for u in state['unreadable']} == set(gone)
    assert not any('from_round' in u for u in state['unreadable'])
    assert len(state['rounds'][1]['ids']) == 2
    assert '6 unlabelled images can no longer be read' in ''.join(
        state['meta']['notes'])


@pytest.fixture
def verified(monkeypatch):
    """The files that are decoded to see whether they are whole, in
    queries."""
    paths, verify = [], verified_images.verify_image
    monkeypatch.setattr(
        verified_images, 'verify_image', lambda path, *args: (
            paths.append(path), verify(path, *args))[1])
    return paths


@pytest.mark.parametrize('selector', ['TopN', 'CoreSet'])
def test_an_image_is_verified_once_in_all_rounds(root, monkeypatch, verified,
                                                 selector):
    cfg = config(root, rounds=4, scorer=dict(type='mmal.EntropyScorer'),
                 selector=dict(type=f'mmal.{selector}'))
    photos = Photos(root)
    with monkeypatch.context() as patch:
        patch.setattr('mmal.engine.learner.trained', fail_in_round(1))
        with pytest.raises(InterruptedError):
            ActiveLearner(copy.deepcopy(cfg)).run()
    # the candidates; the labelled ones are read for their embeddings
    number = 8 if selector == 'TopN' else 12
    assert len(verified) == len(set(verified)) == number
    ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    assert len(verified) == number

    # without the file they are verified again, and the choice is the same
    plain = config(root, 'plain', rounds=4, scorer=cfg.active_learning.scorer,
                   selector=cfg.active_learning.selector)
    monkeypatch.setattr(verified_images.VerifiedImages, 'add',
                        lambda *args: None)
    verified.clear()
    ActiveLearner(plain).run()
    assert len(verified) > len(set(verified)) == number
    assert pool_of(plain, photos).labelled() == \
        pool_of(cfg, photos).labelled()


def test_a_candidate_that_breaks_after_it_was_verified_is_noticed(
        root, monkeypatch, verified):
    cfg = config(root, rounds=3, scorer=dict(type='mmal.EntropyScorer'))
    photos, commit, cut = Photos(root), RunState.commit, []

    def breaking(self, ids, *args):
        commit(self, ids, *args)
        if self.round == 1:
            cut.append(self.pool.unlabelled()[0])
            photos.cut(cut[0])

    monkeypatch.setattr(RunState, 'commit', breaking)
    ActiveLearner(cfg).run()
    entry, = read(cfg, 'state.json')['unreadable']
    assert entry['id'] == cut[0] and 'truncated' in entry['reason']
    assert len(verified) == 9 and verified[-1] == photos.paths[cut[0]]
