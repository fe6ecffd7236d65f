"""The influence maths against dense matrices and retraining of an FCOS."""
import pytest
import torch
from exact_influence import (
    FCOSHeadLoss,
    HeadMatrix,
    damped,
    dense_hessian,
    joined,
    leave_one_in,
    retrain,
    retrain_head,
)
from helpers.tiny import tiny_fcos
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from scipy.stats import spearmanr

from mmal.influence import (
    MINRES,
    BlockCholesky,
    ConjugateGradient,
    ExactHessian,
    GaussNewton,
    LayerRecorder,
    LiSSA,
    image_products,
    mean_gradient,
)
from mmal.influence.vectors import flatten, unflatten
from mmal.models.utils import head_outputs, image_losses
from mmal.models.utils.per_image import training_outputs
from mmal.scoring.isal.box_curvature import box_curvature

DAMPING = 0.01


@pytest.fixture(scope='module', autouse=True)
def double():
    # mmdet's losses want boxes of the dtype of the points.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def scenes(count, seed):
    """Bright squares whose class is a colour; some images have none."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 3, 64, 64, generator=generator)
    return images, [
        scene(image, generator, empty=i == 3) for i, image in enumerate(images)
    ]


def scene(image, generator, empty):
    count = 0 if empty else int(torch.randint(1, 3, (), generator=generator))
    boxes = torch.zeros(count, 4)
    labels = torch.randint(0, 2, (count, ), generator=generator)
    for box, label in zip(boxes, labels):
        w, h = torch.randint(14, 34, (2, ), generator=generator)
        x = torch.randint(0, 64 - int(w), (), generator=generator)
        y = torch.randint(0, 64 - int(h), (), generator=generator)
        image[label, y:y + h, x:x + w] += 1.5
        box[:] = torch.stack([x, y, x + w, y + h])
    return InstanceData(bboxes=boxes, labels=labels)


@pytest.fixture(scope='module')
def model():
    return tiny_fcos(num_classes=2, channels=8).double()


@pytest.fixture(scope='module')
def labelled(model):
    images, labels = scenes(12, 0)
    parts = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    return FCOSHeadLoss(model, parts)


def mmdet_losses(model, images, labels, recorder=None):
    samples = [
        DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64)))
        for _ in images
    ]
    with recorder or torch.enable_grad():
        return image_losses(model, head_outputs(model, images), samples,
                            labels)


def recorded(model, count=12, seed=0):
    recorder = LayerRecorder(model, 'bbox_head.conv_*')
    return recorder, mmdet_losses(model, *scenes(count, seed), recorder)


def relative(found, true):
    return float(((found - true).norm() / true.norm()).detach())


@pytest.mark.parametrize('norm_on_bbox', [True, False])
def test_gauss_newton_takes_in_the_kinks_of_boxes(norm_on_bbox):
    model = tiny_fcos(num_classes=2, channels=8).double()
    model.bbox_head.norm_on_bbox = norm_on_bbox
    model.bbox_head.conv_reg.bias.data.fill_(1. if norm_on_bbox else 2.)
    problem = FCOSHeadLoss(model, [scenes(12, 0)])
    with box_curvature(model, 0.1):
        recorder, losses = recorded(model)
        operator = GaussNewton.from_batch(losses, recorder)
    true = HeadMatrix(problem, problem.theta, box_step=0.1).dense()
    point = HeadMatrix(problem, problem.theta).dense()
    rows = torch.randn(
        3, len(true), generator=torch.Generator().manual_seed(0))
    found = products_with(operator, recorder, rows)
    assert relative(found, rows @ true) < 1e-6
    assert relative(found, rows @ point) > 1e-2


def test_rounded_kinks_are_those_of_giou_in_the_limit(labelled):
    theta = labelled.theta
    true = labelled.losses(theta)
    errors = []
    for labelled.smoothing in (1e-2, 1e-3, 1e-6):
        errors.append(relative(labelled.losses(theta), true))
    labelled.smoothing = 0.
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-6


def test_losses_are_those_of_mmdet(model, labelled):
    true = mmdet_losses(model, *scenes(12, 0))
    found = labelled.losses(labelled.theta)
    assert relative(found, true) < 1e-6
    assert found.shape == (12, ) and found.min() > 0
    assert len(labelled.theta) == sum(labelled.layer_sizes) == 511


def test_the_mean_loss_is_what_training_minimises(model):
    images, labels = scenes(12, 0)
    problem = FCOSHeadLoss(model, [(images, labels)])
    problem.divide_by(*problem.means)
    terms = model.bbox_head.loss_by_feat(
        *training_outputs(model.bbox_head, head_outputs(model, images)),
        labels, [dict(img_shape=(64, 64))] * 12)
    true, _ = model.parse_losses(terms)
    assert relative(problem.losses(problem.theta).mean(), true) < 1e-6


def test_gradients_are_those_of_autograd_on_the_detector(model, labelled):
    recorder, losses = recorded(model)
    theta = labelled.theta.clone().requires_grad_()
    found, = torch.autograd.grad(labelled.losses(theta).mean(), theta)
    assert relative(found, flatten(mean_gradient(losses, recorder))) < 1e-6


def mean_of(problem):
    return lambda theta: problem.losses(theta).mean()


@pytest.fixture(scope='module')
def matrices(labelled):
    theta = labelled.theta
    return (dense_hessian(mean_of(labelled), theta),
            HeadMatrix(labelled, theta).dense())


def test_blocks_are_the_whole_hessian(labelled, matrices):
    blocks = HeadMatrix(labelled, labelled.theta, positive=False)
    assert relative(blocks.dense(), matrices[0]) < 1e-7


@pytest.mark.parametrize('positive', [True, False])
def test_blocks_solve_and_factorise(labelled, positive):
    blocks = HeadMatrix(labelled, labelled.theta, positive)
    dampings = torch.tensor([3., 4., 5.])
    diagonal = dampings.repeat_interleave(torch.tensor(labelled.layer_sizes))
    dense = blocks.dense() + torch.diag(diagonal)
    v = torch.randn(
        len(dense), generator=torch.Generator().manual_seed(0))
    found = blocks.solve(v, dampings.tolist())
    assert relative(found, torch.linalg.solve(dense, v)) < 1e-10
    parts = zip(blocks.factors(5.), v.split(labelled.layer_sizes))
    moved = torch.cat([factor @ part for factor, part in parts])
    dense = blocks.dense() + 5 * torch.eye(len(dense))
    assert moved @ dense @ moved == pytest.approx(float(v @ v), rel=1e-10)


def products_with(operator, recorder, rows):
    like = [p.detach() for p in recorder.params]
    found = operator.product([unflatten(row, like) for row in rows])
    return torch.stack([flatten(f) for f in found])


def test_operators_are_the_dense_matrices(model, matrices):
    recorder, losses = recorded(model)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(6, recorder.num_params, generator=generator)
    for kind, matrix in zip((ExactHessian, GaussNewton), matrices):
        operator = kind.from_batch(losses, recorder)
        found = products_with(operator, recorder, rows)
        assert relative(found, rows @ matrix) < 1e-6
    values = torch.linalg.eigvalsh(matrices[0])
    assert values[0] < -1e-3
    assert torch.linalg.eigvalsh(matrices[1])[0] > -1e-9


@pytest.mark.parametrize(
    ('exact', 'solver'),
    [(False, ConjugateGradient(DAMPING, 2000, 1e-10)),
     (False, BlockCholesky(DAMPING)),
     (False, MINRES(DAMPING, 2000, 1e-10)),
     (True, MINRES(DAMPING, 1000, 1e-8)),
     (False, LiSSA(0.1, repeats=1, tol=1e-6, max_passes=20_000))])
def test_every_solver_converges_to_the_dense_answer(model, matrices, exact,
                                                    solver):
    recorder, losses = recorded(model)
    kind = ExactHessian if exact else GaussNewton
    operator = kind.from_batch(losses, recorder)
    v = mean_gradient(*recorded(model, 6, 1)[::-1])
    matrix = matrices[0 if exact else 1]
    if exact:
        solver.damping = damping_off_the_spectrum(matrix)
    eye = torch.eye(len(matrix))
    true = torch.linalg.solve(matrix + solver.damping * eye, flatten(v))
    found = solver.solve(operator, v)
    assert found.converged
    # mmdet divides in float32, so the losses themselves differ by 1e-7.
    assert relative(flatten(found.x), true) < 1e-4


def damping_off_the_spectrum(matrix):
    """Leaves eigenvalues of both signs, none of them near zero."""
    values = torch.linalg.eigvalsh(matrix)
    choices = torch.linspace(0.3, -0.8 * float(values[0]), 500)
    nearest = (values[:, None] + choices).abs().amin(0)
    return float(choices[nearest.argmax()])


def test_training_ends_at_the_optimum(labelled):
    # Classes alone have a smooth loss, so the gradient vanishes.
    size = labelled.layer_sizes[0]
    start = labelled.theta

    def objective(part):
        theta = torch.cat([part, start[size:]])
        return damped(mean_of(labelled), start, DAMPING)(theta)

    found = retrain(objective, start[:size], tol=1e-8)
    assert found.gradient < 1e-7
    assert objective(found.theta) < objective(start[:size]) - 1e-3
    again = retrain(objective, found.theta + 0.05, tol=1e-8)
    assert relative(again.theta, found.theta) < 1e-5


@pytest.mark.run
def test_influence_ranks_images_as_retraining_does(model, labelled,
                                                   record_property):
    images, labels = scenes(16, 2)
    pool = [
        FCOSHeadLoss(model, [(images[i:i + 1], labels[i:i + 1])])
        for i in range(len(images))
    ]
    reference = FCOSHeadLoss(model, [scenes(12, 1)])
    factors = HeadMatrix(labelled, labelled.theta).factors(DAMPING)
    centre = labelled.theta
    optimum = joined(
        retrain_head([labelled], centre, centre, DAMPING, factors, 300))
    truth = [
        leave_one_in(labelled, image, reference, optimum, centre, DAMPING,
                     factors, 100)[0] for image in pool
    ]
    scores = influences(model, optimum, images, labels)
    found = {k: float(spearmanr(truth, -s)[0]) for k, s in scores.items()}
    record_property('spearman', found)
    assert found['gauss-newton'] > 0.55
    assert found['gauss-newton'] > found['gradient similarity'] - 0.1


def influences(model, theta, images, labels):
    """-s_test . gradient by mmal's operators, at other parameters."""
    recorder = LayerRecorder(model, 'bbox_head.conv_*')
    before = [p.detach().clone() for p in recorder.params]
    try:
        put(recorder, unflatten(theta, before))
        _, losses = recorder, mmdet_losses(model, *scenes(12, 0), recorder)
        operator = GaussNewton.from_batch(losses, recorder)
        v = mean_gradient(
            mmdet_losses(model, *scenes(12, 1), recorder), recorder)
        s_test = BlockCholesky(DAMPING).solve(operator, v).x
        pool = mmdet_losses(model, images, labels, recorder)
        found = image_products(pool, recorder, [s_test, v]).detach()
    finally:
        put(recorder, before)
    return {'gauss-newton': found[:, 0], 'gradient similarity': found[:, 1]}


@torch.no_grad()
def put(recorder, values):
    for param, value in zip(recorder.params, values):
        param.copy_(value)
