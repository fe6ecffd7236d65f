import numpy as np
import pytest
import torch
from helpers.tiny import tiny_fcos
from mmdet.structures import DetDataSample

from mmal.scoring import noisy_pipeline
from mmal.scoring.batch import Batch
from mmal.scoring.detections.noise import GaussianNoise, noisy_batch


def noisy(value=128, image_id=7, size=(200, 300, 3), **kwargs):
    image = np.full(size, value, np.uint8)
    return GaussianNoise(**kwargs).transform(
        dict(img=image, img_id=image_id))['img']


def test_noise_has_the_variance_of_an_image_in_0_to_1():
    image = noisy(variance=0.01)
    assert image.dtype == np.uint8
    scaled = image / 255
    assert scaled.mean() == pytest.approx(128 / 255, abs=1e-3)
    assert scaled.var() == pytest.approx(0.01, rel=0.02)
    channels = scaled.reshape(-1, 3)
    assert abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.02


def test_noise_is_clipped_not_wrapped():
    """Half of the noise on black is clipped away."""
    black = noisy(0, variance=0.01)
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert black.max() < 150


def test_noise_belongs_to_image_and_seed():
    assert (noisy() == noisy()).all()
    others = [noisy(image_id=8), noisy(image_id='7'), noisy(seed=1)]
    assert all((noisy() != other).any() for other in others)


@pytest.mark.parametrize('variance', [0, -1.0, float('nan'), float('inf')])
def test_variance_must_be_positive(variance):
    with pytest.raises(ValueError, match='variance of the noise'):
        GaussianNoise(variance)


def test_noise_comes_right_after_loading():
    pipeline = [dict(type='mmdet.LoadImageFromFile'), dict(type='Resize')]
    found = noisy_pipeline(pipeline, 0.02, seed=3)
    assert found == [
        pipeline[0],
        dict(type='mmal.GaussianNoise', variance=0.02, seed=3), pipeline[1]
    ]
    assert len(pipeline) == 2
    with pytest.raises(ValueError, match='no LoadImageFromFile'):
        noisy_pipeline(pipeline[1:], 0.01)


def images(value=0.0, size=(100, 120), ids=(1, 2)):
    samples = [DetDataSample(metainfo=dict(img_shape=(90, 110))) for _ in ids]
    return Batch(list(ids), torch.full((len(ids), 3, *size), value), samples)


def test_noise_of_a_batch_is_in_pixels(mmdet_scope):
    """tiny_fcos has mean 127 and standard deviation 64."""
    batch, model = images(), tiny_fcos()
    noisy = noisy_batch(batch, model, 16, 0, 1).inputs
    assert not batch.inputs.any()
    inside = noisy[..., :90, :110] * 64
    assert inside.mean().item() == pytest.approx(0, abs=0.3)
    assert inside.std().item() == pytest.approx(16, rel=0.02)
    inside.zero_()
    assert not noisy[..., 90:, :].any() and not noisy[..., 110:].any()


def test_noise_of_a_batch_is_clipped(mmdet_scope):
    model = tiny_fcos()
    for end, sign in ((-127 / 64, 1), (128 / 64, -1)):
        noisy = noisy_batch(images(end), model, 40, 0).inputs
        change = sign * (noisy - end)[..., :90, :110]
        assert change.min() > -1e-5
        assert (change > 1e-5).double().mean().item() == pytest.approx(
            0.5, abs=0.02)


def test_noise_of_a_batch_belongs_to_the_image(mmdet_scope):
    model = tiny_fcos()
    both = noisy_batch(images(), model, 8, 0, 1).inputs
    for i, image in enumerate((1, 2)):
        alone = noisy_batch(
            images(ids=[image], size=(90, 130)), model, 8, 0, 1).inputs[0]
        assert torch.equal(alone[..., :110], both[i, :, :90, :110])
    assert not torch.equal(both[0], both[1])
    other = noisy_batch(images(), model, 8, 0, 2).inputs
    assert not torch.equal(both, other)
