import copy
import json

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos
from PIL import Image

from mmal.engine.dataset_config import innermost_dataset
from mmal.pool import load_coco, verify_image
from mmal.scoring.batch import collate
from mmal.scoring.data import (
    ScoringData,
    Split,
    build_dataset,
    plan_batches,
    scoring_pipeline,
)


@pytest.fixture
def config(tmp_path, mmdet_scope):
    return tiny_config(str(tmp_path))


def split_of(config, labels, ids=None, file='pool.json'):
    dataset = dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline,
        ann_file=file)
    return Split(dataset, labels=labels, ids=ids)


def data_of(config, labels=True, **kwargs):
    return ScoringData(
        dict(pool=split_of(config, labels)), num_workers=0, **kwargs)


def test_plan_puts_images_of_one_size_together():
    sizes = [(4, 4), (8, 4), (4, 4), (4, 8), (4, 4), (8, 4)]
    plan = plan_batches(np.array(sizes), 2)
    assert sorted(i for batch in plan for i in batch) == list(range(6))
    assert plan == [[3], [1, 5], [0, 2], [4]]


def test_plan_of_some_ids():
    plan = plan_batches(np.array([(4, 4)] * 5), 2, [0, 2, 3])
    assert plan == [[0, 2], [3]]


def test_plan_of_nothing():
    assert plan_batches(np.empty((0, 2)), 4) == []
    assert plan_batches(np.ones((3, 2)), 4, []) == []


def test_every_image_comes_once_in_batches_of_one_shape(config):
    model = tiny_fcos()
    data = data_of(config, batch_size=3)
    batches = list(data.batches('pool', model))
    assert sorted(i for b in batches for i in b.ids) == sorted(
        data.ids('pool'))
    for batch in batches:
        shapes = {s.img_shape for s in batch.samples}
        assert len(shapes) == 1 and len(batch) <= 3
        assert batch.inputs.shape[0] == len(batch)


def test_a_batch_is_what_the_preprocessor_makes_of_each_image(config):
    model = tiny_fcos()
    dataset = build_dataset(split_of(config, labels=True))
    items = [dataset[i] for i in range(len(dataset))]
    shape = items[0]['inputs'].shape
    items = [item for item in items if item['inputs'].shape == shape]
    alone = [
        model.data_preprocessor(dict(
            inputs=[item['inputs']], data_samples=[item['data_samples']]))
        for item in copy.deepcopy(items)]
    batch = collate(items, model)
    assert len(batch) == len(items) > 1 and batch.inputs.std() > 0.1
    assert torch.equal(batch.inputs, torch.cat([x['inputs'] for x in alone]))
    for sample, one in zip(batch.samples, alone):
        assert sample.metainfo == one['data_samples'][0].metainfo


def test_a_single_batch_is_that_of_the_iteration(config):
    model = tiny_fcos()
    data = data_of(config, batch_size=3)
    for i, batch in enumerate(data.batches('pool', model)):
        again = data.batch('pool', model, i)
        assert again.ids == batch.ids
        torch.testing.assert_close(again.inputs, batch.inputs)


def test_boxes_are_in_the_coordinates_of_the_input(config, tmp_path):
    """Resized by two, boxes must be twice those of the json."""
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.clear()
            step.update(type='Resize', scale_factor=2.0)
    content = json.loads((tmp_path / 'pool.json').read_text())
    boxes = {}
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        boxes.setdefault(a['image_id'], []).append([x, y, x + w, y + h])
    for batch in data_of(config).batches('pool', tiny_fcos()):
        for image, sample in zip(batch.ids, batch.samples):
            found = sample.gt_instances.bboxes.numpy()
            expected = 2 * np.array(boxes.get(image, np.zeros((0, 4))))
            np.testing.assert_allclose(found, expected.reshape(-1, 4))


def test_a_split_without_labels_never_sees_any(config):
    for batch in data_of(config, labels=False).batches('pool', tiny_fcos()):
        assert all(len(s.gt_instances) == 0 for s in batch.samples)


def test_ids_of_a_part_of_a_split(config):
    data = data_of(config)
    some = data.ids('pool')[3:6]
    part = ScoringData(
        dict(pool=split_of(config, True, ids=some[::-1])), num_workers=0)
    assert part.ids('pool') == some
    batches = part.batches('pool', tiny_fcos())
    assert sorted(i for b in batches for i in b.ids) == sorted(some)


