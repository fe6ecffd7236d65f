"""Whole runs on the tiny data set, and every kind of bad input."""
import copy
import json
import os
import shutil

import numpy as np
import pytest
import torch
from helpers.forks import fork_two
from helpers.runs import LAUNCHER, TRAIN, succeed, succeeded
from helpers.tiny import tiny_active_learning, tiny_config
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmal.engine import ActiveLearner
from mmal.engine.inputs import read_inputs
from mmal.engine.plan import plan_run
from mmal.pool import LabelsPending
from mmal.scores import Scores


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    return root


@pytest.fixture
def own_data(data, tmp_path):
    """A copy of the data that a test may break."""
    root = str(tmp_path / 'data')
    shutil.copytree(data, root)
    return root


def config(root, tmp_path, **block):
    cfg = tiny_config(root)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning()
    cfg.merge_from_dict(dict(active_learning=block))
    return cfg


@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    """The folder around ``work``, which is of a run of two rounds."""
    folder = tmp_path_factory.mktemp('finished')
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(config(data, folder)).run()
    return folder


@pytest.fixture(scope='module')
def first_round(data, tmp_path_factory):
    """The same of a run of one round."""
    folder = tmp_path_factory.mktemp('first_round')
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(config(data, folder, rounds=1)).run()
    return folder


def read(tmp_path, *names):
    with open(os.path.join(str(tmp_path), 'work', *names)) as f:
        return json.load(f)


def edit(root, change, name='pool.json'):
    path = os.path.join(root, name)
    with open(path) as f:
        content = json.load(f)
    change(content)
    with open(path, 'w') as f:
        json.dump(content, f)
    return content


@pytest.mark.run
def test_files_of_a_run(finished):
    tmp_path = finished
    assert os.path.getsize(tmp_path / 'work' / 'report.html') > 1000
    state = read(tmp_path, 'state.json')
    first, second = (r['ids'] for r in state['rounds'])
    assert state['stopped'] == 'rounds'
    labelled = read(tmp_path, 'round_01', 'labelled.json')
    assert {i['id'] for i in labelled['images']} == {*first, *second}
    assert {a['image_id'] for a in labelled['annotations']
            } <= {*first, *second}
    scores = Scores.load(str(tmp_path / 'work/round_00/scores.npz'))
    assert set(scores.ids).isdisjoint(first) and set(second) <= {*scores.ids}
    selected = read(tmp_path, 'round_00', 'selected.json')
    assert selected['ids'] == second
    curve = read(tmp_path, 'curve.json')
    assert [r['images'] for r in curve['rounds']] == [4, 7]
    assert curve['rounds'][1]['boxes'] == len(labelled['annotations'])
    round_cfg = Config.fromfile(
        str(tmp_path / 'work' / 'round_01' / 'config.py'))
    assert round_cfg.train_dataloader.dataset.ann_file.endswith(
        os.path.join('round_01', 'labelled.json'))


@pytest.mark.run
def test_the_same_seed_gives_the_same_images_and_metrics(
        data, finished, tmp_path):
    outcomes = []
    for folder, seed in ((finished, None), (tmp_path / 'b', 0),
                         (tmp_path / 'c', 1)):
        if seed is not None:
            ActiveLearner(config(data, folder, seed=seed)).run()
        outcomes.append(([r['ids'] for r in read(
            folder, 'state.json')['rounds']], [
                r['metrics'] for r in read(folder, 'curve.json')['rounds']
            ]))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] != outcomes[2][0]


@pytest.mark.run
def test_the_last_round_takes_what_is_left_and_says_so(data, tmp_path):
    cfg = config(data, tmp_path, rounds=9, budget=dict(size=7),
                 scorer=dict(type='mmal.DetectionEntropyScorer'))
    cfg.model.test_cfg.score_thr = 0.
    ActiveLearner(cfg).run()
    assert read(tmp_path, 'state.json')['stopped'] == 'exhausted'
    curve = read(tmp_path, 'curve.json')
    assert [r['images'] for r in curve['rounds']] == [4, 11, 12]
    assert 'only 1 images were left' in curve['note']
    # the boxes expected on all candidates: of one image those predicted
    # on it for people, rounded to four digits each
    assert read(tmp_path, 'round_00/class_boxes.json')['images'] == 8
    counted = read(tmp_path, 'round_01/class_boxes.json')
    names = {c['id']: c['name'] for c in read(
        tmp_path, 'round_01/labelled.json')['categories']}
    sums = dict.fromkeys(names.values(), 0.0)
    predictions = read(tmp_path, 'round_01/predictions.json')
    for box in predictions:
        sums[names[box['category_id']]] += box['score']
    assert counted['images'] == 1 and sum(sums.values()) > 0
    assert counted['boxes'] == pytest.approx(
        sums, abs=1e-4 * len(predictions))
    assert 'class_boxes' not in Scores.load(
        str(tmp_path / 'work/round_01/scores.npz')).columns


