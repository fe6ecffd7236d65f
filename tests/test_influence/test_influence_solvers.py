import subprocess
import sys

import pytest
import torch

from mmal.influence import (
    MINRES,
    BatchedOperator,
    BlockCholesky,
    ConjugateGradient,
    DefaultSolver,
    Identity,
    LiSSA,
    SolverError,
)
from mmal.influence.solvers import DampedSystem, largest_eigenvalue
from mmal.influence.vectors import flatten, unflatten
from mmal.registry import TASK_UTILS


class MatrixBatch:
    """Images whose H_i are given matrices."""
    nbytes = 0

    def __init__(self, matrices):
        self.matrices = matrices
        self.num_images = len(matrices)

    def product(self, vectors):
        found = [self.matrices.sum(0) @ flatten(v) for v in vectors]
        return [[f[:2], f[2:].view(2, -1)] for f in found]


def problem(sizes=(4, 4, 4, 4, 2), negative=0., dtype=torch.float64):
    """A small PSD operator with batches of unequal sizes."""
    generator = torch.Generator().manual_seed(0)
    n = 8
    root = torch.randn(sum(sizes), n, n, generator=generator, dtype=dtype)
    shape = torch.linspace(1, 3, n, dtype=dtype)
    matrices = shape.view(-1, 1) * (root @ root.mT / n) * shape
    matrices -= negative * torch.eye(n, dtype=dtype)
    operator = BatchedOperator([MatrixBatch(m) for m in matrices.split(sizes)])
    v = torch.randn(n, generator=generator, dtype=dtype)
    return operator, [v[:2], v[2:].view(2, -1)], matrices.mean(0)


def truth(matrix, v, damping):
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    return torch.linalg.solve(matrix + damping * eye, flatten(v))


def error(found, true):
    return float((flatten(found.x) - true).norm() / true.norm())


def test_conjugate_gradient_equals_the_dense_solution():
    operator, v, matrix = problem()
    solver = ConjugateGradient(damping=0.1, tol=1e-10)
    found = solver.solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 1e-8
    assert found.converged and found.residual < 1e-9
    assert 0 < found.iterations <= 10 and found.seconds > 0
    assert [t.shape for t in found.x] == [t.shape for t in v]


def test_conjugate_gradient_stops_at_max_iters():
    operator, v, matrix = problem()
    found = ConjugateGradient(damping=0.1, max_iters=2).solve(operator, v)
    assert not found.converged and found.iterations == 2
    assert found.residual > 1e-4


def test_conjugate_gradient_uses_the_diagonal_where_there_is_one():
    scale = torch.logspace(0, 4, 8, dtype=torch.float64)
    matrices = torch.diag(scale) + 0.1 * torch.ones(8, 8).double()
    operator = BatchedOperator([MatrixBatch(matrices[None])])
    v = [torch.ones(2).double(), torch.ones(2, 3).double()]
    plain = ConjugateGradient(tol=1e-8).solve(operator, v)
    operator.diagonal = lambda: [t.clone() for t in unflatten(
        matrices.diagonal(), v)]
    found = ConjugateGradient(tol=1e-8).solve(operator, v)
    true = truth(matrices, v, 0.1)
    assert max(error(plain, true), error(found, true)) < 1e-6
    assert found.iterations <= 5 < 8 <= plain.iterations


def test_conjugate_gradient_without_damping_where_nothing_curves():
    matrix = torch.zeros(8, 8).double()
    matrix[:4, :4] = torch.eye(4).double() * 3
    operator = BatchedOperator([MatrixBatch(matrix[None])])
    v = [torch.ones(2).double(), torch.zeros(2, 3).double()]
    operator.diagonal = lambda: unflatten(matrix.diagonal(), v)
    found = ConjugateGradient(damping=0.).solve(operator, v)
    assert flatten(found.x).tolist() == pytest.approx([1 / 3] * 2 + [0.] * 6)


def test_conjugate_gradient_refuses_negative_curvature():
    operator, v, _ = problem(negative=1.)
    with pytest.raises(SolverError, match=r'step \d+.*not positive.*damping'):
        ConjugateGradient(damping=0.1).solve(operator, v)


