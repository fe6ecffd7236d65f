"""s_test: every solver, both Hessians, every place for what is kept."""
import gc

import pytest
import torch

from mmal.influence.vectors import flatten, unflatten
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring import InfluenceScorer

pytestmark = pytest.mark.cuda

# few steps: what has not converged shows every difference
SOLVERS = dict(
    block_cholesky=dict(type='mmal.BlockCholesky', damping=10.),
    conjugate_gradient=dict(
        type='mmal.ConjugateGradient', max_iters=3, tol=0., damping=10.),
    default=dict(type='mmal.DefaultSolver', damping=100.),
    identity=dict(type='mmal.Identity'),
    lissa=dict(type='mmal.LiSSA', repeats=1, depth=6),
    minres=dict(type='mmal.MINRES', max_iters=3, tol=0., damping=10.))
HESSIANS = ('gauss-newton', 'exact')


@pytest.fixture(scope='module')
def on_cpu():
    """s_test of the CPU, by solver and Hessian."""
    return {}


def s_test(model, data, **options):
    scorer = InfluenceScorer(**options)
    with evaluation_mode(model):
        scorer.check(model, data)
        scorer.prepare(model, data)
    return flatten(scorer.s_test)


@pytest.mark.parametrize('cache', ['device', 'ram', 'file'])
@pytest.mark.parametrize('hessian', HESSIANS)
@pytest.mark.parametrize('solver', SOLVERS)
def test_s_test(device, detector, data, close, tmp_path, on_cpu, solver,
                hessian, cache):
    if (solver, hessian) == ('block_cholesky', 'exact'):
        pytest.skip('it needs the blocks of the Gauss-Newton matrix')
    options = dict(solver=SOLVERS[solver], hessian=hessian)
    if (solver, hessian) not in on_cpu:
        on_cpu[solver, hessian] = s_test(
            detector('fcos'), data(labelled=3), **options)
    found = s_test(
        detector('fcos', device), data(labelled=3), cache=cache,
        cache_dir=str(tmp_path) if cache == 'file' else None, **options)
    close(found, on_cpu[solver, hessian], rtol=1e-3)
    assert not list(tmp_path.iterdir())


CURVATURES = dict(
    {'gauss-newton': {}}, exact=dict(hessian='exact'),
    sampled=dict(hessian_positions=20))


@pytest.mark.parametrize('curvature', CURVATURES)
@pytest.mark.parametrize('name', ['ssd', 'yolov3', 'faster_rcnn',
                                  'deformable_detr', 'mdn_fcos'])
def test_curvature(device, detector, data, close, name, curvature):
    products = []
    for where in (device, 'cpu'):
        model = detector(name, where)
        scorer = InfluenceScorer(**CURVATURES[curvature])
        operator = scorer.operator(model, data(labelled=2, seed=3))
        params = scorer.recorder.params
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(sum(p.numel() for p in params),
                             generator=generator)
        with evaluation_mode(model):
            products.append(flatten(operator.product(
                [unflatten(vector.to(where), params)])[0]))
    close(*products, rtol=1e-3)
    assert products[1].abs().max() > 0


@pytest.mark.parametrize('cache', ['ram', 'file'])
def test_what_is_kept_elsewhere_takes_no_memory_of_the_gpu(
        device, detector, data, tmp_path, cache):
    model, used = detector('fcos', device), {}
    for place in ('device', cache):
        scorer = InfluenceScorer(
            cache=place, cache_dir=str(tmp_path) if place == 'file' else None)
        with evaluation_mode(model):
            operator = scorer.operator(model, data(labelled=6))
            zeros = [torch.zeros_like(p) for p in scorer.recorder.params]
            gc.collect()
            before = torch.cuda.memory_allocated()
            operator.product([zeros])
            gc.collect()
            used[place] = torch.cuda.memory_allocated() - before
    assert used[cache] < used['device'] / 10
