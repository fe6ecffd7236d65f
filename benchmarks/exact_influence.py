r"""The truth that influences are estimates of, on detectors small enough.

:class:`FCOSHeadLoss` is the loss of each image as a function of the output
layers' parameters alone, in float64, with the rows of all images in one
tensor; it shares no code with :mod:`mmal.influence`. On it,
:func:`dense_hessian` and :class:`HeadMatrix` form the Hessian and the
Gauss-Newton matrix, :func:`retrain` trains the layers to the end, and
:func:`leave_one_in` tells what the loss of a reference set becomes with one
more image.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Optional, Union

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.recorder import Recorder

LAYERS = ('conv_cls', 'conv_reg', 'conv_centerness')


@dataclass
class LevelMap:
    """What ``conv_cls`` sees in images of one size at one level."""
    input: Tensor  # [B, c, h, w]
    images: Tensor  # [B]
    labels: Tensor  # [B * h * w]


class FCOSHeadLoss:
    """Losses of N images as a function of the output layers of an FCOS.

    What enters the layers is a constant: the trunk sees each image once,
    here. Boxes and centerness have a loss at positive positions only, so only
    what their layers see there is kept.

    Args:
        model (nn.Module): An mmdet FCOS in eval mode, on any device.
        batches (Iterable): Pairs of images [B, 3, H, W] and B ``InstanceData``
            with ``bboxes`` and ``labels`` in their pixels.
        dtype (torch.dtype): Of all that follows.
        smoothing (float): Round the kinks of a GIoU loss, where a side meets
            the label's, to hyperbolas of this width, as a share of the
            labelled box; so the layers can be trained to the end. 0 leaves
            the loss as it is. May be changed at any time.

    Attributes:
        theta (Tensor): [d], the model's own parameters of the layers, weight
            and bias of ``conv_cls``, ``conv_reg`` and ``conv_centerness``.
        num_images (int): N.
        shapes (list[torch.Size]): Of weight and bias of each layer.
        maps (list[LevelMap]): What ``conv_cls`` sees, and the classes there.
        rows (dict[str, Tensor]): What the other two layers see at positive
            positions, [n, K], their targets and weights, and their images.
        positives (Tensor): [N], what divides an image's losses of classes:
            the number of its positives, at least 1, or see
            :meth:`divide_by`.
        means (tuple[float, float]): Positives of an image, and their
            centerness, in the mean.
    """

    def __init__(self,
                 model: nn.Module,
                 batches: Iterable,
                 dtype: torch.dtype = torch.float64,
                 smoothing: float = 0.) -> None:
        self.head = model.bbox_head
        self.smoothing = smoothing
        self.dtype = dtype
        self.num_images = 0
        layers = [getattr(self.head, name) for name in LAYERS]
        params = [p.detach().cpu() for m in layers
                  for p in (m.weight, m.bias)]
        self.shapes = [p.shape for p in params]
        self.theta = torch.cat([p.flatten() for p in params]).to(dtype)
        maps: dict[tuple, list[LevelMap]] = {}
        positives: dict[str, list[Tensor]] = {}
        for inputs, labels in batches:
            self._add(model, inputs, labels, maps, positives)

        # Maps of one size in one tensor: the class loss is the one that is
        # computed at all positions, again and again in training.
        self.maps = [
            LevelMap(*(torch.cat([getattr(m, key) for m in of_size])
                       for key in ('input', 'images', 'labels')))
            for of_size in maps.values()
        ]
        self.rows = rows = {k: torch.cat(v) for k, v in positives.items()}
        count = torch.bincount(
            rows['image'], minlength=self.num_images).to(dtype)
        rows['centerness'] = self.head.centerness_target(rows['target'])
        sums = self._sums(rows['centerness'])
        self.means = float(count.mean()), float(sums.mean())
        # as if each image were alone
        self._divide(count.clamp(min=1), sums.clamp(min=1e-6))

    def divide_by(self, positives: float, centerness: float) -> None:
        """Divide every image's sums by the same numbers, not by its own.

        Args:
            positives (float): Divides losses of classes and centerness.
            centerness (float): Divides losses of boxes. With the ``means`` of
                the labelled images, the mean loss of these is what training
                minimises.
        """
        each = torch.ones(self.num_images, dtype=self.dtype)
        self._divide(each * positives, each * centerness)

    def _divide(self, positives: Tensor, centerness: Tensor) -> None:
        rows = self.rows
        self.positives = positives
        rows['box_weight'] = rows['centerness'] / centerness[rows['image']]
        rows['center_weight'] = 1 / positives[rows['image']]

    @property
    def layer_sizes(self) -> list[int]:
        """Numbers of parameters of the three layers."""
        sizes = [shape.numel() for shape in self.shapes]
        return [a + b for a, b in zip(sizes[::2], sizes[1::2])]

    def losses(self, theta: Tensor) -> Tensor:
        """[N], the loss of each image alone, all terms with their weights.

        Args:
            theta (Tensor): [d].
        """
        of_layers = theta.split(self.layer_sizes)
        return sum(self.layer_losses(i, t) for i, t in enumerate(of_layers))

    def layer_losses(self, layer: int, theta: Tensor) -> Tensor:
        """[N], the terms of :meth:`losses` that depend on one layer.

        Args:
            layer (int): Its place among the three; no two share a term.
            theta (Tensor): Its parameters.
        """
        shapes = self.shapes[2 * layer:2 * layer + 2]
        weight, bias = [
            p.view(s)
            for p, s in zip(theta.split([s.numel() for s in shapes]), shapes)
        ]
        return (self._class_losses, self._box_losses,
                self._center_losses)[layer](weight, bias)

    def cls_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """[n, C], the loss of class outputs z [n, C]."""
        return self.head.loss_cls(z, labels, reduction_override='none')

    def box_loss(self, z: Tensor, scale: Tensor, point: Tensor,
                 target: Tensor) -> Tensor:
        """[n], the loss of raw outputs z [n, 4] of ``conv_reg``.

        Args:
            z (Tensor): The outputs.
            scale (Tensor): [n, 1], of the level.
            point (Tensor): [n, 2].
            target (Tensor): [n, 4], distances.
        """
        return self.distance_loss(self.distances(z * scale), point, target)

    def distances(self, z: Tensor) -> Tensor:
        """[n, 4], what the head makes of scaled outputs of ``conv_reg``."""
        return z.clamp(min=0) if self.head.norm_on_bbox else z.exp()

    def distance_loss(self, distance: Tensor, point: Tensor,
                      target: Tensor) -> Tensor:
        """[n], the loss of distances [n, 4] from points [n, 2]."""
        if self.smoothing:
            weight = self.head.loss_bbox.loss_weight
            return weight * smooth_giou_loss(distance, target, self.smoothing)
        decode = self.head.bbox_coder.decode
        return self.head.loss_bbox(
            decode(point, distance),
            decode(point, target),
            reduction_override='none')

    def center_loss(self, z: Tensor, target: Tensor) -> Tensor:
        """[n], the loss of outputs z [n] of ``conv_centerness``."""
        return self.head.loss_centerness(
            z, target, reduction_override='none')

    def _class_losses(self, weight: Tensor, bias: Tensor) -> Tensor:
        total = weight.new_zeros(self.num_images)
        for level in self.maps:
            z = self.head.conv_cls._conv_forward(level.input, weight, bias)
            z = z.permute(0, 2, 3, 1).reshape(-1, z.size(1))
            sums = self.cls_loss(z, level.labels).view(len(level.images), -1)
            scale = self.positives[level.images]
            total = total.index_add(0, level.images, sums.sum(1) / scale)
        return total

    def _box_losses(self, weight: Tensor, bias: Tensor) -> Tensor:
        rows = self.rows
        z = rows['reg'] @ weight.flatten(1).T + bias
        loss = self.box_loss(z, rows['scale'], rows['point'], rows['target'])
        return self._sums(loss * rows['box_weight'])

    def _center_losses(self, weight: Tensor, bias: Tensor) -> Tensor:
        rows = self.rows
        z = (rows['center'] @ weight.flatten(1).T + bias).squeeze(1)
        loss = self.center_loss(z, rows['centerness'])
        return self._sums(loss * rows['center_weight'])

    def _sums(self, values: Tensor) -> Tensor:
        zeros = values.new_zeros(self.num_images)
        return zeros.index_add(0, self.rows['image'], values)

    @torch.no_grad()
    def _add(self, model: nn.Module, inputs: Tensor,
             labels: Sequence[InstanceData], maps: dict[tuple, list[LevelMap]],
             positives: dict[str, list[Tensor]]) -> None:
        """Add what the layers see in a batch of images."""
        layers = {name: getattr(self.head, name) for name in LAYERS}
        with Recorder(layers) as recorder:
            self.head(model.extract_feat(inputs))
        seen = {name: [c.args[0] for c in recorder.calls if c.name == name]
                for name in LAYERS}
        sizes = [x.shape[-2:] for x in seen['conv_cls']]
        points = self.head.prior_generator.grid_priors(
            sizes, dtype=torch.float32, device=inputs.device)
        classes, targets = self.head.get_targets(points, list(labels))
        images = torch.arange(len(inputs)) + self.num_images
        self.num_images += len(inputs)
        for level in range(len(sizes)):
            x_cls, x_reg, x_center = (seen[name][level] for name in LAYERS)
            level_map = LevelMap(
                self._cast(x_cls), images, classes[level].cpu())
            maps.setdefault(tuple(level_map.input.shape[1:]),
                            []).append(level_map)

            keep = (classes[level] < self.head.num_classes).nonzero().flatten()
            scale = self.head.scales[level].scale.detach()
            rows = dict(
                reg=_patches(self.head.conv_reg, x_reg)[keep],
                center=_patches(self.head.conv_centerness, x_center)[keep],
                scale=scale.expand(len(keep), 1),
                point=points[level].repeat(len(images), 1)[keep],
                target=targets[level][keep])
            rows = {key: self._cast(x) for key, x in rows.items()}
            rows['image'] = images.repeat_interleave(
                len(points[level]))[keep.cpu()]
            for key, x in rows.items():
                positives.setdefault(key, []).append(x)

    def _cast(self, x: Tensor) -> Tensor:
        return x.detach().cpu().to(self.dtype)


def smooth_giou_loss(distance: Tensor, target: Tensor,
                     width: float) -> Tensor:
    """GIoU loss (Rezatofighi et al., 2019) with its kinks rounded off.

    For boxes around one point, given by distances from it.
    The minimum and maximum of two distances a and b become
    (a + b -+ sqrt((a - b)^2 + w^2)) / 2.

    Args:
        distance (Tensor): [n, 4], to the left, upper, right and lower side.
        target (Tensor): [n, 4], of the label, positive.
        width (float): w as a share of the label's width or height.

    Returns:
        Tensor: [n].
    """
    size = (target[:, :2] + target[:, 2:]).repeat(1, 2)
    root = ((distance - target).square() + (width * size).square()).sqrt()
    overlap = _area((distance + target - root) / 2)
    hull = _area((distance + target + root) / 2)
    union = _area(distance) + _area(target) - overlap
    return 1 - overlap / union + (hull - union) / hull


def _area(distance: Tensor) -> Tensor:
    return (distance[:, :2] + distance[:, 2:]).prod(1)


def _patches(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution sees at every position, [B * h * w, K]."""
    columns = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding,
                       conv.stride)
    return columns.transpose(1, 2).flatten(0, 1)


