"""Scores of LLAL: predicted losses, in a run too."""
import json
import os

import numpy as np
import pytest
import torch
from helpers.pools import pool
from helpers.tiny import (
    build_detector,
    tiny_active_learning,
    tiny_config,
    tiny_fcos,
    tiny_fcos_config,
)
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict

from mmal.engine import ActiveLearner
from mmal.scores import Scores
from mmal.scoring import LearningLossScorer, score_pool


def detector(**loss_head):
    cfg = dict(tiny_fcos_config(), type='mmal.LearningLossDetector')
    return build_detector(dict(cfg, loss_head=loss_head)).eval()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    return root


def test_scores_are_predicted_losses_whatever_the_batch_size(
        root, mmdet_scope):
    model = detector()
    model.bbox_head = None  # not run
    one, four = (
        score_pool(model, LearningLossScorer(), pool(root, size))
        for size in (1, 4))
    assert one.ids == four.ids
    np.testing.assert_allclose(one.values, four.values, rtol=1e-4, atol=1e-6)
    assert one.values.std() > 1e-4
    for batch in pool(root, 1).batches('unlabelled', model):
        expected = model.predict_losses(batch.inputs).item()
        assert one.of(batch.ids) == pytest.approx([expected])


def test_scores_of_half_precision_are_float32():
    from mmal.scoring.batch import Batch
    model = detector().to(torch.bfloat16)
    inputs = torch.zeros(2, 3, 64, 64, dtype=torch.bfloat16)
    score = LearningLossScorer().process(model, Batch([1, 2], inputs))['score']
    assert score.dtype == torch.float32 and not score.requires_grad


def test_a_model_without_a_loss_head_is_refused(root):
    with pytest.raises(ValueError, match='FCOS has no loss prediction head: '
                       "set model.type='mmal.LearningLossDetector'"):
        LearningLossScorer().check(tiny_fcos(), pool(root))


def test_wrong_channels_are_found_before_training(root):
    LearningLossScorer().check(detector(), pool(root))
    with pytest.raises(ValueError, match=r'loss_head.in_channels is \[16\]'):
        LearningLossScorer().check(detector(in_channels=[16]), pool(root))


def test_ssd_is_tried_on_an_image_it_takes():
    """The last level of SSD300 has no pixel left of 256 x 256."""
    cfg = Config.fromfile('configs/al/ssd300_llal_voc0712.py').model
    cfg.backbone.init_cfg = None
    register_all_modules(init_default_scope=False)
    model = MODELS.build(ConfigDict(cfg.to_dict(), _scope_='mmdet'))
    LearningLossScorer().check(model.eval(), None)


def config(root, tmp_path, **model):
    cfg = tiny_config(root, epochs=2)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning(
        scorer=dict(type='mmal.LearningLossScorer'))
    cfg.merge_from_dict(dict(model=model))
    return cfg


@pytest.mark.run
def test_a_run_takes_the_images_with_the_highest_predictions(
        root, tmp_path, mmdet_scope):
    """The config of a plain FCOS, extended by type and options alone."""
    ActiveLearner(
        config(
            root,
            tmp_path,
            type='mmal.LearningLossDetector',
            loss_head=dict(detach=1))).run()
    folder = str(tmp_path / 'work' / 'round_00')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    assert len(scores) == 8 and np.isfinite(scores.values).all()
    with open(os.path.join(folder, 'selected.json')) as f:
        ids = json.load(f)['ids']
    assert ids == [scores.ids[i] for i in np.argsort(-scores.values)[:3]]
    weights = torch.load(
        os.path.join(folder, 'epoch_2.pth'), weights_only=False)['state_dict']
    assert weights['loss_head.iterations'] == 2  # one batch an epoch
    assert os.path.exists(os.path.join(tmp_path, 'work', 'report.html'))


def test_a_run_with_a_plain_detector_ends_before_training(
        root, tmp_path, mmdet_scope):
    with pytest.raises(ValueError, match='FCOS has no loss prediction head'):
        ActiveLearner(config(root, tmp_path)).run()
    assert not os.path.exists(tmp_path / 'work' / 'round_00' / 'epoch_1.pth')
