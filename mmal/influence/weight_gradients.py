"""Gradients by a convolution's parameters, of each image of a batch."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight


def image_weight_gradients(conv: nn.Conv2d, x: Tensor,
                           grad: Tensor) -> Tensor:
    """What each image adds to the gradient of weight and bias.

    One grouped convolution with a group for each image; nothing of size
    positions times parameters is formed.

    Args:
        conv (nn.Conv2d): The layer.
        x (Tensor): Its input, [B, C_in, H, W].
        grad (Tensor): Gradient of the loss by its output, [B, C_out, H', W'].
            A layer without groups takes any number of channels: sums of the
            outputs' gradients give the same sums of the weight's.

    Returns:
        Tensor: [B, C_out, K], with K = C_in / groups * kernel height * width,
        and one more for the bias if the layer has one; dtype of ``grad``.

    Example:
        >>> conv = nn.Conv2d(1, 1, 1)
        >>> x = torch.tensor([2., 3.]).view(2, 1, 1, 1)
        >>> image_weight_gradients(conv, x, torch.ones(2, 1, 1, 1)).tolist()
        [[[2.0, 1.0]], [[3.0, 1.0]]]
    """
    batch, out = grad.shape[:2]
    x = _padded(conv, x.to(grad.dtype))
    size = (batch * out, *conv.weight.shape[1:])
    weight = conv2d_weight(
        x.flatten(0, 1)[None], size, grad.flatten(0, 1)[None], conv.stride, 0,
        conv.dilation, batch * conv.groups).reshape(batch, out, -1)
    if conv.bias is None:
        return weight
    return torch.cat([weight, grad.sum((2, 3))[..., None]], -1)


def patch_squares(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Squared norm of what a convolution sees at each output position.

    Times the squared derivative by an output channel there, it is the squared
    norm of that output's gradient by the channel's weight and bias.

    Args:
        conv (nn.Conv2d): The layer, without groups.
        x (Tensor): Its input, [B, C_in, H, W].

    Returns:
        Tensor: [B, 1, H', W']; with a bias, whose input is 1, at least 1.

    Example:
        >>> conv = nn.Conv2d(2, 1, 1, bias=False)
        >>> patch_squares(conv, torch.tensor([3., 4.]).view(1, 2, 1, 1)).item()
        25.0
    """
    squares = _padded(conv, x).square().sum(1, keepdim=True)
    ones = x.new_ones(1, 1, *conv.kernel_size)
    bias = None if conv.bias is None else x.new_ones(1)
    return F.conv2d(squares, ones, bias, conv.stride, 0, conv.dilation)


def _padded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    mode = conv.padding_mode
    return F.pad(x, conv._reversed_padding_repeated_twice,
                 'constant' if mode == 'zeros' else mode)
