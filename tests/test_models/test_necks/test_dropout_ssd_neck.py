"""SSD's extra layers with dropout."""
import pytest
import torch
from mmdet.models.necks import SSDNeck
from torch import nn

from mmal.models import DropoutSSDNeck

ARGS = dict(
    in_channels=(8, 16),
    out_channels=(8, 16, 16, 8),
    level_strides=(2, 1),
    level_paddings=(1, 1))


def maps(neck):
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(2, c, n, n, generator=generator)
        for c, n in ((8, 8), (16, 4))
    ]
    return neck(inputs)


def test_it_is_ssd_neck_without_dropout():
    plain, dropped = SSDNeck(**ARGS), DropoutSSDNeck(**ARGS).eval()
    dropped.load_state_dict(plain.state_dict())
    for a, b in zip(maps(plain), maps(dropped)):
        assert torch.equal(a, b)


def test_each_convolution_of_the_extra_layers_is_dropped():
    neck = DropoutSSDNeck(**ARGS, dropout=0.5)
    layers = [m for m in neck.modules() if isinstance(m, nn.Dropout)]
    assert len(layers) == 4
    torch.manual_seed(0)
    first, second = maps(neck), maps(neck)
    assert all(torch.equal(a, b) for a, b in zip(first[:2], second[:2]))
    assert not torch.equal(first[2], second[2])
    zeros = (neck.extra_layers[0][:2](torch.ones(1, 16, 40, 40)) == 0)
    assert zeros.float().mean() > 0.4


def test_bad_probability():
    with pytest.raises(ValueError, match='neck.dropout is 1.0'):
        DropoutSSDNeck(**ARGS, dropout=1.0)
