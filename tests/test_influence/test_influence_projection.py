"""Projected gradients against autograd, and what projecting does to them."""
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmal.influence import (
    BlockCholesky,
    ConjugateGradient,
    DefaultSolver,
    GaussNewton,
    GradientProjection,
    Identity,
    LayerRecorder,
    SolverError,
    product_variance,
)
from mmal.influence.solvers import block_cholesky
from mmal.influence.vectors import flatten, unflatten


class Pyramid(nn.Module):
    """One head on two levels, and layers of other kinds before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, padding_mode='reflect')
        self.norm = nn.GroupNorm(2, 6)
        self.grouped = nn.Conv2d(6, 4, 3, groups=2, padding=1)
        self.head = nn.Conv2d(4, 3, 3, padding=1)
        self.unbiased = nn.Conv2d(4, 2, 1, bias=False)
        self.line = nn.Conv1d(3, 2, 2)
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        x = self.grouped(self.norm(self.stem(x)).tanh())
        pooled = nn.functional.avg_pool2d(x, 2)
        a, b = self.head(x), self.head(pooled)
        return torch.stack([
            (a * a).sum((1, 2, 3)) + b.pow(3).sum((1, 2, 3)),
            self.unbiased(x).sin().sum((1, 2, 3)),
            self.line(a.flatten(2)).square().sum((1, 2)),
            self.linear(b[..., :5, 0].sum(1)[:, :1].expand(-1, 5)).exp().sum(
                1)]).sum(0)


class Tied(nn.Module):
    """Two layers share a weight, each with a bias of its own; two others
    share a bias."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.b.weight = self.a.weight
        self.c.bias = self.a.bias

    def forward(self, x):
        x = x.mean((2, 3)).repeat(1, 2)
        return (self.a(x) * self.b(x.sin()) + self.c(x).square()).sum(1)


def passed(model, names='*', bias=True, batch=3, seed=0):
    """Losses of a batch, their recorder, and gradients of autograd."""
    torch.manual_seed(seed)
    model = model().double().eval()
    recorder = LayerRecorder(model, names, bias)
    x = torch.randn(batch, 2, 6, 8, dtype=torch.float64)
    with recorder:
        losses = model(x)
    with recorder.unfrozen():
        rows = [torch.autograd.grad(model(x[i:i + 1])[0], recorder.params,
                                    allow_unused=True) for i in range(batch)]
    rows = [[torch.zeros_like(p) if g is None else g
             for g, p in zip(row, recorder.params)] for row in rows]
    return losses, recorder, rows


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('model', [Pyramid, Tied])
def test_without_projection_products_are_those_of_autograd(model, bias):
    losses, recorder, rows = passed(model, bias=bias)
    found = GradientProjection(recorder, 10_000, 10_000).embed(losses,
                                                               recorder)
    truth = torch.stack([flatten(row) for row in rows])
    assert found.shape == truth.shape and found.dtype == torch.float64
    assert torch.allclose(found @ found.T, truth @ truth.T, rtol=1e-10)
    # the same numbers, whatever their order
    assert torch.allclose(found.sort(1).values, truth.sort(1).values,
                          atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 9),
       st.sampled_from(['*', 'head', 'linear', ['head', 'unbiased']]))
def test_projecting_on_the_way_is_projecting_the_gradient(inputs, outputs,
                                                          seed, names):
    losses, recorder, rows = passed(Pyramid, names)
    projection = GradientProjection(recorder, inputs, outputs, seed)
    found = projection.embed(losses, recorder)
    assert found.shape == (3, projection.dim)
    truth = torch.stack([projection.project(row) for row in rows])
    assert torch.allclose(found, truth, rtol=1e-9, atol=1e-9)


def test_rows_do_not_depend_on_the_batch():
    model = Pyramid().double().eval()
    recorder = LayerRecorder(model, ['stem', 'head'])
    x = torch.randn(5, 2, 6, 8, dtype=torch.float64)
    projection = GradientProjection(recorder, 4, 2, 'seed')

    def rows(part):
        with recorder:
            losses = model(part)
        return projection.embed(losses, recorder)

    assert torch.allclose(torch.cat([rows(x[:2]), rows(x[2:3]), rows(x[3:])]),
                          rows(x), atol=1e-10)
    assert rows(x[:0]).shape == (0, projection.dim)


def test_signs_of_a_layer_do_not_depend_on_the_others():
    def row_of(names):
        losses, recorder, _ = passed(Pyramid, names)
        return GradientProjection(recorder, 4, 2, 7).embed(losses, recorder)

    both, alone = row_of(['stem', 'head']), row_of(['head'])
    assert torch.equal(both[:, -alone.shape[1]:], alone)
    losses, recorder, _ = passed(Pyramid, ['head'])
    other = GradientProjection(recorder, 4, 2, 8).embed(losses, recorder)
    assert not torch.allclose(other, alone)


@pytest.mark.parametrize('inputs, outputs', [(2, 2), (3, None), (None, 1)])
def test_variance_equals_that_over_all_signs(inputs, outputs):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 2, 4 if outputs is None else 3))

    def all_signs(rows, columns):
        if rows is None or rows >= columns:
            return [np.eye(columns)]
        return [np.reshape(s, (rows, columns)) / rows**.5
                for s in product((-1, 1), repeat=rows * columns)]

    values = [((b @ x @ a.T) * (b @ y @ a.T)).sum()
              for b in all_signs(outputs, 2)
              for a in all_signs(inputs, x.shape[1])]
    assert np.mean(values) == pytest.approx((x * y).sum())
    found = product_variance(torch.tensor(x), torch.tensor(y), inputs,
                             outputs)
    assert found == pytest.approx(np.var(values))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5),
       st.integers(1, 5), st.integers(0, 1000))