@pytest.mark.run
def test_budget_in_boxes_is_kept(data, tmp_path):
    cfg = config(data, tmp_path, budget=dict(size=4, unit='boxes'))
    ActiveLearner(cfg).run()
    selected = read(tmp_path, 'round_00', 'selected.json')
    curve = read(tmp_path, 'curve.json')['rounds']
    assert 0 < selected['boxes'] <= 4
    assert curve[1]['boxes'] - curve[0]['boxes'] == selected['boxes']


@pytest.mark.run
def test_unknown_target_metric_is_named(data, tmp_path, monkeypatch):
    target = dict(metric='bbox_mAP', value=0.5)
    fake_metrics(monkeypatch, {'coco/bbox_mAP': 0.1})
    fails(config(data, tmp_path, target=target),
          r"target\.metric is 'bbox_mAP'.*coco/bbox_mAP")


def fake_metrics(monkeypatch, metrics):
    from mmdet.evaluation import CocoMetric
    monkeypatch.setattr(CocoMetric, 'compute_metrics',
                        lambda self, results: {
                            k.split('/')[-1]: v
                            for k, v in metrics.items()
                        })


@pytest.mark.run
def test_metrics_of_classes_without_boxes_are_nan(data, tmp_path,
                                                   monkeypatch):
    target = dict(metric='coco/a_precision', value=0.5)
    fake_metrics(monkeypatch, {'coco/a_precision': float('nan')})
    ActiveLearner(config(data, tmp_path, target=target)).run()
    metrics = read(tmp_path, 'round_00', 'metrics.json')
    assert metrics['coco/a_precision'] is None
    assert read(tmp_path, 'state.json')['stopped'] == 'rounds'


@pytest.mark.run
def test_only_broken_images_are_left(own_data, tmp_path):
    first = set(read_inputs(config(own_data, tmp_path)).initial_ids)
    for image in read_pool(own_data)['images']:
        if image['id'] not in first:
            damage(own_data, image['file_name'])
    ActiveLearner(config(own_data, tmp_path, on_bad_image='skip')).run()
    state = read(tmp_path, 'state.json')
    assert state['stopped'] == 'exhausted' and len(state['rounds']) == 1
    assert len(state['unreadable']) == 8


@pytest.mark.run
def test_changes_can_be_forced(data, first_round, tmp_path):
    shutil.copytree(first_round / 'work', tmp_path / 'work')
    cfg = config(data, tmp_path, budget=dict(size=2))
    fails(copy.deepcopy(cfg), '--resume force', resume=True)
    ActiveLearner(cfg, resume=True, accept_changes=True).run()
    state = read(tmp_path, 'state.json')
    assert [len(r['ids']) for r in state['rounds']] == [4, 2]
    assert 'the config was changed' in read(tmp_path, 'curve.json')['note']


def test_rounds_without_state_are_refused(data, tmp_path):
    os.makedirs(tmp_path / 'work' / 'round_00')
    fails(config(data, tmp_path), 'has rounds but no state.json')


@pytest.mark.parametrize('layers', ['bbox_head', 'bbox_head.*'])
def test_layers_that_gauss_newton_cannot_take(data, tmp_path, layers):
    scorer = dict(type='mmal.InfluenceScorer', layers=layers)
    fails(config(data, tmp_path, scorer=scorer), r"scorer\.layers: .*exact")
    assert not os.path.exists(tmp_path / 'work')


def test_missing_validation_image(own_data, tmp_path):
    os.unlink(os.path.join(own_data, 'images', 'val_002.png'))
    fails(config(own_data, tmp_path), 'val_002.png', FileNotFoundError)


