"""What each image adds to the losses of a head, and what divides it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, partialmethod
from typing import Optional

import torch
from mmdet.models.dense_heads import (
    ATSSHead,
    FCOSHead,
    RetinaHead,
    RPNHead,
    SSDHead,
    YOLOV3Head,
    YOLOXHead,
)
from mmdet.models.losses import (
    CIoULoss,
    CrossEntropyLoss,
    DIoULoss,
    FocalLoss,
    GIoULoss,
    IoULoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
)
from mmdet.models.task_modules.samplers import PseudoSampler
from torch import Tensor, nn

from ..patch_forward import patch_forward

EPS = torch.finfo(torch.float32).eps  # as mmdet adds it to what it divides by
# Modules of which 'none' as the reduction gives numbers for each row, or a
# zero without a shape where no row has weight.
_LOSSES = (FocalLoss, CrossEntropyLoss, GIoULoss, IoULoss, DIoULoss, CIoULoss,
           L1Loss, SmoothL1Loss, MSELoss)


def losses_of(head: nn.Module) -> dict[str, nn.Module]:
    """The loss modules of a head by name."""
    return {name: module for name, module in head.named_children()
            if name.startswith('loss_')}


def known_losses(head: nn.Module, reduction: str) -> bool:
    """Whether all losses of a head sum up rows as :data:`_LOSSES` do.

    Args:
        head (nn.Module): The head.
        reduction (str): That of the head's losses as mmdet has it.
    """
    return all(
        type(loss) in _LOSSES and loss.reduction == reduction and
        not getattr(loss, 'avg_non_ignore', False)
        for loss in losses_of(head).values())


class Reduction:
    """What each image adds to each loss of a head.

    While the head computes its loss, a method with the name of a loss module
    stands in for the module's ``forward``: it adds up the rows of each image
    and gives the head a zero.

    Args:
        head (nn.Module): The head.
        zeros (Tensor): [B], in the dtype of the outputs.

    Attributes:
        reduction (str): Of the loss modules as mmdet has it.
        has_factors (bool): Whether training divides the losses by numbers of
            the labels alone.
        least (dict[str, float]): The least that mmdet divides each loss by.
        sums (dict[str, Tensor]): [B], the sum of each loss.
        own (dict[str, Tensor]): [B], what divides it, without that minimum.
    """
    reduction = 'mean'
    has_factors = True
    least: dict[str, float] = {}

    def __init__(self, head: nn.Module, zeros: Tensor) -> None:
        self.head = head
        self.zeros = zeros
        self.sums: dict[str, Tensor] = {}
        # a head may leave out a loss when there is no object
        self.own = dict.fromkeys(self.least, zeros)

    @classmethod
    def accepts(cls, head: nn.Module) -> bool:
        """Whether the losses of a head of the right type are known."""
        return known_losses(head, cls.reduction) and isinstance(
            getattr(head, 'sampler', None), (PseudoSampler, type(None)))

    def run(self, *outputs, **targets) -> dict:
        """Call the head's loss once; its terms as it returns them."""
        with patch_forward({
                loss: partial(getattr(self, name), loss.forward)
                for name, loss in losses_of(self.head).items()}):
            return self.call(*outputs, **targets)

    def call(self, *outputs, **targets) -> dict:
        """The head's loss."""
        return self.head.loss_by_feat(*outputs, **targets)

    def total(self, factors: Optional[Mapping[str, float]] = None) -> Tensor:
        """[B], the sum of all losses, divided by the images' own numbers or
        by ``factors``."""
        divisors = self.divisors() if factors is None else \
            self.checked(factors)
        return sum(
            (loss / divisors[name] if name in divisors else loss
             for name, loss in self.sums.items()), start=self.zeros)

    def checked(self, factors: Mapping[str, float]) -> dict[str, float]:
        """What divides each loss, with the little that mmdet adds."""
        for name in self.least:
            if not factors.get(name, 0) > 0:
                raise ValueError(
                    f"the factor of '{name}' is {factors.get(name)}, but it "
                    'divides the loss: give a number above zero, or no '
                    'factors.')
        return {name: float(factors[name]) + EPS for name in self.least}

    def divisors(self) -> dict[str, Tensor]:
        """[B], what divides the sums of each image alone."""
        return {name: number.clamp(min=self.least[name]) + EPS
                for name, number in self.own.items()}

    def by_image(self, values: Tensor) -> Tensor:
        """Sums [B] of all rows; here they lie image by image, each with as
        many."""
        return values.reshape(len(self.zeros), -1).sum(1)

    def at_positives(self, values: Tensor) -> Tensor:
        """Sums [B] of what the positives have, [P]."""
        # Put in their places rather than added up by image: so the order of
        # a sum is the same each time on a GPU too.
        every = values.new_zeros(len(self.is_positive))
        return self.by_image(every.index_put((self.positive, ), values))

    def find_positives(self, is_positive: Tensor) -> Tensor:
        """Remember which rows have an object; how many of each image, [B]."""
        self.is_positive = is_positive
        self.positive = is_positive.nonzero()[:, 0]
        return self.by_image(is_positive.to(self.zeros))

    def with_object(self, labels: Tensor) -> Tensor:
        """Bool [n] of labels [n], of which the last is the background."""
        return (labels >= 0) & (labels < self.head.num_classes)

    def add_rows(self, name: str, forward: Callable, *args, **kwargs):
        """Add up a loss of all rows; what the head is given in its place."""
        return self._add(self.by_image, name, forward, *args, **kwargs)

    def add_positives(self, name: str, forward: Callable, *args, **kwargs):
        """The same of a loss of the positives."""
        return self._add(self.at_positives, name, forward, *args, **kwargs)

    def _add(self, reduce: Callable, name: str, forward: Callable, *args,
             avg_factor=None, reduction_override=None, **kwargs) -> Tensor:
        each = forward(*args, reduction_override='none', **kwargs)
        if each.dim():
            # some losses have a number for each class or side
            each = each.reshape(len(each), -1).sum(1)
            self.sums[name] = self.sums.get(name, 0) + reduce(each)
        return each.new_zeros(())


