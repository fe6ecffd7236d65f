"""Detections that tell the same as others of their image."""
import torch
from torch import Tensor

from .precision import at_least_float32


def entropy_suppression(entropies: Tensor, labels: Tensor, features: Tensor,
                        keep: Tensor, threshold: float = 0.5) -> Tensor:
    """Entropy-based NMS: which detections are left where those like a more
    uncertain one are dropped.

    Wu et al., "Entropy-based Active Learning for Object Detection with
    Progressive Diversity Constraint", CVPR 2022: again and again the
    detection with the highest entropy is kept, and those of its class are
    dropped whose features have a cosine above ``threshold`` with its own.

    Args:
        entropies (Tensor): [B, n].
        labels (Tensor): int64 [B, n].
        features (Tensor): [B, n, D].
        keep (Tensor): bool [B, n], which detections count.
        threshold (float): In [-1, 1].

    Returns:
        Tensor: bool [B, n]; of equal entropies the first one is kept. Costs
        O(B·n²·D).

    Example:
        >>> entropy_suppression(
        ...     torch.tensor([[.1, .6, .3]]), torch.tensor([[0, 0, 1]]),
        ...     torch.ones(1, 3, 2), torch.ones(1, 3) > 0)
        tensor([[False,  True,  True]])
    """
    order = torch.where(keep, entropies, -torch.inf).sort(
        dim=1, descending=True, stable=True).indices
    labels, alive = labels.gather(1, order), keep.gather(1, order)
    unit = torch.nn.functional.normalize(
        at_least_float32(features), dim=-1).gather(
            1, order[..., None].expand_as(features))
    alike = (unit @ unit.mT > threshold) & (
        labels[:, None] == labels[..., None])
    alike = alike.triu(1)  # a detection drops those after it alone
    # Each depends on those before it: one step a detection, for all images.
    for n in range(alive.size(1)):
        alive = alive & ~(alive[:, n, None] & alike[:, n])
    return torch.zeros_like(keep).scatter(1, order, alive)