@pytest.mark.run
def test_scores_before_a_bad_image_are_kept(own_data, tmp_path, monkeypatch):
    """Only the repaired image is scored again."""
    from mmal.scoring import InfluenceScorer
    scorer = dict(
        type='mmal.InfluenceScorer',
        layers='bbox_head.conv_cls',
        empty='background',
        solver=dict(type='mmal.Identity'))
    whole = config(own_data, tmp_path / 'whole', scorer=scorer)
    ActiveLearner(whole).run()
    first = set(read(tmp_path / 'whole', 'state.json')['rounds'][0]
             ['ids'])
    victim = next(i for i in read_pool(own_data)['images']
                  if i['id'] not in first)
    path = os.path.join(own_data, 'images', victim['file_name'])
    with open(path, 'rb') as f:
        content = f.read()
    damage(own_data, victim['file_name'])
    cfg = config(own_data, tmp_path, scorer=scorer)
    fails(copy.deepcopy(cfg), victim['file_name'])
    with open(path, 'wb') as f:
        f.write(content)
    seen = []
    original = InfluenceScorer.process

    def spy(self, model, batch):
        seen.extend(batch.ids)
        return original(self, model, batch)

    monkeypatch.setattr(InfluenceScorer, 'process', spy)
    ActiveLearner(cfg, resume=True).run()
    assert [i for i in seen if i != 0] == [victim['id']]  # 0: the rehearsal
    # what was counted before the image was repaired stays as it was
    assert read(tmp_path, 'round_00/class_boxes.json')['images'] == 7
    assert read(tmp_path, 'state.json')['rounds'] == read(
        tmp_path / 'whole', 'state.json')['rounds']


@pytest.mark.run
def test_target_ends_the_run(data, tmp_path, monkeypatch):
    fake_metrics(monkeypatch, {'coco/bbox_mAP': 0.3})
    target = dict(metric='coco/bbox_mAP', value=0.25)
    ActiveLearner(config(data, tmp_path, rounds=5, target=target)).run()
    state = read(tmp_path, 'state.json')
    assert state['stopped'] == 'target' and len(state['rounds']) == 1


@pytest.mark.run
def test_validation_of_its_own_interval_is_made_up_for(data, tmp_path):
    cfg = config(data, tmp_path, rounds=1)
    cfg.train_cfg.val_begin = 5
    ActiveLearner(cfg).run()
    assert os.path.exists(tmp_path / 'work' / 'report.html')
    assert len(read(tmp_path, 'curve.json')['rounds']) == 1


@pytest.mark.run
def test_people_label_through_files(own_data, tmp_path):
    full = dict(edit(own_data, lambda c: None), confirm_empty=True)
    shutil.copy(f'{own_data}/pool.json', f'{own_data}/full.json')
    edit(own_data, lambda c: c.update(annotations=[]))
    cfg = config(
        own_data, tmp_path, oracle=dict(type='mmal.ManualOracle'))
    labels = tmp_path / 'work' / 'labels'
    for size in (4, 3):
        with pytest.raises(LabelsPending, match='to_label.json') as e:
            ActiveLearner(copy.deepcopy(cfg), resume=True).run()
        assert len(e.value.ids) == size
        # who labels can look at what was chosen meanwhile
        page = (tmp_path / 'work' / 'report.html').read_text()
        assert f'Waits for the labels of {size} images' in page
        assert page.count('"waits":true') == page.count('"small":"data:') > 0
        if size == 3:  # labels of the first round are corrected meanwhile
            first = read(tmp_path, 'state.json')['rounds'][0]['ids']
            full['annotations'] = [
                dict(a, bbox=[1, 1, 7, 7]) if a['image_id'] in first else a
                for a in full['annotations']]
        (labels / 'labels.json').write_text(json.dumps(full))
        if size == 4:
            ids = read(tmp_path, 'labels', 'to_label.json')['images']
            some = dict(full, images=ids, annotations=[
                a for a in full['annotations']
                if a['image_id'] in {i['id'] for i in ids}])
            (labels / 'labels.json').write_text(json.dumps(some))
    ActiveLearner(cfg, resume=True).run()
    state = read(tmp_path, 'state.json')
    assert state['stopped'] == 'rounds'
    # round 1 had begun before anybody labelled its images
    assert len(state['meta']['notes']) == 1
    assert 'round 1: labels of ' in state['meta']['notes'][0]
    for number, corrected in ((0, False), (1, True)):
        boxes = [a['bbox'] for a in read(
            tmp_path, f'round_{number:02d}', 'labelled.json')['annotations']
            if a['image_id'] in first]
        assert boxes and all((b == [1, 1, 7, 7]) == corrected for b in boxes)


