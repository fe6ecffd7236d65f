import pytest
import torch

from mmal.models.layers import DistanceOutput, SigmoidOutput


def maps(output, plain, batch=2, size=3, seed=0):
    """Random maps of the plain layer and of each other."""
    generator = torch.Generator().manual_seed(seed)

    def one(channels):
        return torch.randn(batch, channels, size, size, generator=generator)

    return one(plain), {name: one(n) for name, n in output.extras.items()}


@pytest.mark.parametrize('k', [2, 3])
def test_classes_are_the_plain_logits_and_differences(k):
    output = SigmoidOutput(3, k)
    plain, extras = maps(output, 3)
    raw = output.pack(plain, extras)
    assert raw.shape[1] == output.channels == 3 * k + k
    mixture = output.mixture(raw.permute(0, 2, 3, 1))
    for j in range(k):
        for c in range(3):
            expected = plain[:, c] + extras['conv_cls_deltas'][:, c * k + j]
            assert torch.equal(mixture.logits[..., j, c], expected)
    weights = extras['conv_cls_weights'].softmax(1).permute(0, 2, 3, 1)
    assert torch.allclose(mixture.weights, weights)


@pytest.mark.parametrize('k', [2, 3])
def test_distances_are_the_plain_ones_and_differences(k):
    output = DistanceOutput(k)
    plain, extras = maps(output, 4)
    raw = output.pack(plain, extras)
    assert raw.shape[1] == output.channels == 12 * k
    mixture = output.mixture(raw.permute(0, 2, 3, 1))
    for j in range(k):
        for s in range(4):
            channel = s * k + j
            assert torch.equal(
                mixture.means[..., j, s],
                plain[:, s] + extras['conv_reg_deltas'][:, channel])
            raw_variance = extras['conv_reg_variances'][:, channel]
            assert torch.allclose(mixture.variances[..., j, s],
                                  (1 + raw_variance.exp()).log() + 1e-4)
            own = extras['conv_reg_weights'][:, s * k:(s + 1) * k]
            assert torch.allclose(mixture.weights[..., j, s],
                                  own.softmax(1)[:, j])
    assert torch.allclose(
        output.mean(raw.permute(0, 2, 3, 1)), mixture.mean, atol=1e-6)


@pytest.mark.parametrize('k', [0, 1])
def test_one_component_has_no_layers_for_differences_and_weights(k):
    classes, boxes = SigmoidOutput(3, k), DistanceOutput(k)
    assert classes.extras == {} and classes.channels == 3
    assert list(boxes.extras) == ['conv_reg_variances'] * k
    plain, extras = maps(boxes, 4)
    raw = boxes.pack(plain, extras).permute(0, 2, 3, 1)
    assert raw.shape[-1] == boxes.channels == 4 + 4 * k
    assert torch.equal(boxes.mean(raw), plain.permute(0, 2, 3, 1))
    if k:
        mixture = boxes.mixture(raw)
        assert torch.equal(mixture.weights, torch.ones_like(mixture.weights))
    logits = torch.randn(5, 3)
    assert torch.equal(classes.mixture(logits).logit, logits)


@pytest.mark.parametrize('variance, low, high', [
    ('softplus', 1e-4, 60000.0001), ('sigmoid', 1e-7, 1.0)])
def test_variances_are_positive(variance, low, high):
    output = DistanceOutput(1, variance)
    raw = torch.zeros(3, 8)
    raw[:, 4:] = torch.tensor([-6e4, 0.0, 6e4])[:, None]
    found = output.mixture(raw.half()).variances[:, 0, 0]
    assert found.min() == pytest.approx(low, rel=1e-3)
    assert found.max() == pytest.approx(high, rel=1e-3)
    assert (found.diff() > 0).all()


def test_bad_settings():
    with pytest.raises(ValueError, match="variance is 'exp'.*softplus"):
        DistanceOutput(2, 'exp')
    with pytest.raises(ValueError, match='box_components is -1'):
        DistanceOutput(-1)
    with pytest.raises(ValueError, match='cls_components is 1.5'):
        SigmoidOutput(3, 1.5)
