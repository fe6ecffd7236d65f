"""Blocks of output channels, against dense matrices in float64."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_influence_operators import (
    LAYERS,
    classifier,
    dense,
    detector,
    detector_losses,
    few_positives,
    images,
    record,
)
from torch import nn

from mmal.influence import (
    BlockCholesky,
    DefaultSolver,
    GaussNewton,
    SolverError,
)
from mmal.influence.operators.blocks import merged
from mmal.influence.operators.gauss_newton import GaussNewtonBatch
from mmal.influence.vectors import flatten


def right_side(recorder):
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for p in recorder.params
    ]


def check(operator, recorder, damping=0.01, tol=1e-9, **options):
    v = right_side(recorder)
    matrix = dense(operator, recorder)
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    true = torch.linalg.solve(matrix + damping * eye, flatten(v))
    found = BlockCholesky(damping, **options).solve(operator, v)
    assert float((flatten(found.x) - true).norm() / true.norm()) < tol
    assert found.converged and found.residual < tol
    assert found.seconds > 0 and found.iterations >= 1


@pytest.mark.parametrize('losses_from', [detector_losses, few_positives])
@pytest.mark.parametrize('bias', [True, False])
def test_a_detector_equals_the_dense_solution(losses_from, bias):
    recorder, losses = record(detector(), images(), LAYERS, losses_from, bias)
    operator = GaussNewton.from_batch(losses, recorder)
    check(operator, recorder)
    v = right_side(recorder)
    blocks = operator.channel_blocks(v, 1 << 30, lambda *_: None)
    assert [(len(b.matrix), b.size) for b in blocks] == [(3, 1), (1, 4),
                                                         (1, 1)]
    for block in blocks:
        rows, copy = block.gather(v), [torch.zeros_like(t) for t in v]
        block.scatter(rows, copy)
        places = list(block.index.values())
        assert all(torch.equal(copy[p], v[p]) for p in places)


def test_batches_of_unlike_forms_are_joined():
    model, parts = detector(), images(4).split([3, 1])
    batches = []
    for part, losses_from in zip(
            parts, (detector_losses,
                    lambda out: out[1][0].square().flatten(1).sum(1))):
        recorder, losses = record(model, part, LAYERS, losses_from)
        batches.append(GaussNewtonBatch(losses, recorder))
    assert [t.curvature.block_size for b in batches for t in b.terms] == [
        1, 1, 4, 1, 1
    ]
    check(GaussNewton(batches), recorder)


@pytest.mark.parametrize(('classes', 'anchors'), [(6, 1), (4, 3)])
def test_softmax_and_linear_layers(classes, anchors):
    model, x, losses_from = classifier(5, classes, anchors)
    recorder, losses = record(model, x, '*', losses_from)
    operator = GaussNewton.from_batch(losses, recorder)
    check(operator, recorder)
    block, = operator.channel_blocks(
        right_side(recorder), 1 << 30, lambda *_: None)
    assert block.matrix.shape == (anchors, classes * 4, classes * 4)


def test_single_precision_is_solved_to_its_rounding():
    x = images(dtype=torch.float32)
    recorder, losses = record(
        detector(torch.float32), x, LAYERS, detector_losses)
    operator = GaussNewton.from_batch(losses, recorder)
    found = BlockCholesky(1e-3).solve(operator, right_side(recorder))
    assert found.x[0].dtype == torch.float32 and found.residual < 1e-4


class Stop(Exception):
    """A process has said what the others must hear first."""


class Together:
    """A share of the batches for each of some processes.

    They run one after another: first up to what they gather, then with what
    all have gathered, and at last with the sums of what all have.
    """

    def __init__(self, batches, world):
        self.all, self.world = batches, world
        self.said, self.parts = {}, {}

    def __len__(self):
        return len(self.all[self.rank::self.world])

    def batches(self):
        yield from self.all[self.rank::self.world]

    def gather(self, value):
        if self.step == 0:
            self.said[self.rank] = value
            raise Stop
        return [self.said[r] for r in range(self.world)]

    def add_up(self, tensor):
        done = len(self.parts.setdefault((self.step, self.rank), []))
        self.parts[self.step, self.rank].append(tensor.clone())
        if self.step == 2:
            tensor.copy_(sum(self.parts[1, r][done]
                             for r in range(self.world)))

    def solve(self, v, **options):
        for step in range(3):
            self.step, found = step, []
            for rank in range(self.world):
                self.rank = rank
                try:
                    found.append(BlockCholesky(0.01, **options).solve(
                        GaussNewton(self.all, self), v).x)
                except Stop:
                    pass
        return found


@pytest.mark.parametrize('world', [2, 3, 5])
def test_processes_share_one_pass(world):
    """Of more processes than batches, and where a layer's blocks are wider,
    or there at all, in one process only."""
    model, parts = detector(), images(4).split([2, 1, 1])
    batches = []
    for part, losses_from in zip(parts, (
            detector_losses,
            lambda out: out[1][0].square().flatten(1).sum(1),
            lambda out: out[0][0].square().flatten(1).sum(1))):
        recorder, losses = record(model, part, LAYERS, losses_from)
        batches.append(GaussNewtonBatch(losses, recorder))
    v = right_side(recorder)
    alone = flatten(BlockCholesky(0.01).solve(GaussNewton(batches), v).x)
    for x in Together(batches, world).solve(v):
        assert torch.allclose(flatten(x), alone, rtol=1e-9, atol=1e-12)


def test_all_processes_hear_of_blocks_that_do_not_fit():
    recorder, losses = record(detector(), images(), LAYERS, few_positives)
    together = Together([GaussNewtonBatch(losses, recorder)], 2)
    with pytest.raises(SolverError, match='GiB'):
        together.solve(right_side(recorder), max_gib=1e-6)
    assert 'GiB' in together.said[0][-1] and together.said[1][-1] is None


def test_layers_without_curvature_have_the_damping_alone():
    recorder, losses = record(detector(), images(), LAYERS,
                              lambda out: out[0][0].square().flatten(1).sum(1))
    check(GaussNewton.from_batch(losses, recorder), recorder, 0.5)


def test_too_large_or_singular_blocks_say_what_to_do():
    recorder, losses = record(detector(), images(), LAYERS, few_positives)
    operator = GaussNewton.from_batch(losses, recorder)
    v = right_side(recorder)
    with pytest.raises(SolverError, match=r'GiB.*max_gib.*ConjugateGradient'):
        BlockCholesky(max_gib=1e-6).solve(operator, v)
    with pytest.raises(SolverError, match='max_gib'):
        BlockCholesky(max_gib=1e-6).check(operator, v)
    assert DefaultSolver().check(operator, v) is None
    assert DefaultSolver().solve(operator, v).method == 'BlockCholesky'
    with pytest.raises(SolverError, match='Raise solver.damping, now 0'):
        BlockCholesky(damping=0.).solve(operator, v)


def test_grouped_convolutions_are_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)).double().eval()
    x = torch.randn(2, 4, 5, 5).double()
    recorder, losses = record(model, x, '*',
                              lambda out: out.square().flatten(1).sum(1))
    operator = GaussNewton.from_batch(losses, recorder)
    with pytest.raises(SolverError, match="layer '0' is neither"):
        BlockCholesky().solve(operator, right_side(recorder))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 4),
    own=st.integers(1, 3),
    count=st.integers(1, 3),
    groups=st.integers(1, 3))
def test_merged_blocks_multiply_alike(rows, own, count, groups):
    channels = own * count * groups
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(rows, channels // own, own, own, generator=generator)
    x = torch.randn(rows, channels, generator=generator)
    before = torch.einsum('rgij,rgj->rgi', blocks, x.unflatten(1, (-1, own)))
    large = merged(blocks, own * count)
    after = torch.einsum('rgij,rgj->rgi', large,
                         x.unflatten(1, (-1, own * count)))
    assert torch.allclose(before.flatten(1), after.flatten(1), atol=1e-6)

