"""Per-image gradients and their products with vectors, from one forward pass.

For a call of a convolution or linear layer with input ``a`` and output
``y``, the product of image i's gradient with a vector ``s`` is the sum over
positions of ``affine(a; s) * g`` with ``g = d l_i / d y``. As ``l_i`` depends
on row i alone, one backward pass of the summed losses gives the ``g`` of all
images, and no per-image backward is needed.
"""
from typing import Dict, List, Sequence, Set, Tuple, Union

import torch
from torch import Tensor

from .layers import Call, Layer, LayerRecorder, apply_affine, apply_affine_many
from .vectors import (
    ParamVector,
    ParamVectors,
    as_vectors,
    check_shapes,
    flatten,
)

Losses = Union[Tensor, Sequence[Tensor]]


def image_products(losses: Losses,
                   recorder: LayerRecorder,
                   vectors: ParamVectors,
                   check: bool = True) -> Tensor:
    r"""Products :math:`\nabla_\theta l_i \cdot s` for every image of a batch.

    Affine layers cost one backward pass to their outputs and one more
    application of the layer. Other layers, layers whose calls have no row per
    image, and layers whose parameters are also used without a call fall back
    to one backward pass per image.

    Args:
        losses (Tensor | Sequence[Tensor]): ``[B]``, the loss of each image as
            it has it alone, computed from the outputs of the model inside the
            recorder.
        recorder (LayerRecorder): Holds the calls of the batch.
        vectors (ParamVectors): One parameter vector or a list of M.
        check (bool): Verify, the first time, with a second backward pass that
            the loss of image i depends on row i of a layer's calls alone. (A
            layer called on B regions of B images would pass the shape test by
            chance; a layer ever found to have other calls is checked always.)

    Returns:
        Tensor: ``[B]``, or ``[B, M]`` for a list of vectors; zero where a loss
        does not depend on a layer.

    Raises:
        ValueError: A vector does not have the shapes of the parameters.

    Example:
        >>> model = torch.nn.Linear(2, 1).eval()
        >>> recorder = LayerRecorder(model, '*', bias=False)
        >>> with recorder:
        ...     losses = model(torch.tensor([[1., 2.], [3., 4.]])).sum(1)
        >>> image_products(losses, recorder, [torch.ones(1, 2)])
        tensor([3., 7.])
    """
    vectors, single = as_vectors(vectors)
    for vector in vectors:
        check_shapes(vector, recorder.params)
    losses = as_losses(losses)
    total = torch.zeros(
        len(losses),
        len(vectors),
        dtype=vectors[0][0].dtype,
        device=losses.device)
    with recorder.unfrozen():
        grads, fallback = output_gradients(losses, recorder, check)
        places = _places(fallback)
        for i, image in _per_image(losses, recorder, places):
            total[i] = torch.stack([
                sum((image[p] * v[p]).sum() for p in places) for v in vectors
            ])
    for call, grad in grads:
        total += _call_products(call, grad, vectors)
    return total[:, 0] if single else total


def per_image_gradients(losses: Losses,
                        recorder: LayerRecorder,
                        check: bool = True) -> Tensor:
    """Every image's gradient, for tests and small layers.

    Args:
        losses, recorder, check: See :func:`image_products`.

    Returns:
        Tensor: ``[B, P]``, each row flattened in the order of
        ``recorder.params``. It takes B x P numbers of memory.
    """
    losses = as_losses(losses)
    rows = [[torch.zeros_like(p, requires_grad=False)
             for p in recorder.params] for _ in range(len(losses))]
    with recorder.unfrozen():
        grads, fallback = output_gradients(losses, recorder, check)
        for i, image in _per_image(losses, recorder, _places(fallback)):
            for place, grad in image.items():
                rows[i][place] += grad
        for call, grad in grads:
            for i, row in enumerate(rows):
                _add_call_gradient(row, call, grad, i, recorder)
    if not rows:
        return flatten(recorder.params).new_zeros(0, recorder.num_params)
    return torch.stack([flatten(row) for row in rows]).detach()


def mean_gradient(losses: Losses, recorder: LayerRecorder) -> ParamVector:
    """The gradient of the mean of the losses, one backward pass.

    Args:
        losses, recorder: See :func:`image_products`.

    Returns:
        ParamVector: Zero where no loss depends on a parameter.

    Raises:
        ValueError: There are no losses.
    """
    losses = as_losses(losses)
    if len(losses) == 0:
        raise ValueError('the mean gradient of no images is not defined.')
    with recorder.unfrozen():
        return _gradients(losses.mean(), recorder.params)


def as_losses(losses: Losses) -> Tensor:
    """Per-image losses as one tensor ``[B]``.

    Raises:
        ValueError: They are not one number per image.
    """
    if not isinstance(losses, Tensor):
        parts = [torch.as_tensor(loss) for loss in losses]
        if any(p.numel() != 1 for p in parts):
            raise ValueError('each image needs one scalar loss, got shapes '
                             f'{[tuple(p.shape) for p in parts]}.')
        losses = torch.stack([p.reshape(())
                              for p in parts]) if parts else torch.zeros(0)
    if losses.dim() != 1:
        raise ValueError('losses must have shape [B], one per image, got '
                         f'{tuple(losses.shape)}.')
    return losses