@pytest.mark.run
def test_initial_images_of_ones_own(data, finished, tmp_path):
    own = str(finished / 'work' / 'round_01' / 'labelled.json')
    cfg = config(
        data, tmp_path, initial=dict(ann_file=own, _delete_=True), rounds=1)
    ActiveLearner(cfg).run()
    assert read(tmp_path, 'curve.json')['rounds'][0]['images'] == 7


def test_a_plan_writes_nothing(data, tmp_path):
    table = plan_run(config(data, tmp_path))
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[:2] for row in rows] == [['0', '4'], ['1', '7']]
    assert not os.path.exists(tmp_path / 'work')


# --- bad input ---


def fails(cfg, message, error=ValueError, resume=False):
    with pytest.raises(error, match=message) as e:
        ActiveLearner(cfg, resume).run()
    return str(e.value)


def test_missing_json(data, tmp_path):
    cfg = config(
        data,
        tmp_path,
        data=dict(ann_file='nowhere.json', source='https://example.org'))
    message = fails(cfg, 'nowhere.json', FileNotFoundError)
    assert 'https://example.org' in message


@pytest.mark.parametrize('change, message', [
    (lambda c: c['annotations'][0].update(image_id=1), 'unknown image'),
    (lambda c: c['annotations'][0].update(category_id=77), 'categor'),
    (lambda c: c['images'].append(c['images'][0]), 'image ids'),
    (lambda c: c.update(images=[], annotations=[]), 'image'),
    (lambda c: c['categories'][0].update(name='cat'), 'class_0'),
    (lambda c: c['categories'].reverse(), 'another order'),
])
def test_broken_pool_files(own_data, tmp_path, change, message):
    edit(own_data, change)
    text = fails(config(own_data, tmp_path), message)
    assert 'pool.json' in text
    assert not os.path.exists(tmp_path / 'work')


