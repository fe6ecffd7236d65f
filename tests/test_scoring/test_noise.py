import numpy as np
import pytest

from mmal.scoring import noisy_pipeline
from mmal.scoring.noise import GaussianNoise


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
