"""Multi-scale deformable attention, forward and backward.

Deformable DETR and DINO call mmcv's compiled operator on every GPU.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def ms_deform_attn_forward(value: Tensor, spatial_shapes: Tensor,
                           level_start_index: Tensor,
                           sampling_locations: Tensor,
                           attention_weights: Tensor,
                           im2col_step: int) -> Tensor:
    """Zhu et al., "Deformable DETR", ICLR 2021, equation 3, without its
    projections; computed in float32 or better.

    Each head of a query sums four pixels a point: an embedding bag of the
    rows of ``value``. So nothing waits for a GPU to tell the shapes of the
    levels.

    Args:
        value (Tensor): [B, S, M, D], S pixels of all L levels, M heads.
        spatial_shapes (Tensor): [L, 2], height and width of each level.
        level_start_index (Tensor): [L], the first pixel of each level.
        sampling_locations (Tensor): [B, Q, M, L, P, 2], x and y of P points;
            (0, 0) and (1, 1) are the outer corners of a level.
        attention_weights (Tensor): [B, Q, M, L, P].
        im2col_step (int): Not used.

    Returns:
        Tensor: [B, Q, M * D].
    """
    B, S, M, D = value.shape
    Q = sampling_locations.shape[1]
    sizes = spatial_shapes.flip(1)[:, None, None]  # [L, 1, 1, 2], of x and y
    points = _widened(sampling_locations)[..., None, :] * sizes - .5
    low = points.floor()
    # The two pixels along each axis, [B, Q, M, L, P, 2, 2], x and y last.
    pixels = torch.cat([low, low + 1], -2).long()
    shares = torch.cat([low + 1 - points, points - low], -2)
    shares = shares.masked_fill((pixels < 0) | (pixels >= sizes), 0)
    pixels = torch.minimum(pixels.clamp(min=0), sizes - 1)

    # The four pixels of a point, [B, Q, M, L, P, 2, 2], y before x.
    x, y = pixels[..., None, :, 0], pixels[..., :, None, 1]
    weights = shares[..., None, :, 0] * shares[..., :, None, 1] * \
        _widened(attention_weights)[..., None, None]
    pixels = level_start_index[:, None, None, None] + \
        y * sizes[..., :1] + x
    images, heads = (torch.arange(n, device=value.device) for n in (B, M))
    rows = (images.view(-1, 1, 1, 1, 1, 1, 1) * S + pixels) * M + \
        heads.view(-1, 1, 1, 1, 1)
    out = F.embedding_bag(
        rows.view(B * Q * M, -1), _widened(value).reshape(-1, D), mode='sum',
        per_sample_weights=weights.view(B * Q * M, -1))
    return out.view(B, Q, M * D).to(value.dtype)


def ms_deform_attn_backward(value: Tensor, spatial_shapes: Tensor,
                            level_start_index: Tensor,
                            sampling_locations: Tensor,
                            attention_weights: Tensor, grad_output: Tensor,
                            grad_value: Tensor, grad_sampling_loc: Tensor,
                            grad_attn_weight: Tensor,
                            im2col_step: int) -> None:
    """Its derivative; fills the last three tensors in place.

    Args:
        grad_output (Tensor): [B, Q, M * D].
        grad_value, grad_sampling_loc, grad_attn_weight (Tensor): Of the
            shapes of what they are derivatives by.

    See :func:`ms_deform_attn_forward` for the others.
    """
    inputs = [t.detach().requires_grad_()
              for t in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], spatial_shapes, level_start_index, inputs[1],
            inputs[2], im2col_step)
    grads = torch.autograd.grad(output, inputs, grad_output)
    for target, grad in zip((grad_value, grad_sampling_loc,
                             grad_attn_weight), grads):
        target.copy_(grad)


def _widened(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
