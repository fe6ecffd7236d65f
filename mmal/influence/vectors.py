"""Vectors in the space of the chosen parameters.

A *parameter vector* is a list of tensors, one per chosen parameter, with the
parameters' shapes and in the order of ``LayerRecorder.params``; a *param
index* counts in it. Solvers flatten it, everything else keeps the list,
because a layer needs its pieces.
"""
from typing import List, Sequence, Tuple, Union

import torch
from torch import Tensor

ParamVector = List[Tensor]
ParamVectors = Union[ParamVector, Sequence[ParamVector]]


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of two parameter vectors, a scalar tensor.

    Example:
        >>> float(dot([torch.ones(2)], [torch.full((2, ), 3.)]))
        6.0
    """
    _check_same_length(a, b)
    return sum((x * y).sum() for x, y in zip(a, b))


def axpy(alpha: float, x: Sequence[Tensor],
         y: Sequence[Tensor]) -> ParamVector:
    """``alpha * x + y`` as a new parameter vector."""
    _check_same_length(x, y)
    return [alpha * p + q for p, q in zip(x, y)]


def flatten(vector: Sequence[Tensor]) -> Tensor:
    """All entries in one tensor of shape ``[P]``; an empty list gives [0]."""
    if not vector:
        return torch.zeros(0)
    return torch.cat([t.reshape(-1) for t in vector])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> ParamVector:
    """The inverse of :func:`flatten`, with the shapes of ``like``.

    Raises:
        ValueError: ``flat`` has not as many entries as ``like``.
    """
    sizes = [t.numel() for t in like]
    if flat.dim() != 1 or flat.numel() != sum(sizes):
        raise ValueError(
            f'a flat vector of shape {tuple(flat.shape)} does not fit '
            f'parameters with {sum(sizes)} entries in all.')
    return [p.view_as(t) for p, t in zip(flat.split(sizes), like)]


def as_vectors(vectors: ParamVectors) -> Tuple[List[ParamVector], bool]:
    """``(list of vectors, whether it was a single one)``.

    Raises:
        ValueError: No vector at all.
    """
    if len(vectors) == 0:
        raise ValueError('no parameter vector given: expected a list of '
                         'tensors, or a list of such lists.')
    if isinstance(vectors[0], Tensor):
        return [list(vectors)], True
    return [list(v) for v in vectors], False


def check_shapes(vector: Sequence[Tensor], like: Sequence[Tensor]) -> None:
    """Raise ValueError unless ``vector`` has the shapes of ``like``."""
    got = [tuple(t.shape) for t in vector]
    want = [tuple(t.shape) for t in like]
    if got != want:
        raise ValueError(f'a parameter vector has shapes {got}, but the '
                         f'chosen layers have parameters of shapes {want}.')


def _check_same_length(a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
    if len(a) != len(b):
        raise ValueError(f'parameter vectors of {len(a)} and {len(b)} '
                         'tensors belong to different layers.')