def test_corrupt_json(own_data, tmp_path):
    path = os.path.join(own_data, 'pool.json')
    with open(path) as f:
        text = f.read()
    with open(path, 'w') as f:
        f.write(text[:len(text) // 2])
    fails(config(own_data, tmp_path), 'pool.json is not valid JSON')


def test_validation_classes_in_another_order(own_data, tmp_path):
    edit(own_data, lambda c: c['categories'].reverse(), 'val.json')
    fails(config(own_data, tmp_path), 'val_dataloader.*val.json')


def test_model_with_another_number_of_classes(data, tmp_path):
    cfg = config(data, tmp_path)
    cfg.model.bbox_head.num_classes = 5
    fails(cfg, r'model\.bbox_head\.num_classes is 5, but .* 3 classes')


def damage(root, name, size=100):
    path = os.path.join(root, 'images', name)
    with open(path, 'rb') as f:
        content = f.read()
    with open(path, 'wb') as f:
        f.write(content[:size])


def test_missing_image_stops_at_once(own_data, tmp_path):
    os.unlink(os.path.join(own_data, 'images', 'pool_005.png'))
    fails(config(own_data, tmp_path), 'pool_005.png')


@pytest.mark.run
def test_unreadable_images_are_listed(own_data, tmp_path):
    os.unlink(os.path.join(own_data, 'images', 'pool_005.png'))
    damage(own_data, 'pool_003.png')
    damage(own_data, 'pool_007.png')
    cfg = config(
        own_data, tmp_path, on_bad_image='skip', rounds=9,
        budget=dict(size=8))
    report = ActiveLearner(cfg).run()
    state = read(tmp_path, 'state.json')
    unreadable = {b['file_name'] for b in state['unreadable']}
    assert unreadable == {'pool_003.png', 'pool_005.png', 'pool_007.png'}
    labelled = [i for r in state['rounds'] for i in r['ids']]
    assert len(labelled) == len(set(labelled)) == 9
    with open(report) as f:
        assert 'pool_003.png' in f.read()


@pytest.mark.run
def test_truncated_image_in_scoring_loses_nothing(own_data, tmp_path):
    layers = ['bbox_head.conv_cls']
    scorer = dict(
        type='mmal.InfluenceScorer',
        layers=layers,
        solver=dict(type='mmal.Identity'))
    cfg = config(own_data, tmp_path, scorer=scorer)
    first = set(read_inputs(copy.deepcopy(cfg)).initial_ids)
    victim = next(i['file_name'] for i in read_pool(own_data)['images']
                  if i['id'] not in first)
    path = os.path.join(own_data, 'images', victim)
    with open(path, 'rb') as f:
        whole = f.read()
    damage(own_data, victim, len(whole) // 2)
    fails(copy.deepcopy(cfg), victim)
    trained = os.path.getmtime(
        tmp_path / 'work' / 'round_00' / 'epoch_1.pth')
    with open(path, 'wb') as f:
        f.write(whole)
    ActiveLearner(cfg, resume=True).run()
    assert os.path.getmtime(
        tmp_path / 'work' / 'round_00' / 'epoch_1.pth') == trained


def read_pool(root):
    with open(os.path.join(root, 'pool.json')) as f:
        return json.load(f)


def test_repeatable_training_gets_the_workspace_of_cublas(
        data, tmp_path, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', '')
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
    cfg = config(data, tmp_path)
    read_inputs(cfg)
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ
    cfg.randomness = dict(seed=0, deterministic=True)
    read_inputs(cfg)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'


def test_budget_larger_than_the_pool(data, tmp_path):
    cfg = config(data, tmp_path, budget=dict(size=5000))
    fails(cfg, r'active_learning\.budget\.size is 5000')


@pytest.mark.run
def test_a_single_round_may_have_all_images(data, tmp_path):
    """It makes no query, so no budget is too large for what is left."""
    pool = json.load(open(os.path.join(data, 'pool.json')))['images']
    cfg = config(data, tmp_path, rounds=1, initial=dict(size=len(pool)))
    ActiveLearner(cfg).run()
    state = json.load(open(tmp_path / 'work' / 'state.json'))
    assert len(state['rounds'][0]['ids']) == len(pool)
    cfg = config(data, tmp_path / 'two', initial=dict(size=len(pool)))
    fails(cfg, f'only 0 of the {len(pool)} images are unlabelled')


def test_layer_that_does_not_exist(data, tmp_path):
    scorer = dict(type='mmal.InfluenceScorer', layers='bbox_head.conv_clas')
    fails(
        config(data, tmp_path, scorer=scorer),
        r"scorer\.layers: layer 'bbox_head.conv_clas' .*conv_cls")


def test_selector_in_place_of_the_scorer(data, tmp_path):
    cfg = config(data, tmp_path, scorer=dict(type='mmal.TopN'))
    fails(cfg, "active_learning.scorer.type is 'mmal.TopN'")


def test_unknown_scorer(data, tmp_path):
    cfg = config(data, tmp_path, scorer=dict(type='mmal.Bogus'))
    fails(cfg, r"active_learning\.scorer\.type is 'mmal.Bogus'")


@pytest.mark.run
def test_folder_of_another_run(data, finished):
    cfg = config(data, finished)
    fails(copy.deepcopy(cfg), 'already holds a run')
    cfg.active_learning.seed = 1
    fails(cfg, r'active_learning\.seed: \(none\) -> 1', resume=True)


@pytest.mark.run
def test_nan_in_training_stops_before_the_checkpoint(data, tmp_path):
    cfg = config(data, tmp_path, initial=dict(size=8))
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=1e30)
    fails(cfg, 'training diverged in .*round_00 at epoch 1',
          FloatingPointError)
    left = os.listdir(tmp_path / 'work' / 'round_00')
    assert 'epoch_1.pth' not in left
    assert not os.path.exists(tmp_path / 'work' / 'curve.json')


@pytest.mark.run
def test_nan_in_scores(data, tmp_path, monkeypatch):
    from mmal.scoring import RandomScorer

    def process(self, model, batch):
        return dict(score=torch.full((len(batch), ), np.nan))

    monkeypatch.setattr(RandomScorer, 'process', process)
    fails(config(data, tmp_path), 'scores are NaN')


def test_nothing_to_train_on(own_data, tmp_path):
    edit(own_data, lambda c: c.update(annotations=c['annotations'][:1]))
    fails(config(own_data, tmp_path), 'none of the 4 images .* has a box')


@pytest.mark.run
def test_full_disk_while_the_state_is_written(data, tmp_path, monkeypatch):
    real = os.replace

    def full(source, target):
        if target.endswith('selected.json'):
            raise OSError(28, 'No space left on device')
        return real(source, target)

    cfg = config(data, tmp_path)
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', full)
        fails(
            copy.deepcopy(cfg), 'selected.json.*--resume', OSError)
    assert len(read(tmp_path, 'state.json')['rounds']) == 1
    ActiveLearner(cfg, resume=True).run()
    assert len(read(tmp_path, 'state.json')['rounds']) == 2


@pytest.mark.run
def test_a_subset_of_the_classes(own_data, tmp_path):
    """Annotations of other classes are ignored, if that is meant."""
    cfg = config(own_data, tmp_path, rounds=1)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes=('class_0', 'class_1'))
    cfg.model.bbox_head.num_classes = 2
    with pytest.raises(ValueError, match='ignore_other_classes=True'):
        ActiveLearner(copy.deepcopy(cfg))
    cfg.active_learning.data.ignore_other_classes = True
    learner = ActiveLearner(cfg)
    assert 'of a class that is not trained' in learner.inputs.notes[0]
    learner.run()
    labelled = read(tmp_path, 'round_00', 'labelled.json')
    boxes = sum(a['category_id'] < 3 for a in labelled['annotations'])
    assert read(tmp_path, 'curve.json')['rounds'][0]['boxes'] == boxes


@pytest.mark.run
def test_a_pool_that_grows(own_data, tmp_path):
    cfg = config(own_data, tmp_path, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()

    def grow(coco):
        image = coco['images'][0]
        coco['images'].append(dict(image, id=5, file_name='new.png'))
        shutil.copy(f'{own_data}/images/{image["file_name"]}',
                    f'{own_data}/images/new.png')

    edit(own_data, grow)
    cfg.active_learning.rounds = 2
    ActiveLearner(cfg, resume=True).run()
    state = read(tmp_path, 'state.json')
    assert state['num_images'] == 13 and len(state['rounds']) == 2
    assert state['meta']['notes'] == [
        'round 0: 1 images are new in the pool: ids 5']


@pytest.mark.run
def test_data_that_were_changed_are_seen_on_resume(own_data, tmp_path):
    """Annotations halved, classes swapped, names rotated, photos replaced."""
    cfg = config(own_data, tmp_path, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()
    cfg.active_learning.rounds = 2
    with open(f'{own_data}/pool.json') as f:
        before = f.read()

    def refused(change, match):
        edit(own_data, change)
        with pytest.raises(ValueError, match=match):
            ActiveLearner(copy.deepcopy(cfg), resume=True)
        with open(f'{own_data}/pool.json', 'w') as f:
            f.write(before)

    def rotate(coco):
        names = [i['file_name'] for i in coco['images']]
        for image, name in zip(coco['images'], names[1:] + names[:1]):
            image['file_name'] = name

    def swap(coco):
        for a in coco['annotations']:
            a['category_id'] = a['category_id'] % 3 + 1

    refused(lambda c: c['annotations'].__delitem__(slice(None, None, 2)),
            r'annotations of .* images \(\d+ annotations then, \d+ now\)')
    refused(rotate, 'file name or size of 12 of 12 images')
    refused(swap, 'pool: annotations of 11 of 12 images')
    state = read(tmp_path, 'state.json')
    labelled = state['rounds'][0]['ids'][0]
    name = {i['id']: i['file_name']
            for i in json.loads(before)['images']}[labelled]
    path = f'{own_data}/images/{name}'
    shutil.copy(path, f'{own_data}/kept.png')
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    refused(lambda c: None, f'1 of 4 labelled images have other .*{name}')
    shutil.copy(f'{own_data}/kept.png', path)
    ActiveLearner(copy.deepcopy(cfg), resume=True)  # all is as it was

    edit(own_data, swap)
    ActiveLearner(copy.deepcopy(cfg), resume=True, accept_changes=True).run()
    state = read(tmp_path, 'state.json')
    assert len(state['rounds']) == 2
    assert 'data were changed: pool: annotations' in state['meta']['notes'][0]
    ActiveLearner(copy.deepcopy(cfg), resume=True)  # the truth is now this

    # nobody can tell without the record
    (tmp_path / 'work' / 'data.npz').unlink()
    with pytest.raises(ValueError, match='data.npz.* is missing.*force'):
        ActiveLearner(copy.deepcopy(cfg), resume=True)
    ActiveLearner(copy.deepcopy(cfg), resume=True, accept_changes=True)
    ActiveLearner(cfg, resume=True)


@pytest.mark.run
def test_another_environment_is_noted(data, tmp_path):
    cfg = config(data, tmp_path, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()
    path = tmp_path / 'work' / 'state.json'
    state = json.loads(path.read_text())
    assert state['meta']['environment']['processes'] == 1
    ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    assert json.loads(path.read_text())['meta'] == state['meta']
    state['meta']['environment'].update(processes=4, torch='1.0')
    path.write_text(json.dumps(state))
    ActiveLearner(cfg, resume=True).run()
    note, = json.loads(path.read_text())['meta']['notes']
    assert 'round 0: it goes on in another environment' in note
    assert 'processes: 4 -> 1; torch: 1.0 -> ' in note


@pytest.mark.run
def test_another_environment_is_refused_where_the_config_says_so(
        data, tmp_path):
    cfg = config(data, tmp_path, rounds=1)
    ActiveLearner(copy.deepcopy(cfg)).run()
    path = tmp_path / 'work' / 'state.json'
    state = json.loads(path.read_text())
    state['meta']['environment'].update(threads=77)
    path.write_text(json.dumps(state))
    strict = config(data, tmp_path, rounds=1, on_new_environment='refuse')
    with pytest.raises(ValueError, match=r"'refuse': threads: 77 -> \d+\. "
                       'Resume it in that one, or .*--resume force'):
        ActiveLearner(copy.deepcopy(strict), resume=True)
    assert json.loads(path.read_text()) == state  # nothing is written
    # a version that recorded less is no other environment
    del state['meta']['environment']['threads']
    path.write_text(json.dumps(state))
    ActiveLearner(copy.deepcopy(strict), resume=True)
    state = json.loads(path.read_text())
    assert 'threads' in state['meta']['environment']
    assert not state['meta']['notes']
    state['meta']['environment'].update(threads=77)
    path.write_text(json.dumps(state))
    ActiveLearner(strict, resume=True, accept_changes=True)
    note, = json.loads(path.read_text())['meta']['notes']
    assert 'threads: 77 -> ' in note


@pytest.mark.run
def test_two_processes_are_another_environment(data, tmp_path):
    """What is recorded is what was there, and only one message comes."""
    cfg = config(data, tmp_path, rounds=1, on_new_environment='refuse')
    cfg.optim_wrapper.accumulative_counts = 3
    path = str(tmp_path / 'tiny.py')
    cfg.dump(path)
    succeed(TRAIN, path)
    recorded = read(tmp_path, 'state.json')['meta']['environment']
    batch = cfg.train_dataloader.batch_size
    expected = dict(processes=1, effective_batch=3 * batch,
                    threads=torch.get_num_threads(),
                    workers=cfg.train_dataloader.num_workers,
                    torch=torch.__version__)
    assert recorded == {**recorded, **expected}
    both = fork_two(TRAIN, path, '--resume', *LAUNCHER)
    assert [done.returncode for done in both] == [1, 1]
    assert ''.join(done.stderr for done in both).count(
        'processes: 1 -> 2. Resume') == 1
    assert f'effective_batch: {3 * batch} -> {6 * batch}' in both[0].stderr
    for done in fork_two(TRAIN, path, '--resume', 'force', *LAUNCHER):
        succeeded(done)
    state = read(tmp_path, 'state.json')
    assert state['meta']['environment']['processes'] == 2
    assert 'processes: 1 -> 2' in state['meta']['notes'][0]


def test_names_that_are_addresses_are_one_error(own_data, tmp_path):
    edit(own_data, lambda c: [i.update(
        file_name='http://host/' + i['file_name']) for i in c['images']])
    with pytest.raises(ValueError, match='of 12 of 12 images is an address'):
        ActiveLearner(config(own_data, tmp_path))


def test_boxes_of_another_file_are_judged_alike(own_data, tmp_path):
    """A budget in boxes must not pay for boxes that mmdet leaves out."""
    full = edit(own_data, lambda c: [
        a['bbox'].__setitem__(2, .5) for a in c['annotations'][::2]])
    with open(f'{own_data}/full.json', 'w') as f:
        json.dump(full, f)
    edit(own_data, lambda c: c.update(annotations=[]))
    learner = ActiveLearner(config(own_data, tmp_path, oracle=dict(
        type='mmal.CocoOracle', ann_file=f'{own_data}/full.json')))
    oracle, ids = learner.inputs.oracle, learner.inputs.coco.ids
    assert oracle.count_boxes(ids).sum() == len(full['annotations'][1::2])
    assert 'a side below one pixel' in learner.inputs.notes[0]