def dense_hessian(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """Second derivative of a scalar function, row by row of autograd.

    Args:
        loss (Callable): Of theta.
        theta (Tensor): [d].

    Returns:
        Tensor: [d, d].
    """
    theta = theta.detach().requires_grad_()
    gradient, = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return torch.stack([
        torch.autograd.grad(g, theta, retain_graph=True)[0] for g in gradient
    ])


class HeadMatrix:
    """A symmetric matrix over the output layers, in blocks that are exact.

    The losses of an FCOS are sums over positions, those of classes over
    classes too, and no two layers share a term; so both the Hessian and the
    Gauss-Newton matrix of its output layers have one block for each class, one
    for the box and one for centerness.

    Args:
        problem (FCOSHeadLoss): The images, over which it is a mean.
        theta (Tensor): [d], where the curvature is taken.
        positive (bool): Drop negative curvature at each position
            (Gauss-Newton), or keep it (the Hessian).
        box_step (float): Take the second derivative of the box loss by
            distances from gradients that far to either side, as a share of
            the labelled box; 0 for the derivative at the point.

    Attributes:
        blocks (list[Tensor]): [G, n, n] of each layer, the inputs of a
            channel and its bias together.
    """

    def __init__(self,
                 problem: FCOSHeadLoss,
                 theta: Tensor,
                 positive: bool = True,
                 box_step: float = 0.) -> None:
        pieces = [
            p.view(shape) for p, shape in zip(
                theta.split([shape.numel() for shape in problem.shapes]),
                problem.shapes)
        ]
        self.blocks = [_class_blocks(problem, *pieces[:2], positive)]
        for key, weight, bias, curvature in (
            ('reg', *pieces[2:4], partial(_box_curvature, step=box_step)),
            ('center', *pieces[4:], _center_curvature)):
            x = problem.rows[key]
            second = curvature(problem, x @ weight.flatten(1).T + bias)
            if positive:
                values, vectors = torch.linalg.eigh(second)
                second = (vectors * values.clamp(min=0)[:, None]) @ vectors.mT
            # The sum over rows of curvature (x) x x^T, in one matrix.
            x, channels = _with_ones(x), second.size(1)
            self.blocks.append(torch.cat([
                torch.cat([(x.T * second[:, i, j]) @ x
                           for j in range(channels)], 1)
                for i in range(channels)
            ])[None])
        self.blocks = [b / problem.num_images for b in self.blocks]
        self._orders = [_parameter_order(s) for s in problem.shapes[::2]]

    def dense(self) -> Tensor:
        """[d, d], in the order of theta."""
        layers = [torch.block_diag(*blocks) for blocks in self.blocks]
        return torch.block_diag(*(
            m[order][:, order] for m, order in zip(layers, self._orders)))

    def solve(self, v: Tensor, damping: Sequence[float]) -> Tensor:
        """(matrix + damping) x = v, with a damping for each layer.

        Args:
            v (Tensor): [d].
            damping (sequence[float]): Three numbers.

        Returns:
            Tensor: [d].
        """
        damped_blocks = [
            b + d * torch.eye(b.size(-1), dtype=b.dtype)
            for b, d in zip(self.blocks, damping)
        ]
        of_layers = v.split([len(order) for order in self._orders])
        return torch.cat([
            _by_channel(torch.linalg.solve, b, of_layer, order)
            for b, of_layer, order in zip(damped_blocks, of_layers,
                                          self._orders)
        ])

    def factors(self, damping: float) -> list[LayerFactor]:
        """L^-T of each layer, L the Cholesky factor of matrix + damping."""
        factors = []
        for block, order in zip(self.blocks, self._orders):
            eye = torch.eye(block.size(-1), dtype=block.dtype)
            lower = torch.linalg.cholesky(block + damping * eye)
            inverse = torch.linalg.solve_triangular(
                lower, eye.expand_as(lower), upper=False)
            factors.append(LayerFactor(inverse.mT.contiguous(), order))
        return factors


class LayerFactor:
    """One of :meth:`HeadMatrix.factors`; ``factor @ u`` applies it."""

    def __init__(self, blocks: Tensor, order: Tensor) -> None:
        self.blocks = blocks
        self.order = order

    def __matmul__(self, u: Tensor) -> Tensor:
        return _by_channel(torch.matmul, self.blocks, u, self.order)


def _by_channel(function: Callable, blocks: Tensor, v: Tensor,
                order: Tensor) -> Tensor:
    """Apply blocks to a layer's vector, whose biases come last."""
    rows = torch.empty_like(v).index_put((order, ), v)
    moved = function(blocks, rows.view(len(blocks), -1, 1))
    return moved.flatten()[order]


def _class_blocks(problem, weight, bias, positive) -> Tensor:
    conv, total = problem.head.conv_cls, 0
    for level in problem.maps:
        # One image at a time: patches are k * k times as large as the map.
        for i, label in zip(range(len(level.images)),
                            level.labels.chunk(len(level.images))):
            patches = _patches(conv, level.input[i:i + 1])
            z = patches @ weight.flatten(1).T + bias
            second = _second_derivative(
                lambda t, label=label: problem.cls_loss(t, label), z)
            second = second.clamp(min=0) if positive else second
            second = second / problem.positives[level.images[i]]
            x = _with_ones(patches)
            total = total + (x.T * second.T.unsqueeze(1)) @ x
    return total


def _box_curvature(problem, z: Tensor, step: float) -> Tensor:
    rows = problem.rows
    z = z.detach().requires_grad_()
    if step:
        second = _finite_curvature(problem, z, step)
        return second * rows['box_weight'][:, None, None]
    loss = problem.box_loss(z, rows['scale'], rows['point'], rows['target'])
    first, = torch.autograd.grad(loss.sum(), z, create_graph=True)
    second = torch.stack([
        torch.autograd.grad(g, z, retain_graph=True)[0] for g in first.sum(0)
    ], 1)
    return second * rows['box_weight'][:, None, None]


def _finite_curvature(problem, z: Tensor, step: float) -> Tensor:
    """By z, with differences of gradients for the curvature by distances."""
    rows, columns = problem.rows, []
    distance = problem.distances(z * rows['scale'])
    slope, = torch.autograd.grad(distance.sum(), z, create_graph=True)
    gradient = _distance_gradient(problem, distance.detach())
    for side in range(4):
        target = rows['target']
        size = target[:, side] + target[:, (side + 2) % 4]
        shift = torch.zeros_like(distance)
        shift[:, side] = step * size
        ahead, behind = (
            _distance_gradient(problem, distance.detach() + sign * shift)
            for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step * size[:, None]))
    # The chain rule: distances bend as well where they are exponentials.
    second = torch.stack(columns, 2)
    second = (second + second.mT) / 2 * slope[:, None] * slope[:, :, None]
    if slope.requires_grad:  # not where distances are linear in z
        bend, = torch.autograd.grad((slope * gradient).sum(), z)
        second = second + torch.diag_embed(bend)
    return second.detach()


