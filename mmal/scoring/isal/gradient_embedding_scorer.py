"""Gradients of images as embeddings, and where they lead."""
from __future__ import annotations

from typing import Optional

from torch import Tensor, nn

from mmal.influence import (
    BatchedOperator,
    GradientProjection,
    StepMetric,
    image_products,
)
from mmal.influence.solvers import SolverError
from mmal.registry import TASK_UTILS
from mmal.scoring.data import ScoringData
from .influence_scorer import InfluenceScorer


@TASK_UTILS.register_module()
class GradientEmbeddingScorer(InfluenceScorer):
    r"""The gradient of an image's loss, with its pseudo-labels, as embedding.

    The gradient g by the parameters of the last layers is what
    :class:`InfluenceScorer` multiplies with s_test. Here it is kept: inner
    products of embeddings are about

    .. math:: \frac1n\, g^T H_\lambda^{-1} H H_\lambda^{-1} g', \qquad
        H_\lambda = H + \lambda I

    with the solver's H and damping λ, and the n images of the training. That
    is what training with one image takes from the influence of another, see
    :class:`mmal.selection.BatchInfluence`. With ``mmal.Identity``, the
    default, there is no H, and embeddings are plain gradients, divided by the
    root of n.

    With a reference set the score is :math:`s_{test} \cdot g`, that of
    :class:`InfluenceScorer`, without any projection. A selector thereby knows
    the products of all images with each other, and of each one with the
    gradient to follow, and needs not see the latter. Without a reference set
    the score is the length of the embedding.

    Gradients become short by two random matrices for each layer, see
    :class:`~mmal.influence.GradientProjection`: a layer has ``inputs`` x
    ``outputs`` numbers, or fewer where it is small.

    Cost beyond InfluenceScorer's: one more backward pass of the losses to the
    layers' outputs, and the sum over positions of the layers, once for each
    of min(channels, ``outputs``); with a curvature the blocks of
    ``BlockCholesky`` are applied to each image. Without a reference set and
    with ``mmal.Identity`` the labelled images are read for the normaliser
    alone.

    Args:
        reference (str, optional): See :class:`InfluenceScorer`; None: the
            score is the length of the embedding.
        solver (dict, optional): ``mmal.Identity`` by default; one with blocks
            (``mmal.DefaultSolver`` or ``mmal.BlockCholesky``) for the metric
            of a curvature.
        inputs (int, optional): Numbers that stand for the inputs of a channel
            (of 3 x 3 convolutions nine for each input channel) and its bias;
            None: all of them.
        outputs (int, optional): Numbers that stand for a layer's channels;
            None: all of them.
        **options: Of :class:`InfluenceScorer`.

    Raises:
        ValueError: An option is out of its range.
    """

    needs_embeddings = True

    def __init__(self,
                 reference: Optional[str] = None,
                 solver: Optional[dict] = None,
                 inputs: Optional[int] = 128,
                 outputs: Optional[int] = 16,
                 **options) -> None:
        super().__init__(
            reference='labelled' if reference is None else reference,
            solver=solver or dict(type='mmal.Identity'), **options)
        for name, size in (('inputs', inputs), ('outputs', outputs)):
            if size is not None and (
                    not isinstance(size, int) or size < 1):
                raise ValueError(
                    f'active_learning.scorer.{name} is {size}: give a whole '
                    'number of at least 1, or None for all.')
        self.inputs = inputs
        self.outputs = outputs
        self.follows = reference is not None
        self.gives_gradients = self.may_be_negative = self.follows
        self.images = 1
        self.projection: Optional[GradientProjection] = None
        self.metric: Optional[StepMetric] = None

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`InfluenceScorer.prepare`; the metric as well."""
        operator = self.operator(model, data)
        operator.keep_blocks = True  # for the metric and for s_test
        self.images = max(1, len(data.trained_ids('labelled')))
        try:
            self.metric = self.solver.step_metric(operator,
                                                   self.recorder.params)
        except SolverError as e:
            raise ValueError(f'active_learning.scorer.solver: {e}') from e
        if self.follows:
            gradient, = self._reference_gradients(model, data)
            self.s_test = self._solve(operator, gradient, data)

    def _set_recorder(self, model: nn.Module, data: ScoringData) -> None:
        super()._set_recorder(model, data)
        # Of another model's layers there is no curvature yet.
        self.metric = None
        self.projection = GradientProjection(
            self.recorder, self.inputs, self.outputs, data.seed, 'gradients')

    def _check_solver(self, operator: BatchedOperator) -> Optional[str]:
        self.solver.check_step_metric(operator, self.recorder.params)
        return super()._check_solver(operator)

    def _columns(self, losses: Tensor) -> dict[str, Tensor]:
        rows = self.projection.embed(losses, self.recorder, self.metric)
        rows = (rows / self.images**0.5).float()
        score = image_products(losses, self.recorder, self.s_test) \
            if self.follows else rows.norm(dim=1)
        return dict(score=score.detach(), embedding=rows)
