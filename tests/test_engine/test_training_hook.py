"""What the hook of a training keeps after it."""
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from mmdet.evaluation import CocoMetric, VOCMetric
from torch import nn

from mmal.engine.hooks import TrainingHook
from mmal.engine.hooks.training_hook import add_zero_aps


def test_the_last_loss_does_not_keep_the_model():
    """Several models are trained one after another on one GPU."""
    model = nn.Linear(2, 1)
    weight = weakref.ref(model.weight)
    runner = SimpleNamespace(
        iter=0, hooks=[], val_loop=None, model=model, work_dir='')
    hook = TrainingHook()
    hook.before_train(runner)
    loss = model(torch.ones(1, 2)).sum()
    loss.backward()
    hook.after_train_iter(runner, 0, outputs=dict(loss=loss))
    hook.after_train(runner)
    del runner, model, loss
    gc.collect()
    assert weight() is None


@pytest.mark.parametrize('metric, given, added', [
    (CocoMetric(metric='bbox'), {},
     {'coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/bbox_mAP_75'}),
    (CocoMetric(metric=['bbox', 'segm'], metric_items=['mAP']), {},
     {'coco/bbox_mAP', 'coco/segm_mAP'}),
    (CocoMetric(metric='bbox', prefix='mine', metric_items=['mAP_50']), {},
     {'mine/bbox_mAP_50'}),
    # what was measured stays, and nothing is invented beside it
    (CocoMetric(metric='bbox'), {'coco/bbox_mAP': 0.3}, set()),
    (CocoMetric(metric='bbox', format_only=True, outfile_prefix='x'), {},
     set()),
    (CocoMetric(metric='proposal_fast'), {}, set()),
    (VOCMetric(), {}, set()),
])
def test_ap_without_detections_is_zero(metric, given, added):
    evaluator = SimpleNamespace(metrics=[metric])
    runner = SimpleNamespace(val_loop=SimpleNamespace(evaluator=evaluator))
    metrics = dict(given)
    add_zero_aps(metrics, runner)
    assert metrics == {**given, **dict.fromkeys(added, 0.0)}
