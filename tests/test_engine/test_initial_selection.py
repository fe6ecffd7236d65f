"""First labels that a selector chooses among embeddings."""
import os

import numpy as np
import pytest
from helpers.forks import fork_two
from helpers.mdn_runs import learn
from helpers.runs import ids_of, make_config, succeeded
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmal.dist import close_dist
from mmal.engine import ActiveLearner
from mmal.engine.inputs import read_inputs
from mmal.engine.plan import plan_run
from mmal.engine.settings import Settings
from mmal.fileio import read_json, write_json
from mmal.pool import UnreadableImagesError
from mmal.randomness import seeded_uniform
from mmal.scores import Scores
from mmal.scoring.embeddings import EmbeddingModel
from mmal.selection import TypiClust

RESNET = dict(
    type='mmdet.ResNet', depth=18, num_stages=2, base_channels=4,
    stem_channels=4, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))
EMBEDDER = dict(type='mmal.EmbeddingModel', backbone=RESNET)
TYPICAL = dict(size=4, selector=dict(type='mmal.TypiClust', min_size=1),
               embedder=EMBEDDER)


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def embedded(monkeypatch):
    """How many images a second network was asked about."""
    calls, attach = [], EmbeddingModel.attach

    def counted(self, model):
        extractor = attach(self, model)
        set_batch = extractor.set_batch
        extractor.set_batch = lambda batch: calls.extend(batch.ids) or \
            set_batch(batch)
        return extractor

    monkeypatch.setattr(EmbeddingModel, 'attach', counted)
    return calls


def config(folder, initial=TYPICAL, **block):
    default = dict(rounds=1, scorer=dict(type='mmal.RandomScorer'),
                   initial=initial)
    path = make_config(str(folder), active_learning={**default, **block})
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder / 'work')
    return cfg


def by_hand(cfg, size, without=()):
    """Chosen from the embeddings, an image at a time."""
    import torch

    from mmal.registry import MODELS
    model, rows = MODELS.build(cfg.model).eval(), {}
    network = EmbeddingModel(RESNET)
    target = MODELS.build(dict(
        type='mmdet.DetDataPreprocessor', **network.data_preprocessor,
        pad_size_divisor=model.data_preprocessor.pad_size_divisor))
    dataset = dict(cfg.train_dataloader.dataset,
                   pipeline=cfg.test_dataloader.dataset.pipeline,
                   test_mode=True)
    for item in DATASETS.build(dataset):
        data = target(dict(inputs=[item['inputs']],
                           data_samples=[item['data_samples']]), False)
        with torch.no_grad():
            rows[item['data_samples'].img_id] = network.network(
                data['inputs'])[-1].mean((2, 3))[0].numpy()
    ids = [i for i in rows if i not in without]
    scores = Scores(ids, np.ones(len(ids)), seeded_uniform(ids, 0, 'initial'))
    return TypiClust(min_size=1, start='random').select(
        scores, size, np.array([rows[i] for i in ids]))


def test_the_selector_chooses_the_first_images(tmp_path, embedded):
    cfg = config(tmp_path)
    inputs = read_inputs(cfg)
    assert inputs.initial_ids == by_hand(cfg, 4)
    assert sorted(embedded) == sorted(inputs.coco.ids)
    assert inputs.initial_ids != read_inputs(
        config(tmp_path, dict(size=4))).initial_ids


def test_two_processes_begin_with_the_same_images(tmp_path):
    cfg = config(tmp_path)

    def process():
        cfg.launcher = 'pytorch'
        with DefaultScope.overwrite_default_scope('mmdet'):
            ids = read_inputs(cfg).initial_ids
        rank = os.environ['RANK']
        close_dist()
        write_json(str(tmp_path / f'{rank}.json'), ids)

    expected = read_inputs(cfg).initial_ids
    for done in fork_two(process):
        succeeded(done)
    for rank in range(2):
        assert read_json(str(tmp_path / f'{rank}.json')) == expected


