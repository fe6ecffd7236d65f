"""ISAL: label the image that is expected to lower the reference loss most."""
from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Callable, Optional, Union

import mmcv.cnn
import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    broadcast,
    get_dist_info,
)
from mmengine.logging import print_log
from torch import Tensor, nn

from mmal.compat.losses import local_losses
from mmal.influence import (
    BatchedOperator,
    CachedBatches,
    ExactHessian,
    ExactHessianBatch,
    GaussNewton,
    GaussNewtonBatch,
    LayerRecorder,
    image_products,
    mean_gradient,
    register_affine,
)
from mmal.influence.operators import OperatorBatch
from mmal.influence.operators.storage import STORAGES
from mmal.influence.solvers import BaseSolver, Identity, SolverError
from mmal.influence.vectors import flatten, unflatten
from mmal.models.utils import last_layers
from mmal.models.utils.per_image import map_outputs
from mmal.randomness import seeded_order
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import dummy_batch, twice_differentiable
from mmal.scoring.options import check_choice
from mmal.types import ImageId
from .adapters import ModelAdapter, adapter_of
from .box_curvature import box_curvature
from .pseudo_label_rule import PseudoLabelRule

# Whose forward passes do nothing but that of torch, but for empty inputs.
for _wrapper in (mmcv.cnn.Conv2d, mmcv.cnn.Linear):
    register_affine(_wrapper)

REFERENCES = ('val', 'initial', 'labelled')
HESSIANS = {
    'gauss-newton': (GaussNewton, GaussNewtonBatch),
    'exact': (ExactHessian, ExactHessianBatch),
}
EMPTY = ('last', 'background')
NORMALIZERS = ('labelled', 'image')


