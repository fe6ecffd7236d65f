"""What a detector finds on chosen images, in pixels of the photos."""
import logging

import pytest
import torch
from helpers.pools import pool
from helpers.tiny import tiny_coco, tiny_config, tiny_fcos
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from mmdet.registry import DATASETS
from mmengine.structures import InstanceData

from mmal.scoring import data as data_module
from mmal.scoring.detections import predictions
from mmal.scoring.detections.predict import detect
from mmal.scoring.detections.predictions import predict_chosen, results_of

pytestmark = pytest.mark.usefixtures('mmdet_scope')
CATEGORIES = (7, 4, 3)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tiny_coco(str(tmp_path_factory.mktemp('data')))


@pytest.fixture(scope='module')
def model():
    return tiny_fcos()


def test_boxes_are_those_of_mmdets_own_test(root, model):
    """Image by image, as ``tools/test.py`` of mmdet finds them."""
    data = pool(root, batch_size=3)
    chosen = data.ids('unlabelled')[7:2:-2]
    rows = predict_chosen(model, data, 'unlabelled', chosen, CATEGORIES)
    assert list(dict.fromkeys(r['image_id'] for r in rows)) == chosen

    config = tiny_config(root)
    dataset = DATASETS.build(dict(
        config.test_dataloader.dataset, ann_file='pool.json',
        data_prefix=config.train_dataloader.dataset.data_prefix))
    for item in (dataset[n] for n in range(len(dataset))):
        if item['data_samples'].img_id not in chosen:
            continue
        with torch.no_grad():
            (sample, ) = model.test_step(dict(
                inputs=[item['inputs']], data_samples=[item['data_samples']]))
        found = sample.pred_instances
        ours = [r for r in rows if r['image_id'] == sample.img_id]
        assert len(found) == len(ours) > 0
        assert [r['score'] for r in ours] == sorted(
            (r['score'] for r in ours), reverse=True)
        theirs = sorted(
            (round(score, 3), CATEGORIES[label], [x1, y1, x2 - x1, y2 - y1])
            for score, label, (x1, y1, x2, y2) in zip(
                found.scores.tolist(), found.labels.tolist(),
                found.bboxes.tolist()))
        ours = sorted((round(r['score'], 3), r['category_id'], r['bbox'])
                      for r in ours)
        for (a, b, box), (c, d, other) in zip(ours, theirs):
            assert a == pytest.approx(c, abs=2e-3) and b == d
            assert box == pytest.approx(other, abs=.02)


def test_two_processes_find_what_one_finds(root, model, monkeypatch):
    data = pool(root)
    chosen = data.ids('unlabelled')[:5]
    alone = predict_chosen(model, data, 'unlabelled', chosen, CATEGORIES)
    parts = []

    def gather(part):
        parts.append(part)
        return list(parts)

    monkeypatch.setattr(predictions, 'all_gather_object', gather)
    for rank in (1, 0):
        monkeypatch.setattr(
            data_module, 'get_dist_info', lambda rank=rank: (rank, 2))
        rows = predict_chosen(model, pool(root), 'unlabelled', chosen,
                              CATEGORIES)
    assert all(of_image for of_image, _ in parts)
    assert rows == alone


def test_mixtures_give_deviations_in_pixels_of_the_photo(root):
    model, data = tiny_mdn_fcos(), pool(root)
    chosen = data.ids('unlabelled')[:4]
    rows = predict_chosen(model, data, 'unlabelled', chosen, CATEGORIES)
    scales = set()
    for batch in data.batches('unlabelled', model, chosen):
        for i, sample, found in zip(batch.ids, batch.samples,
                                    detect(model, batch)):
            scale = torch.tensor(sample.scale_factor * 2)
            scales.update(sample.scale_factor)
            theirs = sorted((found.box_std / scale).sum(1).tolist())
            ours = sorted(sum(r['bbox_std']) for r in rows
                          if r['image_id'] == i)
            assert ours == pytest.approx(theirs, abs=.03) and ours
    assert scales != {1}


def test_deviations_are_kept():
    found = InstanceData(
        bboxes=torch.tensor([[1., 2, 4, 8], [0, 0, 1, 1]]),
        scores=torch.tensor([.25, .75]), labels=torch.tensor([2, 0]),
        box_std=torch.tensor([[.5, 1, 1.5, 2], [1., 1, 1, 1]]))
    assert results_of(found, 'x', CATEGORIES) == [
        dict(image_id='x', category_id=7, bbox=[0, 0, 1, 1], score=.75,
             bbox_std=[1, 1, 1, 1]),
        dict(image_id='x', category_id=3, bbox=[1, 2, 3, 6], score=.25,
             bbox_std=[.5, 1, 1.5, 2])]
    assert found.bboxes.tolist()[0] == [1, 2, 4, 8]


def test_an_error_does_not_end_a_run(root, model, monkeypatch, caplog):
    """mmdet 3.3's SSDHead, for one, cannot predict."""
    def fail(*args, **kwargs):
        raise AttributeError("no attribute 'loss_cls'")

    monkeypatch.setattr(model.bbox_head, 'predict', fail)
    data = pool(root)
    with caplog.at_level(logging.WARNING):
        rows = predict_chosen(model, data, 'unlabelled',
                              data.ids('unlabelled')[:2], CATEGORIES)
    assert rows is None
