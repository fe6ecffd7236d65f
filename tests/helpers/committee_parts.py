"""A scorer that asks a committee, for whole runs."""
import torch

from mmal.registry import TASK_UTILS
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
