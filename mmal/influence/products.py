"""Per-image gradients and their products with vectors, from one forward pass.

For a call of a convolution or linear layer with input ``a`` and output
``y``, the product of image i's gradient with a vector ``s`` is the sum over
positions of ``affine(a; s) * g`` with ``g = d l_i / d y``. As ``l_i`` depends
on row i alone, one backward pass of the summed losses gives the ``g`` of all
images, and no per-image backward is needed.
"""
from typing import (
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

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
        grads, fallback = call_gradients(losses, recorder, check)
        for i, gradient in gradients_by_image(losses, recorder, fallback):
            total[i] = torch.stack([
                sum((g * v[index]).sum() for index, g in gradient.items())
                for v in vectors
            ])
    with torch.no_grad():
        for call, grad in grads:
            pieces = [call.layer.pieces(v) for v in vectors]
            biases = None if pieces[0][1] is None else [b for _, b in pieces]
            outputs = apply_affine_many(call.layer.module, call.input,
                                        [w for w, _ in pieces], biases)
            grad = grad.to(outputs.dtype)
            # sum() adds pairwise; a matrix product loses two digits here.
            total += torch.stack(
                [(out * grad).flatten(1).sum(1) for out in outputs], 1)
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
        grads, fallback = call_gradients(losses, recorder, check)
        for i, gradient in gradients_by_image(losses, recorder, fallback):
            for index, g in gradient.items():
                rows[i][index] += g
        for call, grad in grads:
            weight, bias = call.layer.pieces(recorder.params)
            own = [weight] if bias is None else [weight, bias]
            for i, row in enumerate(rows):
                out = apply_affine(call.layer.module, call.input[i:i + 1],
                                   weight, bias)
                gradient = torch.autograd.grad(
                    out, own, grad[i:i + 1].to(out.dtype))
                for key, g in zip(('weight', 'bias'), gradient):
                    row[call.layer.index[key]] += g
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
        scalars = [torch.as_tensor(loss) for loss in losses]
        if any(s.numel() != 1 for s in scalars):
            raise ValueError('each image needs one scalar loss, got shapes '
                             f'{[tuple(s.shape) for s in scalars]}.')
        losses = torch.stack([s.reshape(()) for s in scalars]) \
            if scalars else torch.zeros(0)
    if losses.dim() != 1:
        raise ValueError('losses must have shape [B], one per image, got '
                         f'{tuple(losses.shape)}.')
    return losses


def call_gradients(
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
    fallback = {id(la) for la in recorder.layers if not la.affine}
    fallback |= used_around_calls(losses, recorder, calls)
    grads = backward_to(losses.sum(), calls)
    calls = [c for c in calls if grads[c] is not None]
    fallback |= {
        id(c.layer)
        for c in calls if not c.batched or c.output.size(0) != len(losses)
    }

    # The check costs a backward pass, so a layer that has passed is believed
    # from then on. But one that was called on regions of images passes where
    # each image happens to have one, so who ever failed is checked each time.
    if check and len(losses) > 1:
        recorder.suspect |= fallback
        recorder.proven -= recorder.suspect
        fit = [c for c in calls if id(c.layer) not in fallback]
        unproven = [c for c in fit if id(c.layer) not in recorder.proven]
        fallback |= _not_split_by_image(losses, unproven, grads)
        recorder.proven |= {id(c.layer) for c in fit} - fallback

    # The gradient of a parameter is the sum over the layers that share it, and
    # autograd gives no part of it: one that falls back takes the others along.
    while True:
        shared = {i for la in recorder.layers if id(la) in fallback
                  for i in la.index.values()}
        sharers = {id(la) for la in recorder.layers
                   if shared & set(la.index.values())}
        if sharers <= fallback:
            break
        fallback |= sharers

    pairs = [(c, grads[c]) for c in calls if id(c.layer) not in fallback]
    for call, _ in pairs:
        call.check()
    return pairs, [la for la in recorder.layers if id(la) in fallback]


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
    from its output to its input. A graph in which all parameters are reached
    by calls alone is remembered by :func:`graph_mark`, and one that looks the
    same is not walked again. Once a parameter was reached around a call,
    every graph is walked: a model may use another one each time.
    """
    mark = graph_mark(losses, recorder, calls)
    if mark is not None and mark in recorder.clean_graphs:
        return set()
    # What is reached by a call has its share computed from the call. A weight
    # that is used directly as well (tied to an embedding, say) has a share
    # that no recorded call knows of.
    sources = {c.output.grad_fn: c.source for c in calls}
    stack, seen, reached = [losses.grad_fn], {None}, set()
    while stack:
        node = stack.pop()
        if isinstance(node, Tensor):
            reached.add(id(node))
            continue
        if node in seen:
            continue
        seen.add(node)
        if node in sources:
            stack.append(sources[node])
            continue
        following = node.next_functions
        if following:
            stack += [n for n, _ in following]
        elif hasattr(node, 'variable'):
            reached.add(id(node.variable))
    around = {
        id(la)
        for la in recorder.layers
        if any(id(recorder.params[p]) in reached for p in la.index.values())
    }
    if around:
        recorder.always_walk = True
        recorder.clean_graphs.clear()
    elif mark is not None and not recorder.always_walk:
        recorder.clean_graphs.add(mark)
    return around


def graph_mark(losses: Tensor, recorder: LayerRecorder,
               calls: Sequence[Call]) -> Optional[Tuple]:
    """What tells the graph of one batch from that of another, at little cost.

    A branch that the shapes or contents of a batch open or close makes other
    calls, or another number of nodes between a call and the losses (autograd
    numbers the nodes of a thread as it makes them). Where as many nodes take
    another tensor, they save it for the backward pass: so the mark counts the
    references to each parameter as well. Not seen is a parameter that takes
    the place of another tensor in a sum, which saves neither.

    Args:
        losses (Tensor): ``[B]``, before the backward pass.
        recorder (LayerRecorder): Has the parameters.
        calls (Sequence[Call]): The calls of the batch.

    Returns:
        tuple | None: None where the nodes have no numbers.
    """
    try:
        end = losses.grad_fn._sequence_nr()
        return (
            losses.grad_fn.name(), tuple(losses.shape),
            tuple(p._use_count() for p in recorder.params),
            *((id(c.layer), c.input.shape, c.output.dtype, c.source is None,
               end - c.output.grad_fn._sequence_nr()) for c in calls))
    except AttributeError:  # nodes in Python
        return None


def _not_split_by_image(losses: Tensor, calls: Sequence[Call],
                        grads: Dict[Call, Tensor]) -> Set[int]:
    """Layers with a row that depends on the loss of another image.

    If row i belongs to image i alone, weighting the losses weights the rows.
    """
    if not calls:
        return set()
    # Weights unlike each other, and away from zero: with equal ones a row
    # of another image would look right, with zero its error would be lost.
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(len(losses), generator=generator) + 0.5
    weights = weights.to(losses, non_blocking=True)
    mixed = backward_to((losses * weights).sum(), calls)
    wrong = []
    for call in calls:
        grad = grads[call]
        rows = weights.to(grad.dtype).view(-1, *[1] * (grad.dim() - 1))
        error = (mixed[call] - rows * grad).abs().max()
        wrong.append(error > 1e-2 * grad.abs().max())
    # read at once: a GPU is waited for, whatever the number of calls
    return {id(call.layer)
            for call, is_wrong in zip(calls, torch.stack(wrong).tolist())
            if is_wrong}


def _gradients(loss: Tensor, params: Sequence[Tensor]) -> ParamVector:
    grads = [None] * len(params)
    if loss.requires_grad:
        grads = torch.autograd.grad(
            loss, params, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(p, requires_grad=False) if g is None else g
        for g, p in zip(grads, params)
    ]


def gradients_by_image(
        losses: Tensor, recorder: LayerRecorder,
        layers: Sequence[Layer]) -> Iterator[Tuple[int, Dict[int, Tensor]]]:
    """Gradients by the parameters of layers, a backward pass for each image.

    Args:
        losses (Tensor): ``[B]``.
        recorder (LayerRecorder): Has the parameters, which must be unfrozen.
        layers (Sequence[Layer]): Some of its layers.

    Yields:
        tuple: The image's position, and its gradient by param index; nothing
        where there is no layer.
    """
    indices = sorted({i for la in layers for i in la.index.values()})
    if not indices:
        return
    params = [recorder.params[i] for i in indices]
    for image, loss in enumerate(losses):
        yield image, dict(zip(indices, _gradients(loss, params)))
