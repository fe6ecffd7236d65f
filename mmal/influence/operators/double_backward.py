"""Refusing losses that cannot be differentiated twice."""
from torch import Tensor


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
        function = getattr(node, '_forward_cls', None)
        if function is not None and _is_once(function.backward):
            raise RuntimeError(
                second_derivative_help(f'{function.__name__} is marked as '
                                       'differentiable once only.'))
        stack.extend(n for n, _ in node.next_functions)


def _is_once(backward) -> bool:
    scope = getattr(backward, '__globals__', {})
    return hasattr(backward, '__wrapped__') and scope.get(
        '__name__') == 'torch.autograd.function'


def second_derivative_help(error: object) -> str:
    """What to tell a user whose loss cannot be differentiated twice."""
    return (f'the second derivative of the loss failed: {error} '
            'Losses from compiled operators (such as the sigmoid focal loss '
            'of mmcv) have none; use their Python versions, or '
            "solver=dict(type='mmal.Identity'), which needs no curvature.")