@TASK_UTILS.register_module()
class InfluenceScorer(BaseScorer):
    r"""The influence of an unlabelled image on the loss of a reference set.

    Implements *Influence Selection for Active Learning* (ISAL), algorithms 1
    to 3. With s_test = (H + damping I)^-1 ∇l(R), the influence of image z is
    I = -s_test · ∇l(z, pseudo-labels of z) (eq. 4); the more negative, the
    better, so the score is -I.

    Predictions, losses and gradient products come from one forward pass of a
    batch. Each loss is the one the image has alone, in eval mode. Cost: one
    forward and about two backward passes of the head per pool image; one
    forward pass per reference image and per image of the Hessian sample,
    which is loaded twice; the solver's steps act on cached layer inputs.

    Args:
        layers (str | sequence[str], optional): Names (or patterns) of the
            modules whose parameters count; by default the layers that give
            the detector's outputs, as
            :func:`mmal.models.utils.last_layers` finds them.
        reference (str): The reference set R: 'val' (paper), 'initial', the
            first labelled set (ISAL_v2), or 'labelled', the current one
            (ISAL_v3).
        solver (dict, optional): Config of a solver for s_test.
            :class:`~mmal.influence.solvers.DefaultSolver` by default: the
            exact solution where the blocks of H fit into 4 GiB, conjugate
            gradients until they converge elsewhere.
        hessian (str): 'gauss-newton', which is positive semi-definite, or
            'exact', which for detectors is not.
        box_step (float): For 'gauss-newton', the distance over which box
            losses have their curvature, as a share of a box's size: it
            takes in the kinks of IoU and L1 losses, see
            :func:`~mmal.scoring.isal.box_curvature.box_curvature`. 0 takes
            the second derivative at the point.
        hessian_positions (int, optional): For 'gauss-newton', so many
            positions of a layer stand for all of an image, drawn in
            proportion to their share of the trace; see
            :mod:`mmal.influence.operators.sampling`. None: all of them.
        hessian_images (int, optional): So many labelled images, drawn at
            random, stand for all of them in H; None for all. The paper takes
            at most 5,000.
        score_thr (float): Detections with at least this score become
            pseudo-labels.
        top_k (int): K of eq. 3, for classifiers: the gradients for the K most
            probable classes are summed, each times its probability.
        normalizer (str): What divides the terms of a loss that mmdet divides
            by a number of positives: 'labelled', the mean number of a
            labelled image, so that the sum over images is what training
            minimises; or 'image', the image's own (paper), which gives an
            image without objects as much weight as any other. Losses whose
            divisors are not known, see
            :func:`mmal.models.utils.batch_losses.has_factors`, keep the
            image's own, as the log says.
        empty (str): What to do with an image without pseudo-labels: 'last'
            puts it behind all others, at random among its like; 'background'
            scores it against an empty image.
        bias (bool): Whether biases count.
        cache_gib (float): GiB for the inputs of the layers on the Hessian's
            images; beyond it they are computed again each time.
        cache (str): Where they are kept: 'device', beside the model; 'ram';
            or 'file', a memory-mapped one.
        cache_dir (str, optional): The folder of that file; the system's for
            temporary files when None. Nothing is left in it.

    Raises:
        ValueError: An option is none of those named, or out of its range.
    """

    needs_labels = True
    may_be_negative = True

    def __init__(self,
                 layers: Union[str, Sequence[str], None] = None,
                 reference: str = 'val',
                 solver: Optional[dict] = None,
                 hessian: str = 'gauss-newton',
                 hessian_images: Optional[int] = 5000,
                 hessian_positions: Optional[int] = 256,
                 score_thr: float = 0.1,
                 empty: str = 'last',
                 bias: bool = True,
                 cache_gib: float = 4.0,
                 top_k: int = 1,
                 cache: str = 'device',
                 cache_dir: Optional[str] = None,
                 box_step: float = 0.02,
                 normalizer: str = 'labelled') -> None:
        check_choice('normalizer', normalizer, NORMALIZERS)
        check_choice('reference', reference, REFERENCES)
        check_choice('hessian', hessian, HESSIANS)
        check_choice('empty', empty, EMPTY)
        check_choice('cache', cache, STORAGES)
        check_folder(cache, cache_dir)
        if not box_step >= 0:
            raise ValueError('active_learning.scorer.box_step is '
                             f'{box_step}, must be >= 0.')
        self.layers = layers
        self.reference = reference
        self.solver: BaseSolver = TASK_UTILS.build(
            dict(solver or dict(type='mmal.DefaultSolver')))
        self.hessian = hessian
        if hessian_positions is not None and not hessian_positions >= 1:
            raise ValueError('active_learning.scorer.hessian_positions is '
                             f'{hessian_positions}: give a whole number of at '
                             'least 1, or None for all.')
        self.hessian_images = hessian_images
        self.hessian_positions = hessian_positions
        self.rule = PseudoLabelRule(score_thr, top_k)
        self.empty = empty
        self.bias = bias
        self.cache_bytes = int(cache_gib * 2**30)
        self.cache = cache
        self.cache_dir = cache_dir
        self.normalizer = normalizer
        self.box_step = box_step if hessian == 'gauss-newton' else 0.
        self.adapter: Optional[ModelAdapter] = None
        self.recorder: Optional[LayerRecorder] = None
        self.s_test: Optional[list[Tensor]] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        self.adapter = adapter_of(model, data.seed)
        try:
            self._set_recorder(model, data)
        except ValueError as e:
            raise ValueError(f'active_learning.scorer.layers: {e}') from e
        # A dry run of all steps, with an s_test of zeros: a loss that cannot
        # be differentiated twice should not be met after days of training.
        operator: Optional[BatchedOperator] = None
        try:
            batch = dummy_batch(model)
            with local_losses():  # process 0 may be alone here
                losses = self._curved_losses(model, batch)
                if not isinstance(self.solver, Identity):
                    operator_type, batch_type = HESSIANS[self.hessian]
                    operator = operator_type(
                        [batch_type(losses, self.recorder)])
                self.s_test = [
                    torch.zeros_like(p) for p in self.recorder.params
                ]
                self.process(model, batch)
        except (ValueError, RuntimeError) as e:
            raise ValueError(
                'active_learning.scorer, with scorer.layers: '
                f'{[la.name for la in self.recorder.layers]}: {e}') from e
        except TypeError as e:
            raise ValueError(
                f'InfluenceScorer cannot read the outputs of '
                f'{type(model).__name__} in eval mode ({e}): choose another '
                'scorer for it.') from e
        if operator is not None:
            try:
                advice = self._check_solver(operator)
            except SolverError as e:
                raise ValueError(f'active_learning.scorer.solver: {e}') from e
            if advice:
                print_log(f'active_learning.scorer.solver: {advice}',
                          'current', logging.WARNING)
        if self.reference not in data.splits:
            raise ValueError(
                f"active_learning.scorer.reference is '{self.reference}', but "
                'the config has no val_dataloader: add one, or choose '
                "'initial' or 'labelled'.")

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Compute s_test for this round's model."""
        operator = self.operator(model, data)
        gradient, = self._reference_gradients(model, data)
        self.s_test = self._solve(operator, gradient, data)

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores of a batch, the number of its pseudo-labels and the expected
        number of its boxes, all [B]; the latter by class, [B, C]."""
        with self.recorder:
            outputs = self.adapter.forward(batch)
            expected = self.adapter.expected_losses(
                outputs, batch.samples, self.rule)
        rows = self._columns(expected.losses)
        self.recorder.clear()  # the graph of this batch, before the next one
        if self.empty == 'last':
            rows['score'] = rows['score'].masked_fill(
                expected.count == 0, -float('inf'))
        return dict(rows, pseudo_labels=expected.count,
                    expected_boxes=expected.boxes,
                    class_boxes=expected.classes)

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """See :meth:`BaseScorer.compute`; the log says how many images have
        no pseudo-labels."""
        count = columns.get('pseudo_labels', np.zeros(0))
        without = int((count == 0).sum())
        if without:
            rank = 'they come last' if self.empty == 'last' else \
                'they are scored against an empty image'
            print_log(
                f'{without:,} of {len(count):,} images have no detection with '
                f'a score of at least {self.rule.score_thr:g}, and so no '
                f'pseudo-labels: {rank}.', 'current')
        return super().compute(columns)

    def operator(self, model: nn.Module,
                 data: ScoringData) -> BatchedOperator:
        """H of a model over the labelled images that stand for all of them.

        ``adapter`` and ``recorder`` are those of this model from then on.

        Args:
            model (nn.Module): The trained detector in eval mode.
            data (ScoringData): Its split 'labelled'; batches are read as the
                operator is used.

        Returns:
            BatchedOperator: The same in every process.
        """
        self.adapter = adapter_of(model, data.seed)
        self._set_recorder(model, data)
        operator_type, batch_type = HESSIANS[self.hessian]
        ids = self.hessian_sample(data)
        if self.normalizer == 'labelled':
            self.adapter.factors = self._mean_factors(model, data, ids)

        def build(batch: Batch) -> OperatorBatch:
            losses = self._curved_losses(model, batch)
            built = batch_type(losses, self.recorder)
            self.recorder.clear()
            if self.hessian == 'exact' or self.hessian_positions is None:
                return built
            return built.sampled(self.hessian_positions, batch.ids, data.seed,
                                 data.round, 'positions')

        storage = STORAGES['file'](self.cache_dir) if self.cache == 'file' \
            else STORAGES[self.cache]()
        batches = CachedBatches(
            lambda index: build(data.batch('labelled', model, index, ids)),
            data.num_batches('labelled', ids), self.cache_bytes, storage)
        if self.hessian == 'exact':
            return operator_type(batches)
        return operator_type(batches, _SharedPass(data, model, ids, build))

    def hessian_sample(self, data: ScoringData) -> list[ImageId]:
        """The labelled images that stand for all of them in H: of those that
        the data set trains on.

        Args:
            data (ScoringData): Seed and round say which are drawn.
        """
        ids = data.trained_ids('labelled')
        if self.hessian_images is None or len(ids) <= self.hessian_images:
            return ids
        order = seeded_order(ids, data.seed, data.round, 'hessian')
        return order[:self.hessian_images]

    def _solve(self, operator: BatchedOperator, gradient: list[Tensor],
               data: ScoringData) -> list[Tensor]:
        """s_test for a gradient, the same in every process."""
        try:
            with data.bar(None, 's_test') as bar:

                def show(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                solution = self.solver.solve(operator, gradient, show)
        except SolverError as e:
            raise ValueError(f'active_learning.scorer.solver: {e}') from e
        # Each process has solved the same system, but not with the same
        # rounding; the bits of process 0 give one order of the pool.
        for tensor in solution.x:
            broadcast(tensor)
        print_log(
            f's_test by {solution.method} over '
            f'{self.recorder.num_params:,} parameters of '
            f'{", ".join(la.name for la in self.recorder.layers)}: '
            f'{solution.summary()}', 'current')
        if not solution.converged:
            # What is left over depends on the rounding of sums over batches.
            print_log(
                f'{solution.method} has not converged: the residual is '
                f'{solution.residual:.2g} after {solution.iterations} steps, '
                'so scores may depend on the batch size. Give '
                'active_learning.scorer.solver more steps, or leave it out.',
                'current', logging.WARNING)
        return solution.x

    def _set_recorder(self, model: nn.Module, data: ScoringData) -> None:
        """Begin with the layers of another model."""
        layers = last_layers(model) if self.layers is None else self.layers
        self.recorder = LayerRecorder(model, layers, self.bias,
                                      self.adapter.image_dim)

    def _check_solver(self, operator: BatchedOperator) -> Optional[str]:
        """See :meth:`BaseSolver.check`, with H of a dry run."""
        return self.solver.check(operator, self.recorder.params)

    def _columns(self, losses: Tensor) -> dict[str, Tensor]:
        """What the losses [B] of a batch with its calls recorded tell."""
        return dict(score=image_products(losses, self.recorder,
                                         self.s_test).detach())

    def _losses(self, batch: Batch) -> Tensor:
        """True-label losses [B] of a batch, its calls recorded."""
        with self.recorder:
            outputs = self.adapter.forward(batch)
            labels = [s.gt_instances for s in batch.samples]
            return self.adapter.image_losses(outputs, batch.samples, labels)

    def _curved_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """:meth:`_losses` with the second derivatives that make up H."""
        with twice_differentiable(model), box_curvature(model, self.box_step):
            return self._losses(batch)

    @torch.no_grad()
    def _mean_factors(self, model: nn.Module, data: ScoringData,
                      ids: Sequence[ImageId]) -> Optional[dict[str, float]]:
        """What divides each term of a loss: the mean over labelled images.

        The divisors depend on the labels alone, so images are loaded but pass
        through the detector once for each shape.
        """
        like: dict[torch.Size, Any] = {}
        sums: dict[str, Tensor] = {}
        images = 0
        for batch in data.batches('labelled', model, ids,
                                  desc='positives of labelled images'):
            shape, samples = batch.inputs.shape[1:], batch.samples
            labels = [s.gt_instances for s in samples]
            if shape not in like:
                like[shape] = self.adapter.forward(
                    Batch(batch.ids[:1], batch.inputs[:1], samples[:1]))
                if self.adapter.loss_factors(
                        like[shape], samples[:1], labels[:1]) is None:
                    break  # as it will be in each process
            outputs = map_outputs(partial(_zeros, len(batch)), like[shape])
            found = self.adapter.loss_factors(outputs, samples, labels)
            for name, factors in found.items():
                sums[name] = sums.get(name, 0) + factors.double().sum()
            images += len(batch)
        gathered = all_gather_object(
            ({name: float(total) for name, total in sums.items()}, images))
        # a process without images knows no names
        names = {name for found, _ in gathered for name in found}
        if not names:
            print_log(
                f'the losses of {type(model).__name__} are not divided by '
                'numbers of positives that are known here: each image keeps '
                "its own, as with active_learning.scorer.normalizer='image'.",
                'current')
            return None
        total = sum(n for _, n in gathered)
        # where nothing is labelled with an object any number will do
        return {name: sum(found.get(name, 0.) for found, _ in gathered) / total
                or 1. for name in names}

    def _reference_ids(self, data: ScoringData) -> list[ImageId]:
        """R: of labelled images those that the data set trains on."""
        return data.ids('val') if self.reference == 'val' else \
            data.trained_ids(self.reference)

    def _reference_gradients(
            self, model: nn.Module, data: ScoringData,
            groups: Optional[dict[ImageId, int]] = None
    ) -> list[list[Tensor]]:
        """v = the mean over R of ∇l, each process with a share of R.

        Args:
            groups (dict, optional): Image to the number of its group, from 0;
                then there is a v for each group, else one.
        """
        params = self.recorder.params
        number = max(groups.values(), default=0) + 1 if groups else 1
        # The last column counts the images. In float64, so that the sum is
        # the same for every number of processes but for its last digits.
        total = torch.zeros(
            number,
            self.recorder.num_params + 1,
            dtype=torch.float64,
            device=params[0].device)
        for batch in data.batches(
                self.reference, model, self._reference_ids(data),
                desc=f'gradient of {self.reference}'):
            losses = self._losses(batch)
            of_image = torch.tensor(
                [groups[i] if groups else 0 for i in batch.ids])
            for group in of_image.unique().tolist():
                at = (of_image == group).nonzero()[:, 0]
                chosen = losses if len(at) == len(losses) else \
                    losses[at.to(losses.device)]
                mean = mean_gradient(chosen, self.recorder)
                total[group, :-1] += flatten(mean).double() * len(at)
                total[group, -1] += len(at)
        self.recorder.clear()
        for image, reason in data.unreadable[self.reference].items():
            print_log(
                f"image {image} of the reference set '{self.reference}' is "
                f'left out: {reason}', 'current', logging.WARNING)
        all_reduce(total)
        if not bool(total[:, -1].all()):
            raise ValueError(
                f"the reference set '{self.reference}' of "
                'active_learning.scorer has no readable image.')
        means = (total[:, :-1] / total[:, -1:]).to(params[0].dtype)
        return [unflatten(mean, params) for mean in means]


class _SharedPass:
    """The images of the Hessian, dealt out to the processes.

    Args:
        data (ScoringData): Its split 'labelled'.
        model (nn.Module): The detector.
        ids (list[int | str]): The images.
        build (Callable): From a batch of images to that of the operator.
    """

    def __init__(self, data: ScoringData, model: nn.Module,
                 ids: list[ImageId], build: Callable) -> None:
        self.data = data
        self.model = model
        self.images = ids
        self.build = build
        self.gather = all_gather_object
        self.add_up = all_reduce

    def __len__(self) -> int:
        rank, world_size = get_dist_info()
        number = self.data.num_batches('labelled', self.images)
        return len(range(rank, number, world_size))

    def batches(self) -> Iterator[OperatorBatch]:
        """See :class:`mmal.influence.operators.blocks.OnePass`."""
        for batch in self.data.batches('labelled', self.model, self.images):
            # solvers run without gradients
            with torch.enable_grad():
                built = self.build(batch)
            yield built
        for image, reason in self.data.unreadable.get(
                'labelled', {}).items():
            print_log(f'labelled image {image} is left out of the Hessian: '
                      f'{reason}', 'current', logging.WARNING)


def _zeros(rows: int, like: Tensor) -> Tensor:
    """Zeros for so many images, without memory, as one row ``like``."""
    return torch.zeros_like(like).expand(rows, *like.shape[1:])


def check_folder(cache: str, folder: Optional[str]) -> None:
    """Raise ValueError if the folder of a cache cannot be used."""
    if folder is None:
        return
    if cache != 'file':
        raise ValueError("active_learning.scorer.cache_dir needs cache='file'"
                         f", but cache is '{cache}'.")
    if not osp.isdir(folder):
        raise ValueError(f"active_learning.scorer.cache_dir '{folder}' is no "
                         'folder: make it, or leave cache_dir out.')