@pytest.mark.run
def test_a_run_that_goes_on_does_not_choose_again(tmp_path, embedded):
    cfg = config(tmp_path)
    first = read_inputs(cfg).initial_ids
    work = learn(os.path.join(str(tmp_path), 'tiny.py'), cfg.work_dir)
    assert ids_of(work) == [first]
    embedded.clear()
    state = read_json(os.path.join(work, 'state.json'))
    cfg.active_learning.rounds = 2
    ActiveLearner(cfg, resume=True, accept_changes=True)
    assert embedded == []
    assert read_json(os.path.join(work, 'state.json'))['seed'] == \
        state['seed'] and ids_of(work) == [first]


def test_a_dry_run_looks_at_no_image(tmp_path, embedded, capsys):
    cfg = config(tmp_path)
    assert read_inputs(cfg, prepare=False).initial_ids
    assert embedded == []
    plan_run(cfg)
    assert 'those of a random draw' in capsys.readouterr().out


def test_unreadable_images_are_left_out_or_stop_the_run(tmp_path):
    cfg = config(tmp_path, on_bad_image='skip')
    first = read_inputs(cfg).initial_ids
    name = read_inputs(cfg).coco.images[first[0]]['file_name']
    prefix = read_inputs(cfg).img_prefix
    path = os.path.join(prefix, name)
    with open(path, 'r+b') as f:  # its size can still be read
        f.truncate(os.path.getsize(path) // 2)
    inputs = read_inputs(cfg)
    assert [image.id for image in inputs.unreadable] == first[:1]
    assert inputs.initial_ids == by_hand_without(cfg, first[:1], prefix, name)
    cfg.active_learning.on_bad_image = 'raise'
    with pytest.raises(UnreadableImagesError, match=name):
        read_inputs(cfg)


def by_hand_without(cfg, ids, prefix, name):
    """The broken image is grey here, and left out."""
    import cv2
    whole = cv2.imread(os.path.join(prefix, sorted(
        n for n in os.listdir(prefix) if n != name)[0]))
    path = os.path.join(prefix, name)
    with open(path, 'rb') as f:
        broken = f.read()
    cv2.imwrite(path, whole * 0 + 127)
    try:
        return by_hand(cfg, 4, ids)
    finally:
        with open(path, 'wb') as f:
            f.write(broken)


@pytest.mark.parametrize('changes, message', [
    (dict(embedder=None), 'selector and embedder belong together'),
    (dict(selector=None), 'selector and embedder belong together'),
    (dict(selector=dict(type='mmal.TypClust')),
     'initial.selector.type is .*TypiClust'),
    (dict(selector=dict(type='mmal.TypiClust', neighbors=3)),
     'initial.selector.neighbors is not known'),
    (dict(embedder=dict(type='mmal.TopN')), 'no embedder'),
    (dict(size=None, ann_file='first.json'), 'has a selector')])
def test_settings_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(data=dict(ann_file='pool.json'), budget=dict(size=1),
                 initial=dict(TYPICAL, **changes))


@pytest.mark.parametrize('changes, message', [
    (dict(selector=dict(type='mmal.TopN')), 'reads nothing but scores'),
    (dict(selector=dict(type='mmal.RoundRobin', selector=dict(
        type='mmal.CoreSet'))), 'reads what a scorer takes'),
    (dict(embedder=dict(type='mmal.LayerEmbedder', layers='neck')),
     'which is not trained yet'),
    (dict(embedder=dict(EMBEDDER, backbone=dict(RESNET, depth=7))),
     'initial.embedder'),
    (dict(size=99), 'size is 99 but the pool has only 12')])
def test_what_cannot_choose_first_images_is_named(tmp_path, changes, message):
    cfg = config(tmp_path, dict(TYPICAL, **changes))
    with pytest.raises(ValueError, match=message):
        read_inputs(cfg)


@pytest.mark.parametrize('selector, message', [
    ('mmal.CoreSet', "initial.selector: .*use.*start='random'"),
    ('mmal.CategoryMatching', 'initial.selector: .* detections'),
    ('mmal.ContextualDiversity', 'initial.selector: .*labelled')])
def test_a_wrong_selector_is_named_before_the_pool_is_read(
        tmp_path, embedded, selector, message):
    cfg = config(tmp_path, dict(TYPICAL, selector=dict(type=selector)))
    with pytest.raises(ValueError, match=message):
        read_inputs(cfg, prepare=False)
    assert embedded == []
