"""Which layers of a detector give its outputs."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmdet.models.detectors import DetectionTransformer, TwoStageDetector
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmal.recorder import ModuleCall, Recorder
from .blank_image import blank_image
from .random_state import preserve_rng_state


def last_layers(model: nn.Module) -> tuple[str, ...]:
    """The convolution and linear layers that give a detector's outputs.

    They are found, not listed: a blank image passes through the detector in
    eval mode, and from each raw output the way back ends at the first layers
    met. FCOS: ``bbox_head.conv_cls``, ``conv_reg`` and ``conv_centerness``;
    Faster R-CNN: ``rpn_head.rpn_cls`` and ``rpn_reg``,
    ``roi_head.bbox_head.fc_cls`` and ``fc_reg``, as in ISAL. Layers that work
    in training alone are not among them, nor those of a detection transformer
    before its head: its reference points are added to the outputs, but they
    feed the decoder too. A head with a method
    ``last_layer_names()`` answers for itself, with names in the head.

    Cost: one forward pass of a small image. Weights, buffers, modes and the
    global random state are left alone.

    Args:
        model (nn.Module): A detector of mmdet or of this package.

    Returns:
        tuple[str, ...]: Names as of ``model.named_modules()``, in its order.

    Raises:
        ValueError: If the detector has no such layer, or a head names one
            that it does not have.

    Example:
        >>> from helpers.tiny import tiny_fcos
        >>> last_layers(tiny_fcos())[0]
        'bbox_head.conv_cls'
    """
    layers = set(_traced(model))
    if isinstance(model, DetectionTransformer):
        layers = {n for n in layers if n.startswith('bbox_head.')}
    for prefix, head in model.named_modules():
        if hasattr(head, 'last_layer_names'):
            known, own = dict(head.named_modules()), head.last_layer_names()
            wrong = [n for n in own if n not in known]
            if wrong:
                raise ValueError(
                    f'{type(head).__name__}.last_layer_names() names {wrong}, '
                    'which the head does not have.')
            start = f'{prefix}.' if prefix else ''
            layers = {n for n in layers if not n.startswith(f'{prefix}.')}
            layers |= {start + n for n in own}
    if not layers:
        raise ValueError(
            f'no convolution or linear layer gives the outputs of '
            f'{type(model).__name__}: name the layers in '
            'active_learning.scorer.layers.')
    return tuple(n for n, _ in model.named_modules() if n in layers)


def _traced(model: nn.Module) -> list[str]:
    """Names of the layers next to the outputs, by the graph of autograd."""
    leaves: list[tuple[str, Tensor]] = []

    def cut(call: ModuleCall) -> Tensor:
        leaf = call.output.detach().requires_grad_()
        leaves.append((call.name, leaf))
        return leaf.clone()  # a leaf refuses activations in place

    layers = {n: m for n, m in model.named_modules()
              if isinstance(m, (nn.Linear, _ConvNd))}
    # a two-stage detector keeps the proposals alone of what its RPN returns
    two_stage = isinstance(model, TwoStageDetector) and model.with_rpn
    rpn = {'rpn_head': model.rpn_head} if two_stage else {}
    inputs, sample = blank_image(model)
    # parts of a model may be in another mode than the whole, and stay so
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad(), Recorder(layers, cut), \
                Recorder(rpn) as recorder, preserve_rng_state(inputs.device):
            outputs = model(inputs, [sample], mode='tensor')
    finally:
        for module, training in modes:
            module.training = training
    rpn_outputs = [call.output for call in recorder.calls]

    # the way back from the outputs through the graph ends at leaves
    stack = [t.grad_fn for t in _tensors([rpn_outputs, outputs])]
    seen, reached = set(), set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            reached.add(id(node.variable))
        stack.extend(n for n, _ in node.next_functions)
    return [name for name, leaf in leaves if id(leaf) in reached]


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if torch.is_tensor(outputs):
        yield outputs
    elif isinstance(outputs, dict):
        yield from _tensors(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _tensors(output)
