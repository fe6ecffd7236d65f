"""A scorer that asks a committee, and a neck with dropout, for whole runs."""
import torch
from mmdet.models.necks import FPN
from torch import nn

from mmal.registry import MODELS, TASK_UTILS
from mmal.scoring import BaseScorer


@TASK_UTILS.register_module(force=True)
class DisagreementScorer(BaseScorer):
    """Mean variance of the class probabilities between the members."""

    needs_committee = True

    def prepare(self, model, data):
        self.committee = data.committee

    @torch.no_grad()
    def process(self, model, batch):
        maps = [torch.cat([c.flatten(1) for c in outputs[0]], 1).sigmoid()
                for outputs in self.committee.outputs(model, batch)]
        assert len(maps) == self.committee.size
        return dict(score=torch.stack(maps).double().var(0).mean(1))


@MODELS.register_module(force=True)
class DropoutFPN(FPN):
    """FPN and a dropout layer on every level."""

    def __init__(self, *args, p=0.2, **kwargs):
        super().__init__(*args, **kwargs)
        self.dropout = nn.Dropout(p)

    def forward(self, inputs):
        return tuple(self.dropout(x) for x in super().forward(inputs))
