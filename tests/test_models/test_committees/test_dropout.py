"""Passes with dropout: the masks, what is computed once, mistakes."""
import hypothesis.strategies as st
import pytest
import torch
from helpers.tiny import tiny_fcos
from hypothesis import given, settings
from torch import nn

from mmal.models.committees import DropoutCommittee
from mmal.models.committees.dropout import DropoutMasks
from mmal.random_tensors import TensorStreams
from mmal.recorder import is_hooked
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch

IDS = [7, 'cat', 40, 3, 12]


def with_dropout(p=0.3, backbone=False):
    """A detector that drops elements in its neck, channels in its head."""
    model = tiny_fcos()
    append(model.neck.fpn_convs, nn.Dropout(p, inplace=True))
    append(model.bbox_head.cls_convs, nn.Dropout2d(p))
    if backbone:
        append(model.backbone.layer1, nn.Dropout(p))
    return model.eval()


def append(layers, dropout):
    layers[0] = nn.Sequential(layers[0], dropout)


def batch(indices=range(5)):
    g = torch.Generator().manual_seed(1)
    inputs = torch.randn(len(IDS), 3, 64, 80, generator=g)
    return Batch([IDS[i] for i in indices], inputs[list(indices)])


@torch.no_grad()
def opinions(model, images, passes=4, **prepare):
    """[T, B, …]: all head outputs of each pass, flattened."""
    committee = DropoutCommittee(passes)
    committee.prepare(model, **prepare)
    return torch.stack([
        torch.cat([x.flatten(1) for level in outputs for x in level], 1)
        for outputs in committee.outputs(model, images)
    ])


@pytest.mark.parametrize('backbone', [False, True])
def test_batch_size_and_order_change_nothing(backbone):
    model = with_dropout(backbone=backbone)
    whole = opinions(model, batch())
    for part in ((0, 1, 2), (4, ), (3, 1)):
        alone = opinions(model, batch(part))
        torch.testing.assert_close(
            alone, whole[:, list(part)], atol=1e-4, rtol=1e-4)


def test_passes_images_rounds_and_seeds_differ():
    model = with_dropout()
    same_pixels = batch((0, 0))
    same_pixels.ids = IDS[:2]
    first = opinions(model, same_pixels)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[:, 0], first[:, 1])
    torch.testing.assert_close(first, opinions(model, same_pixels),
                               atol=0, rtol=0)
    for key in (dict(seed=1), dict(round=1)):
        assert not torch.equal(first, opinions(model, same_pixels, **key))


def test_more_passes_begin_with_the_same():
    model = with_dropout()
    few, many = opinions(model, batch(), 2), opinions(model, batch(), 4)
    torch.testing.assert_close(many[:2], few, atol=0, rtol=0)


def test_the_model_is_left_as_it_was():
    model = with_dropout()
    before = model.bbox_head(model.extract_feat(batch().inputs))
    list(DropoutCommittee(3).outputs(model, batch()))
    after = model.bbox_head(model.extract_feat(batch().inputs))
    for a, b in zip(before, after):
        for x, y in zip(a, b):
            torch.testing.assert_close(x, y, atol=0, rtol=0)
    assert not any(m.training for m in model.modules())


@pytest.mark.parametrize('backbone, calls', [(False, 1), (True, 6)])
def test_what_comes_before_the_first_dropout_is_computed_once(
        backbone, calls):
    model, seen = with_dropout(backbone=backbone), []
    model.backbone.register_forward_hook(lambda *_: seen.append(1))
    opinions(model, batch(), passes=6)
    assert len(seen) == calls


def test_a_detector_of_another_way_is_run_as_a_whole():
    class Other(type(tiny_fcos())):

        def extract_feat(self, inputs):
            return super().extract_feat(inputs.flip(-1))

    plain = with_dropout()
    other = with_dropout()
    other.__class__ = Other
    flipped = batch()
    flipped.inputs = flipped.inputs.flip(-1)
    torch.testing.assert_close(
        opinions(other, flipped), opinions(plain, batch()))


# --- masks ---


def masks(number, ids):
    return DropoutMasks(TensorStreams(ids, 0, 0, 'dropout', number))


