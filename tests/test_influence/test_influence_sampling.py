"""Some positions for all: unbiased, and exact where all are kept."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_influence_operators import (
    LAYERS,
    dense,
    detector,
    detector_losses,
    few_positives,
    images,
    record,
)
from torch import nn

from mmal.influence import GaussNewton
from mmal.influence.layers import input_patches
from mmal.influence.operators.gauss_newton import GaussNewtonBatch
from mmal.influence.operators.sampling import keep_some, squared_inputs
from mmal.random_tensors import TensorStreams

CASES = {
    'diagonal and blocks': lambda: record(
        detector(), images(), LAYERS, detector_losses),
    'few positives': lambda: record(
        detector(), images(), LAYERS, few_positives),
    'softmax': lambda: record(*softmax()),
}


def softmax():
    """Two groups of three classes at each of nine positions."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 1)).double().eval()
    x, targets = torch.randn(2, 2, 3, 3).double(), torch.randint(
        3, (2, 3, 3, 2))

    def losses_from(out):
        logits = out.unflatten(1, (2, 3)).permute(0, 3, 4, 1, 2)
        return nn.functional.cross_entropy(
            logits.flatten(0, 3), targets.flatten(),
            reduction='none').view(2, -1).sum(1)

    return model, x, '*', losses_from


@pytest.mark.parametrize('case', CASES)
def test_the_mean_over_draws_is_the_matrix(case):
    recorder, losses = CASES[case]()
    batch = GaussNewtonBatch(losses, recorder)
    exact = dense(GaussNewton([batch]), recorder)
    count, draws = 3, 400
    matrices = torch.stack([
        dense(GaussNewton([batch.sampled(
            count, range(batch.num_images), n)]), recorder)
        for n in range(draws)])
    error = matrices.std(0) / draws**0.5
    z = (matrices.mean(0) - exact)[error > 0] / error[error > 0]
    assert torch.allclose(matrices.mean(0)[error == 0], exact[error == 0])
    # where few draws see a position its error is not normal
    assert z.abs().mean() < 1.5 and z.mean().abs() < 0.5
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(trace.mean() / exact.trace() - 1) < \
        5 * trace.std() / draws**0.5 / exact.trace() + 1e-9


@pytest.mark.parametrize('case', CASES)
def test_all_positions_are_the_matrix(case):
    recorder, losses = CASES[case]()
    batch = GaussNewtonBatch(losses, recorder)
    all_of_them = batch.sampled(10**6, range(batch.num_images))
    assert torch.equal(dense(GaussNewton([all_of_them]), recorder),
                       dense(GaussNewton([batch]), recorder))


def test_a_sample_is_smaller_and_its_forms_agree():
    recorder, losses = CASES['diagonal and blocks']()
    batch = GaussNewtonBatch(losses, recorder)
    some = batch.sampled(4, range(batch.num_images))
    assert some.nbytes < batch.nbytes
    operator = GaussNewton([some])
    matrix = dense(operator, recorder)
    diagonal = torch.cat([d.flatten() for d in operator.diagonal()])
    assert torch.allclose(matrix.diagonal(), diagonal)
    v = [torch.randn_like(p) for p in recorder.params]
    for block in operator.channel_blocks(v, 1 << 30, lambda *_: None):
        rows = block.gather(v)
        expected = (block.matrix @ rows[..., None])[..., 0]
        product = operator.product(v)
        assert torch.allclose(block.gather(product), expected)


def test_what_an_image_keeps_is_its_own():
    """In another batch it keeps the same positions."""
    x = images(4)
    model = detector()

    def kept(part, ids, losses_from=detector_losses):
        recorder, losses = record(model, part, LAYERS, losses_from)
        batch = GaussNewtonBatch(losses, recorder).sampled(3, ids, 1)
        term = batch.terms[-1]
        positions = term.positions // len(ids)
        return {(term.layer.name, ids[r // positions], int(r % positions))
                for r in term.curvature.rows}

    together = kept(x, [0, 1, 2, 3])
    assert together == kept(x[:1], [0]) | kept(x[1:], [1, 2, 3])
    # also where the other layers have no curvature
    assert kept(x[:1], [0]) == kept(
        x[:1], [0], lambda out: detector_losses(
            [[y.detach() for y in level] if n < len(out) - 1 else level
             for n, level in enumerate(out)]))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.lists(st.integers(1, 30), min_size=1, max_size=3),
       st.integers(1, 20), st.floats(0, 1), st.integers(0, 10**6))
def test_weights(batch, sizes, count, empty, seed):
    generator = torch.Generator().manual_seed(seed)
    masses = [torch.rand(batch, n, generator=generator) *
              (torch.rand(batch, n, generator=generator) >= empty)
              for n in sizes]
    weights = keep_some(masses, count, TensorStreams(range(batch), seed))
    for m, w in zip(masses, weights):
        assert w.shape == m.shape and w.isfinite().all()
        assert not w[m == 0].any() and (w[w > 0] >= 1).all()
    every, weight = torch.cat(masses, 1), torch.cat(weights, 1)
    few = (every > 0).sum(1) <= count
    assert torch.equal(weight[few], (every[few] > 0).double())
    # the same weight as the definition's, where kept
    expected = (every.double().sum(1, keepdim=True) /
                (count * every.double())).clamp(min=1)
    rows = weight[~few] > 0
    assert torch.allclose(weight[~few][rows], expected[~few][rows])


def test_as_many_as_wanted_on_average():
    masses = [torch.rand(200, 500)]
    weights = keep_some(masses, 50, TensorStreams(range(200), 0))[0]
    number = (weights > 0).sum(1).double()
    assert abs(number.mean() - 50) < 5 * (50 / 200)**0.5
    total = (weights * masses[0]).sum(1)
    assert torch.allclose(total / masses[0].sum(1).double(), number / 50)


@pytest.mark.parametrize('module', [
    nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, (1, 3), stride=2),
    nn.Conv2d(3, 2, 3, padding=2, dilation=2, padding_mode='reflect'),
    nn.Linear(7, 2)])
def test_squared_inputs(module):
    x = torch.randn(2, 3, 8, 7)
    with torch.no_grad():
        out = module(x)
    positions = out.numel() // 2
    patches = input_patches(module, x, torch.arange(positions))
    assert torch.allclose(squared_inputs(module, x),
                          patches.square().sum(1), rtol=1e-5)
    assert squared_inputs(nn.Conv2d(4, 4, 3, groups=2),
                          torch.randn(1, 4, 5, 5)) is None