class _Points(Reduction):
    """Of FCOS: rows are sorted by level, image and position."""
    least = dict(loss_cls=1., loss_bbox=1e-6, loss_centerness=1.)
    loss_centerness = partialmethod(Reduction.add_positives,
                                    'loss_centerness')

    def call(self, *outputs, **targets) -> dict:
        """See :meth:`Reduction.call`."""
        self.rows = [x[:, 0].numel() for x in outputs[0]]
        return super().call(*outputs, **targets)

    def by_image(self, values: Tensor) -> Tensor:
        """Sums [B] of all rows."""
        return sum(level.view(len(self.zeros), -1).sum(1)
                   for level in values.split(self.rows))

    def loss_cls(self, forward: Callable, scores: Tensor, labels: Tensor,
                 *args, **kwargs) -> Tensor:
        """The positives of an image divide this loss and the centerness'."""
        number = self.own['loss_cls'] + self.find_positives(
            self.with_object(labels))
        self.own.update(loss_cls=number, loss_centerness=number)
        return self.add_rows('loss_cls', forward, scores, labels, *args,
                             **kwargs)

    def loss_bbox(self, *args, weight: Tensor, **kwargs) -> Tensor:
        """The centerness of an image's positives divides this loss."""
        centerness = self.at_positives(weight)
        self.own['loss_bbox'] = self.own['loss_bbox'] + centerness
        return self.add_positives('loss_bbox', *args, weight=weight,
                                  **kwargs)


class _CenteredAnchors(_Points):
    """Of ATSS: a call for each level, rows sorted by image."""
    least = dict(loss_cls=1., loss_bbox=1., loss_centerness=1.)
    by_image = Reduction.by_image


class _Anchors(Reduction):
    """Of RetinaNet: a call for each level, rows sorted by image."""
    least = dict(loss_cls=1., loss_bbox=1.)
    loss_cls = partialmethod(Reduction.add_rows, 'loss_cls')
    loss_bbox = partialmethod(Reduction.add_rows, 'loss_bbox')

    def run(self, *outputs, **targets) -> dict:
        """See :meth:`Reduction.run`; one number divides both losses."""
        terms = super().run(*outputs, **targets)
        # what the head's get_targets has left of each image
        self.samples = self.head._raw_positive_infos['sampling_results']
        number = self.zeros.new_tensor(
            [self.number(s) for s in self.samples])
        self.own = dict.fromkeys(self.least, number)
        return terms

    def number(self, sampled) -> int:
        """What an image adds to the number that divides the losses."""
        return len(sampled.pos_inds)


class _Proposals(_Anchors):
    """Of an RPN: the anchors that are drawn divide its losses."""
    has_factors = False

    @classmethod
    def accepts(cls, head: nn.Module) -> bool:
        """With any sampler."""
        return known_losses(head, cls.reduction)

    def number(self, sampled) -> int:
        """Those with an object and those without."""
        return sampled.avg_factor


class _HardNegatives(_Anchors):
    """Of SSD, which gives a list of the images' losses itself."""

    def run(self, *outputs, **targets) -> dict:
        """See :meth:`Reduction.run`."""
        terms = super().run(*outputs, **targets)
        whole = sum(s.avg_factor for s in self.samples)  # divides all of them
        self.sums['loss_cls'] = torch.cat(terms['loss_cls']) * whole
        self.sums['loss_bbox'] = torch.stack(terms['loss_bbox']) * (
            whole + EPS)
        return terms


class _Cells(Reduction):
    """Of YOLOv3: plain sums over the rows of a level, sorted by image."""
    reduction = 'sum'
    has_factors = False
    loss_cls = partialmethod(Reduction.add_rows, 'loss_cls')
    loss_conf = partialmethod(Reduction.add_rows, 'loss_conf')
    loss_xy = partialmethod(Reduction.add_rows, 'loss_xy')
    loss_wh = partialmethod(Reduction.add_rows, 'loss_wh')


class _MatchedPoints(Reduction):
    """Of YOLOX: rows are sorted by image; what the model predicts decides
    which are positives."""
    reduction = 'sum'
    has_factors = False
    least = dict.fromkeys(
        ('loss_obj', 'loss_cls', 'loss_bbox', 'loss_l1'), 1.)
    loss_cls = partialmethod(Reduction.add_positives, 'loss_cls')
    loss_bbox = partialmethod(Reduction.add_positives, 'loss_bbox')
    loss_l1 = partialmethod(Reduction.add_positives, 'loss_l1')

    def loss_obj(self, forward: Callable, logits: Tensor,
                 targets: Tensor) -> Tensor:
        """The first to be called; positives divide all losses."""
        number = self.find_positives(targets[:, 0] > 0)
        self.own = dict.fromkeys(self.least, number)
        return self.add_rows('loss_obj', forward, logits, targets)


REDUCTIONS: dict[type, type[Reduction]] = {
    FCOSHead: _Points,
    ATSSHead: _CenteredAnchors,
    RetinaHead: _Anchors,
    RPNHead: _Proposals,
    SSDHead: _HardNegatives,
    YOLOV3Head: _Cells,
    YOLOXHead: _MatchedPoints,
}
"""The reduction of each head, by its type."""
