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


@pytest.mark.parametrize('wanted, layers', [(1, 1), (3, 3), (4, 4), (6, 4)])
def test_the_last_convolutions_alone_are_dropped(wanted, layers):
    neck = DropoutSSDNeck(**ARGS, dropout=0.5, dropout_layers=wanted)
    names = [name for layer in neck.extra_layers
             for name, _ in layer.named_children()]
    dropped = [name.startswith('dropout') for name in names]
    convs = len(names) - sum(dropped)
    assert convs == 4 and sum(dropped) == layers
    # all in front of the first are convolutions, then they take turns
    assert dropped == [False] * (4 - layers) + [False, True] * layers
    neck.load_state_dict(SSDNeck(**ARGS).state_dict())


def test_a_wrong_number_of_layers():
    with pytest.raises(ValueError, match='dropout_layers is 0: give at least'):
        DropoutSSDNeck(**ARGS, dropout_layers=0)