@pytest.mark.parametrize('negative', [0., 1., 2.])
def test_minres_equals_the_dense_solution_whatever_the_signs(negative):
    operator, v, matrix = problem(negative=negative)
    values = torch.linalg.eigvalsh(matrix) + 0.1
    assert (values.min() < 0) == (negative > 0) and values.max() > 0
    found = MINRES(damping=0.1, tol=1e-10).solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 1e-8
    assert found.converged and found.residual < 1e-9
    assert 0 < found.iterations <= 12 and found.seconds > 0


@pytest.mark.parametrize('negative', [0., 1.])
def test_minres_has_the_smallest_residual_of_its_krylov_space(negative):
    operator, v, matrix = problem(negative=negative)
    damped = matrix + 0.1 * torch.eye(8, dtype=torch.float64)
    flat, powers = flatten(v), [flatten(v)]
    for steps in range(1, 8):
        space = damped @ torch.stack(powers, 1)
        best = torch.linalg.lstsq(space, flat[:, None]).solution
        least = float((space @ best - flat[:, None]).norm() / flat.norm())
        found = MINRES(0.1, max_iters=steps, tol=0.).solve(operator, v)
        assert found.residual == pytest.approx(least, rel=1e-5, abs=1e-9)
        assert found.iterations == steps
        powers.append(damped @ powers[-1])


def test_minres_stops_at_max_iters():
    operator, v, _ = problem(negative=1.)
    found = MINRES(damping=0.1, max_iters=2).solve(operator, v)
    assert not found.converged and found.iterations == 2


def test_minres_on_a_singular_operator():
    operator, v, matrix = problem()
    row = torch.eye(8, dtype=torch.float64)[3]
    for batch in operator.batches:
        batch.matrices[:, 3], batch.matrices[:, :, 3] = 0, 0
    with pytest.raises(SolverError, match=r'singular.*solver.damping'):
        MINRES(damping=0., tol=1e-10).solve(operator, v)
    flat = flatten(v) * (1 - row)
    inside = [flat[:2], flat[2:].view(2, -1)]
    found = MINRES(damping=0., tol=1e-10).solve(operator, inside)
    assert found.residual < 1e-8


def test_lissa_on_one_batch_equals_the_dense_solution():
    operator, v, matrix = problem(sizes=(18, ))
    solver = LiSSA(damping=0.1, repeats=1, tol=1e-8, max_passes=10_000)
    found = solver.solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 1e-6
    assert found.converged
    assert found.scale >= torch.linalg.eigvalsh(matrix).max() + 0.1


def test_the_mean_of_lissa_over_repeats_approaches_the_dense_solution():
    operator, v, matrix = problem()
    true = truth(matrix, v, 0.1)
    options = {'damping': 0.1, 'scale': 200., 'depth': 5000}
    one = LiSSA(repeats=1, **options).solve(operator, v)
    many = LiSSA(repeats=8, **options).solve(operator, v)
    assert error(many, true) < 0.02
    assert error(many, true) < error(one, true)
    assert many.iterations == 8 * 5000 and many.residual < 0.1


def test_lissa_weighs_unequal_batches_by_their_images():
    operator, v, matrix = problem(sizes=(8, 1, 1, 8))
    found = LiSSA(
        damping=0.1, scale=1000., depth=20_000, repeats=2).solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 0.02


def test_lissa_finds_a_scale_that_holds_for_every_batch():
    operator, v, _ = problem(sizes=(4, 1, 1, 4))
    system = DampedSystem(operator, v, 0.1)
    eye = torch.eye(8, dtype=torch.float64)
    tops = []
    for i in range(4):
        columns = [system.estimate([i], row) for row in eye]
        tops.append(torch.linalg.eigvalsh(torch.stack(columns)).max())
    found = LiSSA(damping=0.1).solve(operator, v)
    assert found.scale >= max(tops)
    power = largest_eigenvalue(system, flatten(v))
    assert power == pytest.approx(float(max(tops)), rel=0.1)