def _distance_gradient(problem, distance: Tensor) -> Tensor:
    distance = distance.requires_grad_()
    loss = problem.distance_loss(distance, problem.rows['point'],
                                 problem.rows['target'])
    return torch.autograd.grad(loss.sum(), distance)[0]


def _center_curvature(problem, z: Tensor) -> Tensor:
    target = problem.rows['centerness']
    second = _second_derivative(
        lambda t: problem.center_loss(t.squeeze(1), target), z)
    weight = problem.rows['center_weight']
    return (second * weight[:, None])[..., None]


def _second_derivative(loss: Callable, z: Tensor) -> Tensor:
    """Of a function that acts on each element alone."""
    z = z.detach().requires_grad_()
    first, = torch.autograd.grad(loss(z).sum(), z, create_graph=True)
    return torch.autograd.grad(first.sum(), z)[0]


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def _parameter_order(weight: torch.Size) -> Tensor:
    """Where a layer's parameters are, channel by channel with the bias."""
    index = torch.arange(weight[0] * (weight[1:].numel() + 1))
    index = index.view(weight[0], -1)
    return torch.cat([index[:, :-1].flatten(), index[:, -1]])


@dataclass
class Trained:
    """The end of :func:`retrain`.

    Attributes:
        theta (Tensor): [d].
        gradient (float): Norm of the objective's gradient there. Losses of
            boxes have kinks, on which it need not be small.
        change (float): What the last steps still took off the objective,
            as a share of all that training took off, 0 where nothing.
        evaluations (int): How often the objective was computed.
    """
    theta: Tensor
    gradient: float
    change: float
    evaluations: int


