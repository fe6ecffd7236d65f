"""The data of an ISAL query, and its gradients one image at a time."""
from functools import partial

import torch

from helpers.tiny import tiny_config
from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring import ScoringData, Split
from mmal.scoring.detector import (
    predictions,
    pseudo_label_losses,
    pseudo_labels,
)


def scoring_data(root, batch_size=3, labelled=6, **kwargs):
    """Twelve pool images, ``labelled`` of them with labels, and six of val."""
    config = tiny_config(str(root))
    pool = dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)
    val = dict(
        config.val_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)
    ids = ScoringData(dict(p=Split(pool, True)), num_workers=0).ids('p')
    splits = dict(
        unlabelled=Split(pool, labels=False, ids=ids[labelled:]),
        labelled=Split(pool, labels=True, ids=ids[:labelled]),
        initial=Split(pool, labels=True, ids=ids[:3]),
        val=Split(val, labels=True))
    return ScoringData(
        splits, batch_size=batch_size, num_workers=0, progress=False,
        **kwargs)


def params_of(model, layers, bias=True):
    """The parameters of layers, in their order."""
    layers = [model.get_submodule(name) for name in layers]
    return [
        p for layer in layers for n, p in layer.named_parameters()
        if bias or n != 'bias'
    ]


def by_hand(model, sample, inputs, labels, params, factors=None):
    """The gradient of one image's loss; ``labels`` None: its detections.
    ``factors`` divide its terms, None: its own positives."""
    outputs = head_outputs(model, inputs)
    if labels is None:
        labels = pseudo_labels(predictions(model, outputs, [sample]), 0.1)
        loss = pseudo_label_losses(
            model, outputs, [sample], labels,
            partial(image_losses, factors=factors))[0]
    else:
        loss = image_losses(model, outputs, [sample], [labels], factors)[0]
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g for g, p in zip(grads, params)
    ]