def output_gradients(
        losses: Tensor,
        recorder: LayerRecorder,
        check: bool = True) -> Tuple[List[Tuple[Call, Tensor]], List[Layer]]:
    """Gradients with respect to recorded outputs, and the layers without them.

    Args:
        losses (Tensor): ``[B]``.
        recorder (LayerRecorder): Holds the calls of the batch.
        check (bool): See :func:`image_products`.

    Returns:
        tuple: ``(calls, fallback)``: pairs of a call and ``d(sum_i l_i)/dy``
        (calls without influence left out), and the layers that need per-image
        autograd.
    """
    if len(losses) == 0 or not losses.requires_grad:
        return [], []
    calls = [c for c in recorder.calls if c.output.requires_grad]
    bad = {id(la) for la in recorder.layers if not la.affine}
    bad |= used_around_calls(losses, recorder, calls)
    grads = backward_to(losses.sum(), calls)
    calls = [c for c in calls if grads[c] is not None]
    bad |= {
        id(c.layer)
        for c in calls if not c.batched or c.output.size(0) != len(losses)
    }
    if check and len(losses) > 1:
        kept = [c for c in calls if id(c.layer) not in bad]
        bad |= _not_split_by_image(losses, _unproven(recorder, kept, bad),
                                   grads)
        recorder.proven |= {id(c.layer) for c in kept} - bad
    bad = _spread_over_shared(recorder.layers, bad)
    pairs = [(c, grads[c]) for c in calls if id(c.layer) not in bad]
    for call, _ in pairs:
        call.check()
    return pairs, [la for la in recorder.layers if id(la) in bad]


def backward_to(loss: Tensor, calls: Sequence[Call]) -> Dict[Call, Tensor]:
    """Gradients at the outputs of calls, None where there is no path."""
    if not calls:
        return {}
    grads = torch.autograd.grad(
        loss, [c.output for c in calls], retain_graph=True, allow_unused=True)
    return dict(zip(calls, grads))


def used_around_calls(losses: Tensor, recorder: LayerRecorder,
                       calls: Sequence[Call]) -> Set[int]:
    """Layers whose parameters the losses reach other than by a call.

    The graph is walked from the losses, stepping over every recorded call
    from its output to its input.
    """
    sources = {c.output.grad_fn: c.source for c in calls}
    stack, seen, reached = [losses.grad_fn], set(), set()
    while stack:
        node = stack.pop()
        if isinstance(node, Tensor):
            reached.add(id(node))
            continue
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in sources:
            stack.append(sources[node])
            continue
        if hasattr(node, 'variable'):
            reached.add(id(node.variable))
        stack.extend(n for n, _ in node.next_functions)
    return {
        id(la)
        for la in recorder.layers
        if any(id(recorder.params[p]) in reached for p in la.index.values())
    }


def _unproven(recorder: LayerRecorder, calls: Sequence[Call],
              bad: Set[int]) -> List[Call]:
    """The calls of layers that have not passed the check before.

    A layer that once failed is checked each time.
    """
    recorder.suspect |= bad
    recorder.proven -= recorder.suspect
    return [c for c in calls if id(c.layer) not in recorder.proven]


def _not_split_by_image(losses: Tensor, calls: Sequence[Call],
                        grads: Dict[Call, Tensor]) -> Set[int]:
    """Layers with a row that depends on the loss of another image.

    If row i belongs to image i alone, weighting the losses weights the rows.
    """
    if not calls:
        return set()
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(len(losses), generator=generator) + 0.5
    weights = weights.to(losses)
    mixed = backward_to((losses * weights).sum(), calls)
    bad = set()
    for call in calls:
        grad = grads[call]
        rows = weights.to(grad.dtype).view(-1, *[1] * (grad.dim() - 1))
        error = (mixed[call] - rows * grad).abs().max()
        if error > 1e-2 * grad.abs().max():
            bad.add(id(call.layer))
    return bad


def _spread_over_shared(layers: Sequence[Layer], bad: Set[int]) -> Set[int]:
    """A layer that shares a parameter with a bad one is bad as well."""
    while True:
        places = {p for la in layers if id(la) in bad
                  for p in la.index.values()}
        more = {id(la) for la in layers
                if places & set(la.index.values())} | bad
        if more == bad:
            return bad
        bad = more


def _places(layers: Sequence[Layer]) -> List[int]:
    return sorted({p for la in layers for p in la.index.values()})


def _gradients(loss: Tensor, params: Sequence[Tensor]) -> ParamVector:
    if not loss.requires_grad:
        return [torch.zeros_like(p, requires_grad=False) for p in params]
    grads = torch.autograd.grad(
        loss, params, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(p, requires_grad=False) if g is None else g
        for g, p in zip(grads, params)
    ]


def _per_image(losses: Tensor, recorder: LayerRecorder, places: List[int]):
    """Yield (image, {place: gradient}) by one backward pass per image."""
    if not places:
        return
    params = [recorder.params[p] for p in places]
    for i, loss in enumerate(losses):
        yield i, dict(zip(places, _gradients(loss, params)))


def _call_products(call: Call, grad: Tensor,
                   vectors: Sequence[ParamVector]) -> Tensor:
    """``[B, M]`` products of one call."""
    module = call.layer.module
    pieces = [call.layer.pieces(v) for v in vectors]
    biases = None if pieces[0][1] is None else [b for _, b in pieces]
    with torch.no_grad():
        moved = apply_affine_many(module, call.input, [w for w, _ in pieces],
                                  biases)
        grad = grad.to(moved.dtype)
        # sum() adds pairwise; a matrix product loses two digits here.
        return torch.stack([(m * grad).flatten(1).sum(1) for m in moved], 1)


def _add_call_gradient(row: ParamVector, call: Call, grad: Tensor, i: int,
                       recorder: LayerRecorder) -> None:
    weight, bias = call.layer.pieces(recorder.params)
    leaves = [t for t in (weight, bias) if t is not None]
    out = apply_affine(call.layer.module, call.input[i:i + 1], weight, bias)
    found = torch.autograd.grad(out, leaves, grad[i:i + 1].to(out.dtype))
    row[call.layer.index['weight']] += found[0]
    if bias is not None:
        row[call.layer.index['bias']] += found[1]
