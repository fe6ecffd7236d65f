"""A feature pyramid with dropout."""
import pytest
import torch
from mmdet.models.necks import FPN

from mmal.models import DropoutFPN

ARGS = dict(in_channels=[8, 16], out_channels=8, num_outs=3,
            add_extra_convs='on_input')


def maps(neck):
    generator = torch.Generator().manual_seed(0)
    return neck([
        torch.randn(2, c, n, n, generator=generator)
        for c, n in ((8, 8), (16, 4))
    ])


def test_it_is_fpn_without_dropout():
    plain, dropped = FPN(**ARGS), DropoutFPN(**ARGS).eval()
    dropped.load_state_dict(plain.state_dict())
    for a, b in zip(maps(plain), maps(dropped)):
        assert torch.equal(a, b)


def test_every_map_is_dropped_and_rescaled():
    neck = DropoutFPN(**ARGS, dropout=0.25).eval()
    whole = maps(neck)
    torch.manual_seed(0)
    neck.train()
    for a, b in zip(whole, maps(neck)):
        kept = b != 0
        torch.testing.assert_close(b[kept], a[kept] / 0.75)
        assert 0 < (~kept).float().mean() < 0.6


def test_bad_probability():
    with pytest.raises(ValueError, match='neck.dropout is -0.1'):
        DropoutFPN(**ARGS, dropout=-0.1)