def retrain(objective: Callable[[Tensor], Tensor],
            start: Tensor,
            factor: Union[Tensor, LayerFactor, None] = None,
            max_iters: int = 500,
            tol: float = 1e-9) -> Trained:
    """Minimise an objective by L-BFGS until it falls no more.

    Args:
        objective (Callable): A scalar function of theta.
        start (Tensor): [d].
        factor (Tensor | LayerFactor, optional): Steps are taken in u with
            theta = start + factor @ u. L^-T of a Cholesky factor L of the
            curvature makes few steps suffice; the optimum is the same.
        max_iters (int): Steps at most.
        tol (float): Norm of the gradient, by u, at which to stop.

    Returns:
        Trained: The optimum.
    """
    move = (lambda u: u) if factor is None else (lambda u: factor @ u)
    u = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [u],
        max_iter=max_iters,
        max_eval=2 * max_iters,
        tolerance_grad=tol,
        tolerance_change=0.,
        history_size=50,
        line_search_fn='strong_wolfe')
    values: list[float] = []

    def closure():
        optimiser.zero_grad()
        value = objective(start + move(u))
        value.backward()
        values.append(float(value.detach()))
        return value

    optimiser.step(closure)
    theta = (start + move(u)).detach().requires_grad_()
    gradient, = torch.autograd.grad(objective(theta), theta)
    best = min(values)
    fall = values[0] - best
    late = min(values[:max(1, len(values) * 4 // 5)]) - best
    return Trained(theta.detach(), float(gradient.norm()),
                   late / fall if fall > 0 else 0., len(values))


def damped(losses: Callable[[Tensor], Tensor], centre: Tensor,
           damping: float) -> Callable[[Tensor], Tensor]:
    """The objective ``losses(theta) + damping / 2 * |theta - centre|^2``."""
    return lambda theta: losses(theta) + damping / 2 * (
        theta - centre).square().sum()


def retrain_head(problems: Sequence[FCOSHeadLoss],
                 start: Tensor,
                 centre: Tensor,
                 damping: float,
                 factors: Sequence[LayerFactor],
                 max_iters: int = 200) -> list[Trained]:
    """Train the three layers, which no term of the loss joins, one by one.

    Args:
        problems (sequence[FCOSHeadLoss]): The images.
        start (Tensor): [d].
        centre, damping: See :func:`damped`.
        factors (sequence[LayerFactor]): See :func:`retrain`.
        max_iters (int): Steps at most, of each layer.

    Returns:
        list[Trained]: Of each layer.
    """
    count = sum(p.num_images for p in problems)
    sizes = problems[0].layer_sizes

    def mean(layer):
        return lambda theta: sum(
            p.layer_losses(layer, theta).sum() for p in problems) / count

    return [
        retrain(damped(mean(layer), c, damping), s, factors[layer], max_iters)
        for layer, (s, c) in enumerate(
            zip(start.split(sizes), centre.split(sizes)))
    ]


def joined(layers: Sequence[Trained]) -> Tensor:
    """The theta of all layers, [d]."""
    return torch.cat([layer.theta for layer in layers])


def leave_one_in(labelled: FCOSHeadLoss,
                 added: FCOSHeadLoss,
                 reference: FCOSHeadLoss,
                 optimum: Tensor,
                 centre: Tensor,
                 damping: float,
                 factors: Sequence[LayerFactor],
                 max_iters: int = 200,
                 start: Optional[Tensor] = None) -> tuple[float, Tensor]:
    """Change of the mean reference loss by training with one more image.

    Args:
        labelled (FCOSHeadLoss): N images.
        added (FCOSHeadLoss): The one image.
        reference (FCOSHeadLoss): The images whose loss counts.
        optimum (Tensor): [d], of the N images.
        centre, damping: See :func:`damped`.
        factors (sequence[LayerFactor]): See :func:`retrain`.
        max_iters (int): Steps at most, of each layer.
        start (Tensor, optional): [d], where training starts instead of at
            ``optimum``.

    Returns:
        tuple[float, Tensor]: The change, negative where the image helps, and
        the parameters [d].
    """
    theta = joined(
        retrain_head([labelled, added], optimum if start is None else start,
                     centre, damping, factors, max_iters))
    with torch.no_grad():
        before = reference.losses(optimum).mean()
        after = reference.losses(theta).mean()
    return float(after - before), theta
