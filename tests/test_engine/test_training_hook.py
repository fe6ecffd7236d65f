"""What the hook of a training keeps after it."""
import gc
import weakref
from types import SimpleNamespace

import torch
from torch import nn

from mmal.engine.hooks import TrainingHook


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
