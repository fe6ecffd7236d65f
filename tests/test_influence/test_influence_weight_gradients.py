"""Gradients of each image by a convolution against autograd, one by one."""
import pytest
import torch
from torch import nn

from mmal.influence.weight_gradients import image_weight_gradients

CONVS = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=(3, 2), padding=(2, 0), stride=(2, 1), dilation=(1, 2)),
    dict(kernel_size=3, padding='same', groups=2),
    dict(kernel_size=3, padding=2, padding_mode='reflect', groups=2),
    dict(kernel_size=2, stride=3),
]


@pytest.mark.parametrize('options', CONVS)
@pytest.mark.parametrize('batch', [1, 3])
def test_equals_autograd(options, batch):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **options).double()
    x = torch.randn(batch, 4, 7, 9, dtype=torch.float64)
    grad = torch.randn_like(conv(x))
    found = image_weight_gradients(conv, x, grad)
    for i in range(batch):
        one = torch.autograd.grad((conv(x[i:i + 1]) * grad[i:i + 1]).sum(),
                                  list(conv.parameters()))
        truth = torch.cat([g.reshape(6, -1) for g in one], 1)
        torch.testing.assert_close(found[i], truth)