def test_variance_is_bounded(channels, columns, inputs, outputs, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, channels, columns, generator=generator)
    share_in, share_out = inputs < columns, outputs < channels
    bound = 2 / inputs * share_in + 2 / outputs * share_out + \
        4 / (inputs * outputs) * share_in * share_out
    bound *= float(x.square().sum() * y.square().sum())
    assert -1e-9 <= product_variance(x, y, inputs, outputs) <= bound + 1e-9


@pytest.mark.parametrize('inputs, outputs', [(4, 2), (2, 3), (3, None)])
def test_mean_and_variance_over_seeds(inputs, outputs):
    """Monte Carlo, with the signs of the class itself."""
    model = nn.Sequential(nn.Linear(6, 5)).double()
    recorder = LayerRecorder(model, '*')
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    y += x  # so that the product is not near 0
    values = []
    for seed in range(600):
        project = GradientProjection(recorder, inputs, outputs, seed).project
        a, b = (project([m[:, :6], m[:, 6]]) for m in (x, y))
        values.append(float(a @ b))
    values = np.array(values)
    variance = product_variance(x, y, inputs, outputs)
    assert abs(values.mean() - float((x * y).sum())) < \
        4 * (variance / len(values))**.5
    squares = (values - values.mean())**2
    assert abs(squares.mean() - variance) < \
        4 * squares.std() / len(values)**.5


class Softmax(nn.Module):
    """Softmax of a linear layer, sigmoids of a convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 3, 2), nn.Linear(2, 3)

    def forward(self, x):
        labels = torch.ones(len(x), dtype=torch.long)
        sigmoid = nn.functional.binary_cross_entropy_with_logits(
            self.conv(x), torch.ones(len(x), 3, 5, 7).to(x),
            reduction='none').sum((1, 2, 3))
        return sigmoid + nn.functional.cross_entropy(
            self.fc(x.mean((2, 3))), labels, reduction='none')


@pytest.mark.parametrize('damping', [.3, .01])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('solver', [BlockCholesky, DefaultSolver])
def test_the_metric_is_that_of_steps_in_the_curvature(solver, bias, damping):
    losses, recorder, rows = passed(Softmax, bias=bias)
    operator = GaussNewton.from_batch(losses, recorder)
    metric = solver(damping=damping).step_metric(operator, recorder.params)
    found = GradientProjection(recorder).embed(losses, recorder, metric)
    like = recorder.params
    h = torch.stack([
        flatten(operator.product(unflatten(e, like)))
        for e in torch.eye(recorder.num_params, dtype=torch.float64)])
    g = torch.stack([flatten(row) for row in rows])
    steps = torch.linalg.solve(h + damping * torch.eye(len(h)), g.T).T
    # what is added to the diagonal of H
    extra = (1e-3 * damping + 1e-6 * h.diagonal().max()) * \
        steps.norm(dim=1)[:, None] * steps.norm(dim=1)
    difference = found @ found.T - steps @ h @ steps.T
    assert (difference.abs() <= extra + 1e-10).all()
    assert (difference.diagonal() > 0).all()
    # projected afterwards
    projection = GradientProjection(recorder, 3, 2, 0)
    found = projection.embed(losses, recorder, metric)
    truth = torch.stack([projection.project(row, metric) for row in rows])
    assert torch.allclose(found, truth, atol=1e-9)


def test_the_root_of_a_block_does_not_depend_on_the_others(monkeypatch):
    """Large layers are read some channels at a time."""
    losses, recorder, _ = passed(Softmax)
    operator = GaussNewton.from_batch(losses, recorder)
    metric = partial(BlockCholesky(damping=1e-3).step_metric, operator,
                     recorder.params)
    together = metric()
    monkeypatch.setattr(block_cholesky, 'CHUNK', 1)
    alone = metric()
    for index, root in together.roots.items():
        torch.testing.assert_close(alone.roots[index], root, rtol=1e-9,
                                   atol=1e-12)


def test_layers_that_no_loss_curves_take_no_step():
    losses, recorder, _ = passed(Softmax, ['fc'])
    operator = GaussNewton.from_batch(losses, recorder)
    metric = BlockCholesky(damping=.25).step_metric(operator, recorder.params)
    g = torch.ones(2, 3, 3, dtype=torch.float64)
    assert metric(0, g).any() and not metric(5, g).any()


def test_solvers_without_a_root_say_so():
    losses, recorder, _ = passed(Softmax)
    hessian = GaussNewton.from_batch(losses, recorder)
    assert Identity().step_metric(hessian, recorder.params) is None
    for solver, message in (
            (ConjugateGradient(), 'ConjugateGradient has no square root'),
            (DefaultSolver(max_gib=1e-9), 'max_gib')):
        for method in (solver.check_step_metric, solver.step_metric):
            with pytest.raises(SolverError, match=message):
                method(hessian, recorder.params)


@pytest.mark.parametrize('sizes', [dict(inputs=0), dict(outputs=-1)])
def test_sizes_below_one_are_refused(sizes):
    _, recorder, _ = passed(Softmax)
    with pytest.raises(ValueError, match='at least 1'):
        partial(GradientProjection, recorder)(**sizes)
