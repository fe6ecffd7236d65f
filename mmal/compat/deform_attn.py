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
    projections.

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
    B, _, M, D = value.shape
    Q = sampling_locations.shape[1]
    # heads go with the batch, as each has its own points
    grids = (2 * sampling_locations - 1).transpose(1, 2).flatten(0, 1)
    weights = attention_weights.transpose(1, 2).flatten(0, 1)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # [B * M, D, S]
    out = value.new_zeros(B * M, D, Q)
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        pixels, maps = maps.split(
            [height * width, maps.shape[-1] - height * width], -1)
        sampled = F.grid_sample(  # [B * M, D, Q, P]
            pixels.unflatten(-1, (height, width)), grids[:, :, level],
            align_corners=False)
        out = out + torch.einsum('bdqp,bqp->bdq', sampled,
                                 weights[:, :, level])
    return out.view(B, M * D, Q).transpose(1, 2).contiguous()


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