def test_the_mean_over_passes_is_the_input():
    """The standard error of a mean of T is sqrt(p / (1 - p) / T)."""
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) + 0.5
    layer, passes = nn.Dropout(0.3), 2000
    total = torch.zeros_like(x)
    for number in range(passes):
        total += masks(number, IDS[:2])(layer, x)
    error = (0.3 / 0.7 / passes)**0.5
    z = (total / passes / x - 1) / error
    assert z.abs().max() < 5
    assert abs(z.mean()) < 5 / z.numel()**0.5
    assert 0.8 < z.std() < 1.2


def test_units_are_dropped_independently():
    x = torch.ones(2, 1, 100, 100)
    a, b = (masks(n, IDS[:2])(nn.Dropout(0.5), x) > 0
            for n in range(2))
    for one, other in ((a, b), (a[0], a[1]), (a[..., 1:], a[..., :-1])):
        agree = (one == other).double().mean()
        assert abs(agree - 0.5) < 5 * 0.5 / one.numel()**0.5


def test_calls_of_one_layer_draw_anew():
    x, drawn = torch.ones(1, 1, 20, 20), masks(0, [1])
    layer = nn.Dropout(0.5)
    assert not torch.equal(drawn(layer, x), drawn(layer, x))


def test_channels_are_dropped_as_a_whole():
    x = torch.rand(3, 40, 5, 6) + 0.1
    y = masks(0, IDS[:3])(nn.Dropout2d(0.4), x)
    kept = (y != 0).flatten(2)
    assert (kept.all(-1) | ~kept.any(-1)).all()
    assert 0 < kept.all(-1).double().mean() < 1
    torch.testing.assert_close(y[y != 0], (x / 0.6)[y != 0])


def test_windows_of_an_image_count_as_its_rows():
    x = torch.ones(6, 4, 10)
    both = masks(0, [1, 2])(nn.Dropout(0.5), x)
    second = masks(0, [2])(nn.Dropout(0.5), x[3:])
    torch.testing.assert_close(both[3:], second)
    with pytest.raises(ValueError, match='begin with the batch'):
        masks(0, [1, 2])(nn.Dropout(0.5), x[:5])


@settings(deadline=None, max_examples=30)
@given(
    p=st.sampled_from([1e-6, 0.1, 0.5, 0.999, 1.0]),
    shape=st.sampled_from([(2, 3, 4, 5), (2, 7), (4, 3, 2), (2, 0, 3, 3)]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float64]),
    channels=st.booleans())
def test_values_are_zero_or_scaled(p, shape, dtype, channels):
    x = torch.ones(shape, dtype=dtype)
    layer = (nn.Dropout2d if channels else nn.Dropout)(p)
    y = masks(0, [1, 2])(layer, x)
    assert y.dtype == dtype and y.shape == x.shape and y.isfinite().all()
    scaled = (x / (1 - p)) if p < 1 else x * 0
    assert ((y == 0) | (y == scaled)).all()


# --- mistakes ---


@pytest.mark.parametrize('p', [None, 0.0])
def test_no_dropout_layer(p):
    model = tiny_fcos() if p is None else with_dropout(p)
    with pytest.raises(ValueError, match=r'mmal\.DropoutSSDNeck'):
        DropoutCommittee().check(model)
    DropoutCommittee().check(with_dropout(0.1))


def test_dropout_that_inference_never_runs():
    model = tiny_fcos().train()
    model.auxiliary = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    with pytest.raises(ValueError, match='only where inference never comes'):
        DropoutCommittee().check(model)
    assert model.training and model.backbone.training
    assert not any(map(is_hooked, model.modules()))
    append(model.bbox_head.cls_convs, nn.Dropout(0.1))
    DropoutCommittee().check(model)


@pytest.mark.parametrize('passes', [1, 0, 2.5, True])
def test_number_of_passes(passes):
    with pytest.raises(ValueError, match=r'committee\.passes is'):
        DropoutCommittee(passes)


def test_other_detectors():
    with pytest.raises(ValueError, match='not a single-stage detector'):
        DropoutCommittee().check(nn.Sequential(nn.Dropout()))


def test_registered():
    committee = TASK_UTILS.build(dict(type='mmal.DropoutCommittee', passes=9))
    assert committee.size == 9 and committee.trained_members == 0
