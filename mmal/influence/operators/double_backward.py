"""Second derivatives of losses, and refusing losses that have none."""
from typing import List, Optional, Sequence

import torch
from torch import Tensor


def second_derivative_product(grads: Sequence[Optional[Tensor]],
                              inputs: Sequence[Tensor],
                              vectors: Sequence[Tensor]) -> List[Tensor]:
    """Second derivatives times a vector, by a backward pass through gradients.

    Args:
        grads (Sequence[Tensor | None]): Gradients of a sum of losses by the
            inputs, with the graph that led to them; None where the losses
            do not depend on an input.
        inputs (Sequence[Tensor]): What the losses depend on.
        vectors (Sequence[Tensor]): Tensors shaped like the inputs.

    Returns:
        list[Tensor]: Shaped like the inputs; zero where nothing is curved.

    Raises:
        RuntimeError: An operation of the losses has no second derivative.
    """
    # The gradient of a loss linear in an input is a constant without a graph,
    # which autograd refuses instead of calling its derivative zero.
    curved = [(g, v) for g, v in zip(grads, vectors)
              if g is not None and g.requires_grad]
    if not curved:
        return [torch.zeros_like(v) for v in vectors]
    try:
        products = torch.autograd.grad([g for g, _ in curved],
                                       inputs, [v.to(g) for g, v in curved],
                                       retain_graph=True,
                                       allow_unused=True)
    except RuntimeError as error:
        raise RuntimeError(second_derivative_help(error)) from error
    return [
        torch.zeros_like(v) if p is None else p.to(v)
        for p, v in zip(products, vectors)
    ]


def check_twice_differentiable(losses: Tensor) -> None:
    """Look for once-differentiable functions in the graph of the losses.

    Autograd raises nothing for them where the gradient that arrives is a
    constant, as it is for a loss: their curvature would silently be zero.

    Raises:
        RuntimeError: There is one. The message names it.
    """
    stack, seen = [losses.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Torch keeps no mark of once_differentiable but the wrapper itself,
        # a function of its module around the author's backward.
        function = getattr(node, '_forward_cls', None)
        backward = getattr(function, 'backward', None)
        scope = getattr(backward, '__globals__', {})
        if hasattr(backward, '__wrapped__') and scope.get(
                '__name__') == 'torch.autograd.function':
            raise RuntimeError(
                second_derivative_help(f'{function.__name__} is marked as '
                                       'differentiable once only.'))
        stack.extend(n for n, _ in node.next_functions)


def second_derivative_help(error: object) -> str:
    """What to tell a user whose loss cannot be differentiated twice."""
    return (f'the second derivative of the loss failed: {error} '
            'Losses from compiled operators (such as the sigmoid focal loss '
            'of mmcv) have none; use their Python versions, or '
            "solver=dict(type='mmal.Identity'), which needs no curvature.")