def test_unreadable_images_are_left_out_and_named(config):
    seen = []

    def check(path, size):
        seen.append(size)
        return 'it is truncated' if path.endswith('pool_004.png') else None

    data = data_of(config, check_image=check)
    found = [i for b in data.batches('pool', tiny_fcos()) for i in b.ids]
    (bad, reason), = data.unreadable['pool'].items()
    assert reason == 'it is truncated'
    assert set(found) == set(data.ids('pool')) - {bad}
    assert all(min(size) >= 64 for size in seen)


def test_unknown_split_is_named(config):
    with pytest.raises(KeyError, match="no split 'val'"):
        data_of(config).ids('val')


def test_pipeline_without_loader_cannot_have_labels():
    with pytest.raises(ValueError, match='no LoadImageFromFile'):
        scoring_pipeline([dict(type='Resize')], labels=True)
    assert scoring_pipeline(
        [dict(type='Resize'),
         dict(type='mmdet.LoadAnnotations')], labels=False) == [
             dict(type='Resize')
         ]


def test_joined_datasets_are_refused():
    wrapped = dict(
        type='RepeatDataset', dataset=dict(type='CocoDataset', ann_file='a'))
    assert innermost_dataset(wrapped)['ann_file'] == 'a'
    with pytest.raises(ValueError, match='merge their json files'):
        innermost_dataset(dict(type='ConcatDataset', datasets=[]))


def test_what_only_the_loader_cannot_read_is_unreadable(config):
    """Pillow reads a float TIFF and OpenCV does not."""
    path = f'{config.train_dataloader.dataset.data_root}/images/pool_004.png'
    Image.new('F', Image.open(path).size).save(path, 'TIFF')
    data = data_of(config, check_image=verify_image)
    ids = [i for b in data.batches('pool', tiny_fcos()) for i in b.ids]
    (bad, reason), = data.unreadable['pool'].items()
    assert reason.startswith('cv2 cannot load this TIFF (F)')
    assert set(ids) == set(data.ids('pool')) - {bad}


def test_an_error_of_the_pipeline_is_not_the_fault_of_an_image(config):
    config.test_dataloader.dataset.pipeline[1].scale = (0, 0)
    data = data_of(config, check_image=verify_image)
    with pytest.raises(cv2.error, match='resize'):
        list(data.batches('pool', tiny_fcos()))
    assert not data.unreadable


def in_memory(config, ids=None):
    """The pool as a split without a file; its labels are in memory too."""
    split = split_of(config, labels=False, ids=ids)
    dataset = dict(split.dataset)
    coco = load_coco(f'{dataset["data_root"]}/{dataset.pop("ann_file")}')
    assert coco.annotations
    return Split(dataset, False, ids, coco)


@pytest.mark.parametrize('kind', ['mmdet', 'reads its own way'])
def test_images_in_memory_are_those_of_a_file(config, kind):
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    class Reads(CocoDataset):

        def load_data_list(self):
            return super().load_data_list()

    ids = load_coco(split_of(config, False).dataset['data_root'] +
                    '/pool.json').ids[1:6:2]
    splits = dict(file=split_of(config, False, ids),
                  memory=in_memory(config, ids))
    if kind != 'mmdet':
        DATASETS.register_module(name='Reads', module=Reads, force=True)
        for split in splits.values():
            split.dataset['type'] = 'Reads'
    data = ScoringData(splits, num_workers=0, batch_size=2)
    assert data.ids('file') == data.ids('memory') == ids
    model = tiny_fcos()
    both = [list(data.batches(name, model)) for name in splits]
    assert len(both[0]) == len(both[1]) > 0
    for one, other in zip(*both):
        assert one.ids == other.ids and torch.equal(one.inputs, other.inputs)
        for a, b in zip(one.samples, other.samples):
            assert a.metainfo == b.metainfo
            assert 'gt_instances' not in b or len(b.gt_instances) == 0


def test_workers_have_images_in_memory(config):
    model = tiny_fcos()
    batches = [
        [b.ids for b in ScoringData(
            dict(pool=in_memory(config)), num_workers=n,
            batch_size=2).batches('pool', model)] for n in (0, 2)]
    assert batches[0] == batches[1] != []