def test_lissa_finds_the_scale_of_batches_that_are_not_alike():
    """The first axis is an eigenvector of both, the largest of the first."""
    first, second = torch.full((2, 8), 1e-3).double()
    first[0], second[0], second[5] = 100, 50, 3000
    operator = BatchedOperator(
        [MatrixBatch(torch.diag(d)[None]) for d in (first, second)])
    v = [torch.ones(2).double(), torch.ones(2, 3).double()]
    power = largest_eigenvalue(DampedSystem(operator, v, 0.1), flatten(v))
    assert power == pytest.approx(3000.1, rel=.01)
    LiSSA(damping=0.1, depth=300, repeats=1).solve(operator, v)


def test_a_diverging_lissa_names_a_scale_that_works():
    operator, v, matrix = problem()
    with pytest.raises(SolverError, match='solver.scale=0.5') as caught:
        LiSSA(damping=0.1, scale=0.5).solve(operator, v)
    words = str(caught.value)
    scale = float(words.split('Set solver.scale to ')[1].split(',')[0])
    assert scale > torch.linalg.eigvalsh(matrix).max() / 2
    found = LiSSA(damping=0.1, scale=scale).solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 0.5


def test_a_run_too_short_to_overflow_is_caught_as_well():
    operator, v, matrix = problem(sizes=(18, ))
    scale = float(torch.linalg.eigvalsh(matrix).max()) / 4
    with pytest.raises(SolverError, match='diverged with solver.scale'):
        LiSSA(damping=0.1, scale=scale, depth=5).solve(operator, v)


def test_lissa_on_negative_curvature_says_so():
    operator, v, _ = problem(negative=3.)
    with pytest.raises(SolverError, match='Gauss-Newton'):
        LiSSA(damping=0.1, max_passes=500).solve(operator, v)


def test_lissa_steps_of_several_batches():
    operator, v, matrix = problem(sizes=(3, ) * 6)
    few = LiSSA(damping=0.1, scale=1000., batch_size=7, depth=3, repeats=1)
    used, products = [], operator.batch_product
    operator.batch_product = lambda i, x: used.append(i) or products(i, x)
    after_steps = []
    few.solve(operator, v, lambda *_: after_steps.append(len(used)))
    assert after_steps[:3] == [3, 6, 9]  # 7 images are 3 batches of 3
    assert sorted(used[:6]) == list(range(6))  # each once a pass
    operator.batch_product = products
    all_ = LiSSA(
        damping=0.1, batch_size=100, repeats=1, tol=1e-8, max_passes=10_000)
    found = all_.solve(operator, v)
    assert error(found, truth(matrix, v, 0.1)) < 1e-6


def test_identity_returns_v():
    _, v, _ = problem()
    found = Identity().solve(None, v)
    assert torch.equal(flatten(found.x), flatten(v))
    assert found.x[0] is not v[0] and found.residual is None


@pytest.mark.parametrize('solver', [
    LiSSA(damping=0.1, depth=20),
    ConjugateGradient(damping=0.1),
    MINRES(damping=0.1),
    Identity()
])
def test_the_global_random_state_is_neither_used_nor_changed(solver):
    operator, v, _ = problem()
    torch.manual_seed(0)
    first = solver.solve(operator, v)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    second = solver.solve(operator, v)
    assert torch.equal(flatten(first.x), flatten(second.x))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_lissa_is_the_same_in_another_process(tmp_path):
    operator, v, _ = problem()
    here = flatten(LiSSA(damping=0.1, depth=7).solve(operator, v).x)
    code = ('import sys, torch; sys.path.insert(0, sys.argv[1]);'
            'torch.rand(5);'
            'from test_influence_solvers import *;'
            'operator, v, _ = problem();'
            'x = LiSSA(damping=0.1, depth=7).solve(operator, v).x;'
            'torch.save(flatten(x), sys.argv[2])')
    out = tmp_path / 'x.pt'
    folder = __file__.rsplit('/', 1)[0]
    subprocess.run([sys.executable, '-c', code, folder, str(out)], check=True)
    assert torch.equal(torch.load(out), here)


