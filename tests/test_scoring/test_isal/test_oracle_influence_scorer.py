"""Influences with true labels against autograd."""
import os.path as osp
from functools import partial

import numpy as np
import pytest
from helpers.influence_by_hand import by_hand, params_of, scoring_data
from helpers.tiny import tiny_fcos

from mmal.fileio import read_json, write_json
from mmal.influence.vectors import dot
from mmal.scoring import OracleInfluenceScorer, Split, score_pool

LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def file_of(data):
    dataset = data.splits['unlabelled'].dataset
    return osp.join(dataset['data_root'], dataset['ann_file'])


def test_scores_equal_autograd_with_the_labels_of_the_file(data):
    model = tiny_fcos()
    scorer = OracleInfluenceScorer(file_of(data()), layers=LAYERS)
    scorer.check(model, data())
    scores = score_pool(model, scorer, data(batch_size=4))
    images = data(batch_size=1)
    images.splits['known'] = Split(
        images.splits['unlabelled'].dataset, True, scores.ids)
    truth, boxes = {}, {}
    for batch in images.batches('known', model):
        sample, = batch.samples
        grads = by_hand(model, sample, batch.inputs, sample.gt_instances,
                        params_of(model, LAYERS), scorer.adapter.factors)
        truth[batch.ids[0]] = float(dot(grads, scorer.s_test))
        boxes[batch.ids[0]] = len(sample.gt_instances)
    truth = np.array([truth[i] for i in scores.ids])
    assert np.abs(scores.values - truth).max() < 1e-4 * np.abs(truth).max()
    assert scores.columns['expected_boxes'].tolist() == [
        boxes[i] for i in scores.ids]


def test_a_file_without_labels_of_the_pool_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match='none.json is no file'):
        OracleInfluenceScorer('none.json').check(tiny_fcos(), data())
    content = read_json(file_of(data()))
    content['images'] = content['images'][:3]
    path = str(tmp_path / 'few.json')
    write_json(path, content)
    with pytest.raises(ValueError, match=r'few.json lacks \d+ images'):
        OracleInfluenceScorer(path).prepare(tiny_fcos(), data())