def test_seeds_and_repeats_have_orders_of_their_own():
    operator, v, _ = problem()
    xs = [
        flatten(LiSSA(0.1, depth=7, repeats=r, seed=s).solve(operator, v).x)
        for r, s in [(1, 0), (1, 1), (2, 0)]
    ]
    assert not torch.equal(xs[0], xs[1]) and not torch.equal(xs[0], xs[2])


@pytest.mark.parametrize(
    'kind', [LiSSA, ConjugateGradient, MINRES, BlockCholesky, Identity])
def test_bad_and_zero_right_hand_sides(kind):
    operator, v, _ = problem()
    v[0][0] = float('nan')
    with pytest.raises(ValueError, match='NaN'):
        kind().solve(operator, v)
    found = kind().solve(operator, [torch.zeros_like(t) for t in v])
    assert not flatten(found.x).any()


@pytest.mark.parametrize('kind', [LiSSA, ConjugateGradient, MINRES])
def test_a_broken_operator_never_gives_nan(kind):
    operator, v, _ = problem()
    operator.batches[1].matrices[0, 0, 0] = float('nan')
    with pytest.raises(SolverError):
        kind().solve(operator, v)


def test_zero_curvature():
    operator, v, _ = problem()
    for batch in operator.batches:
        batch.matrices.zero_()
    for solver in (LiSSA(0.5, max_passes=200), ConjugateGradient(0.5),
                   MINRES(0.5)):
        found = solver.solve(operator, v)
        assert torch.allclose(flatten(found.x), 2 * flatten(v), rtol=1e-2)
    for solver in (LiSSA(0.), ConjugateGradient(0.), MINRES(0.)):
        with pytest.raises(SolverError, match='damping'):
            solver.solve(operator, v)


@pytest.mark.parametrize('kind', [LiSSA, ConjugateGradient, MINRES])
def test_progress_ends_full(kind):
    operator, v, _ = problem()
    seen = []
    kind(damping=0.1).solve(operator, v, lambda *a: seen.append(a))
    assert seen and all(done <= total for done, total in seen)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    'cfg', [{'type': 'mmal.LiSSA', 'damping': -1},
            {'type': 'mmal.LiSSA', 'scale': 0},
            {'type': 'mmal.LiSSA', 'repeats': 0},
            {'type': 'mmal.MINRES', 'max_iters': 0},
            {'type': 'mmal.ConjugateGradient', 'max_iters': 0}])
def test_bad_options_are_named(cfg):
    key = next(k for k in cfg if k != 'type')
    with pytest.raises(ValueError, match=f'solver.{key}'):
        TASK_UTILS.build(cfg)


@pytest.mark.parametrize(
    'name',
    ['LiSSA', 'ConjugateGradient', 'MINRES', 'BlockCholesky', 'Identity',
     'DefaultSolver'])
def test_solvers_are_registered(name):
    assert TASK_UTILS.build({'type': f'mmal.{name}'}).solve


def test_lissa_stops_after_its_passes_or_when_converged():
    operator, v, _ = problem()
    for passes, steps in [(1, 250), (60, 300)]:
        solver = LiSSA(0.1, repeats=2, max_passes=passes, tol=0.)
        found = solver.solve(operator, v)
        assert found.iterations == 2 * steps and not found.converged
    found = LiSSA(0.1, repeats=2, max_passes=60, tol=0.5).solve(operator, v)
    assert found.iterations < 600 and found.converged


def test_block_cholesky_refuses_an_operator_without_blocks():
    operator, v, _ = problem()
    for use in (BlockCholesky().solve, BlockCholesky().check):
        with pytest.raises(SolverError, match=r'exact.*ConjugateGradient'):
            use(operator, v)


def test_the_default_is_conjugate_gradients_where_there_are_no_blocks():
    operator, v, matrix = problem()
    assert 'ConjugateGradient' in DefaultSolver().check(operator, v)
    with pytest.warns(UserWarning, match='ConjugateGradient'):
        found = DefaultSolver(0.1, tol=1e-10).solve(operator, v)
    assert found.method == 'ConjugateGradient' and found.converged
    assert error(found, truth(matrix, v, 0.1)) < 1e-8
