import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmal.influence import (
    CachedBatches,
    ExactHessian,
    ExactHessianBatch,
    GaussNewton,
    GaussNewtonBatch,
    LayerRecorder,
)
from mmal.influence.operators.curvature import (
    BlockCurvature,
    DiagonalCurvature,
    SoftmaxCurvature,
)
from mmal.influence.vectors import flatten, unflatten


def few_positives(outputs):
    return detector_losses(outputs, width=1)


class Detector(nn.Module):
    """Classes, boxes and a centerness on two levels."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        self.conv_cls = nn.Conv2d(4, 3, 3, padding=1)
        self.conv_reg = nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect')
        self.conv_center = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        x = self.trunk(x).tanh()
        levels = [x, F.avg_pool2d(x, 2)]
        heads = (self.conv_cls, self.conv_reg, self.conv_center)
        return [[head(level) for level in levels] for head in heads]


LAYERS = ['conv_cls', 'conv_reg', 'conv_center']


def focal(logits, target):
    p = logits.sigmoid()
    pt = (1 - p) * target + p * (1 - target)
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return (ce * pt.square()).flatten(1).sum(1)


def iou(pred, target):
    """-log IoU of (l, t, r, b) distances, shape [n, 4]."""
    pred = pred.exp()
    inner = torch.minimum(pred, target)
    overlap = (inner[:, 0] + inner[:, 2]) * (inner[:, 1] + inner[:, 3])
    area = (pred[:, 0] + pred[:, 2]) * (pred[:, 1] + pred[:, 3])
    other = (target[:, 0] + target[:, 2]) * (target[:, 1] + target[:, 3])
    return -(overlap / (area + other - overlap)).log()


def detector_losses(outputs, width=3):
    """Per-image losses; positives are a few positions of the first level."""
    cls, reg, center = outputs
    generator = torch.Generator().manual_seed(3)
    total = 0
    for out in cls:
        target = torch.rand(out.shape, generator=generator) > 0.8
        total = total + focal(out, target.to(out))
    boxes = reg[0].movedim(1, -1)[:, 1:3, 1:1 + width].flatten(0, 2)
    target = torch.rand(boxes.shape, generator=generator).to(boxes) + 0.5
    total = total + iou(boxes, target).view(len(total), -1).sum(1)
    logits = center[0][:, 0, 1:3, 1:1 + width].flatten(1)
    quality = torch.rand(logits.shape, generator=generator).to(logits)
    return total + F.binary_cross_entropy_with_logits(
        logits, quality, reduction='none').sum(1)


def detector(dtype=torch.float64):
    torch.manual_seed(0)
    model = Detector()
    # Confident mistakes are where focal loss curves downwards.
    model.conv_cls.weight.data.mul_(10)
    return model.to(dtype).eval()


def images(count=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 6, 8, generator=generator, dtype=dtype)


def record(model, x, names, losses_from, bias=True):
    recorder = LayerRecorder(model, names, bias=bias)
    with recorder:
        losses = losses_from(model(x))
    return recorder, losses


def functional(model, recorder, forward):
    """A function of the flat chosen parameters."""
    names = {id(p): n for n, p in model.named_parameters()}
    keys = [names[id(p)] for p in recorder.params]

    def run(flat):
        params = dict(zip(keys, unflatten(flat, recorder.params)))
        return forward(
            lambda x: torch.func.functional_call(model, params, (x, )))

    return run, flatten([p.detach() for p in recorder.params])


def dense(operator, recorder):
    size = recorder.num_params
    like = [p.detach() for p in recorder.params]
    eye = torch.eye(size, dtype=like[0].dtype)
    columns = operator.product([unflatten(row, like) for row in eye])
    matrix = torch.stack([flatten(c) for c in columns], 1)
    if isinstance(operator, GaussNewton):
        diagonal = flatten(operator.diagonal())
        assert (diagonal - matrix.diagonal()).abs().max() <= 1e-5 * max(
            1e-9, float(matrix.abs().max()))
    return matrix


def dense_gauss_newton(model, recorder, x, losses_from, blocks):
    """Sum of J^T PSD(d2l/dz2) J with dense J and d2l/dz2."""
    outputs = model(x)
    flat_outputs = [o for level in outputs for o in level]
    shapes = [o.shape for o in flat_outputs]
    sizes = [o.numel() for o in flat_outputs]

    def regroup(z):
        parts = [p.view(s) for p, s in zip(z.split(sizes), shapes)]
        return [parts[0:2], parts[2:4], parts[4:6]]

    run, theta = functional(
        model, recorder, lambda call: torch.cat(
            [o.flatten() for level in call(x) for o in level]))
    jacobian = torch.autograd.functional.jacobian(run, theta)
    z = torch.cat([o.detach().flatten() for o in flat_outputs])
    curvature = torch.autograd.functional.hessian(
        lambda t: losses_from(regroup(t)).sum(), z)
    curvature = curvature * blocks(shapes)
    values, vectors = torch.linalg.eigh(curvature)
    kept = (vectors * values.clamp(min=0)) @ vectors.T
    return jacobian.T @ kept @ jacobian / len(x)


def by_position(shapes):
    """1 where two outputs belong to one call and one position."""
    parts = []
    for place, shape in enumerate(shapes):
        b, _, h, w = shape
        position = torch.arange(b * h * w).view(b, 1, h, w).expand(shape)
        parts.append(position.flatten() + place * 10_000)
    label = torch.cat(parts)
    return (label[:, None] == label[None]).double()


@pytest.mark.parametrize(('bias', 'losses_from'), [
    (True, detector_losses), (False, detector_losses), (True, few_positives),
    (False, few_positives)
])
def test_gauss_newton_equals_the_dense_one(bias, losses_from):
    model, x = detector(), images()
    recorder, losses = record(model, x, LAYERS, losses_from, bias)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        operator = GaussNewton.from_batch(losses, recorder)
    found = dense(operator, recorder)
    truth = dense_gauss_newton(model, recorder, x, losses_from, by_position)
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-10
    assert torch.linalg.eigvalsh(found).min() > -1e-10


def test_gauss_newton_keeps_what_is_needed_only():
    recorder, losses = record(detector(), images(), LAYERS, few_positives)
    terms = GaussNewtonBatch(losses, recorder).terms
    kinds = [(t.layer.name, type(t.curvature), t.patches) for t in terms]
    assert kinds == [('conv_cls', DiagonalCurvature, False)] * 2 + [
        ('conv_reg', BlockCurvature, True),
        ('conv_center', BlockCurvature, True)
    ]
    assert terms[2].curvature.blocks.shape == (3 * 2, 1, 4, 4)
    assert terms[3].curvature.blocks.shape == (3 * 2, 1, 1, 1)


def test_gauss_newton_in_single_precision():
    x = images(dtype=torch.float32)
    recorder, losses = record(
        detector(torch.float32), x, LAYERS, detector_losses)
    found = dense(GaussNewton.from_batch(losses, recorder), recorder)
    recorder, losses = record(detector(), images(), LAYERS, detector_losses)
    # The same images, rounded.
    recorder, losses = record(detector(), x.double(), LAYERS, detector_losses)
    truth = dense(GaussNewton.from_batch(losses, recorder), recorder)
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-4


@pytest.mark.parametrize('names', [LAYERS, ['trunk', 'conv_cls']])
def test_exact_hessian_equals_the_dense_one(names):
    model, x = detector(), images()
    recorder, losses = record(model, x, names, detector_losses)
    found = dense(ExactHessian.from_batch(losses, recorder), recorder)
    run, theta = functional(model, recorder,
                            lambda call: detector_losses(call(x)).mean())
    truth = torch.autograd.functional.hessian(run, theta)
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-10
    assert torch.linalg.eigvalsh(truth).min() < -1e-3


def test_exact_hessian_with_norm_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 2, 1)).double().eval()

    def losses_from(out):
        return out.sin().square().flatten(1).sum(1)

    x = images()
    recorder, losses = record(model, x, '*', losses_from)
    found = dense(ExactHessian.from_batch(losses, recorder), recorder)
    run, theta = functional(model, recorder,
                            lambda call: losses_from(call(x)).mean())
    truth = torch.autograd.functional.hessian(run, theta)
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-10


def classifier(rows, classes, anchors=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, classes * anchors)).double().eval()
    x = torch.randn(rows, 3).double()
    weight = torch.rand(rows, anchors).double()
    weight[0] = 0
    target = torch.randint(0, classes, (rows, anchors))

    def losses_from(out):
        out = out.view(rows, anchors, classes)
        ce = F.cross_entropy(
            out.movedim(-1, 1), target, reduction='none')
        return (ce * weight).sum(1)

    return model, x, losses_from


@pytest.mark.parametrize(('classes', 'anchors'), [(40, 1), (5, 3)])
def test_softmax_of_any_number_of_classes_is_exact(classes, anchors):
    model, x, losses_from = classifier(4, classes, anchors)
    recorder, losses = record(model, x, '*', losses_from)
    operator = GaussNewton.from_batch(losses, recorder)
    found = dense(operator, recorder)
    exact = dense(ExactHessian.from_batch(losses, recorder), recorder)
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-10
    curvature = operator.batches[0].terms[0].curvature
    assert isinstance(curvature, SoftmaxCurvature)
    assert curvature.rows.tolist() == [1, 2, 3]
    assert curvature.probs.shape == (3, anchors, classes)


def test_blocks_of_several_anchors():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 12, 1)).double().eval()
    mix = torch.randn(4, 4).double()

    def losses_from(out):
        boxes = out.unflatten(1, (3, 4)).movedim(2, -1)
        return (boxes @ mix).cos().flatten(1).sum(1)

    x = torch.randn(2, 2, 3, 3).double()
    recorder, losses = record(model, x, '*', losses_from)
    operator = GaussNewton.from_batch(losses, recorder)
    curvature = operator.batches[0].terms[0].curvature
    assert curvature.blocks.shape == (2 * 9, 3, 4, 4)
    assert torch.linalg.eigvalsh(dense(operator, recorder)).min() > -1e-9


def test_diagonal_of_grouped_convolutions_and_unlike_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)).double().eval()
    x = torch.randn(3, 4, 5, 5).double()
    recorder = LayerRecorder(model, '*')
    batches = []
    for part in x.split([2, 1]):
        recorder, losses = record(model, part, '*',
                                  lambda out: out.cosh().flatten(1).sum(1))
        batches.append(GaussNewtonBatch(losses, recorder))
    assert dense(GaussNewton(batches), recorder).diagonal().min() > 0


@pytest.mark.parametrize('position', range(12))
def test_a_single_curved_position_has_its_whole_block(position):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4)).double().eval()
    x = torch.randn(2, 12, 3).double()
    mix = torch.eye(4).double()
    mix[0, 2] = mix[1, 3] = 0.5

    def losses_from(out):
        return (out[:, position] @ mix).square().sum(1)

    recorder, losses = record(model, x, '*', losses_from)
    found = dense(GaussNewton.from_batch(losses, recorder), recorder)
    exact = dense(ExactHessian.from_batch(losses, recorder), recorder)
    torch.testing.assert_close(found, exact)


class Refined(nn.Module):
    """Two calls of a layer on the way to one box."""

    def __init__(self, sign, alike):
        super().__init__()
        self.fc = nn.Linear(3, 2, bias=False)
        self.sign = sign
        self.alike = alike

    def forward(self, x):
        other = x.sin() if self.alike else x.sin().unsqueeze(1)
        return self.fc(x) + self.sign * self.fc(other).view(len(x), 2)


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('alike', [True, False])
def test_calls_that_a_loss_couples_have_blocks_of_their_own(sign, alike):
    torch.manual_seed(0)
    model, x = Refined(sign, alike).double().eval(), torch.randn(2, 3).double()
    mix = torch.tensor([[2., 1.], [1., 3.]]).double()
    recorder, losses = record(
        model, x, '*',
        lambda out: torch.einsum('bi,ij,bj->b', out, mix, out))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = dense(GaussNewton.from_batch(losses, recorder), recorder)
    inputs = torch.cat([x, x.sin()])
    outer = torch.einsum('ri,rj->ij', inputs, inputs) / len(x)
    torch.testing.assert_close(found, torch.kron(2 * mix, outer))


def test_diagonal_of_inputs_in_half_precision():
    model = nn.Linear(2, 1, bias=False).eval()
    recorder = LayerRecorder(model, '*')
    with recorder, torch.autocast('cpu', torch.bfloat16):
        losses = model(torch.tensor([[300., 1.]])).float().square().sum(1)
    operator = GaussNewton.from_batch(losses, recorder)
    operator.batches[0].terms[0].input = torch.tensor([[300., 1.]]).half()
    found = flatten(operator.diagonal())
    torch.testing.assert_close(found, torch.tensor([180000., 2.]))


@pytest.mark.parametrize('channels', [2, 20])
def test_a_loss_that_couples_positions_is_told(channels):
    model = nn.Sequential(nn.Conv2d(3, channels, 1)).double().eval()

    def losses_from(out):
        return out.flatten(1).square().sum(1).square()

    recorder, losses = record(model, images(), '*', losses_from)
    with pytest.warns(UserWarning, match="layer '0' across positions"):
        operator = GaussNewton.from_batch(losses, recorder)
    values = torch.linalg.eigvalsh(dense(operator, recorder))
    assert values.min() > -1e-9 * values.max() and values.max() > 0


def test_losses_without_curvature():
    model = nn.Sequential(nn.Conv2d(3, 2, 1)).double().eval()
    recorder, losses = record(model, images(), '*',
                              lambda out: out.flatten(1).sum(1))
    for kind in (GaussNewton, ExactHessian):
        assert not dense(kind.from_batch(losses, recorder), recorder).any()
        empty = kind.from_batch(torch.zeros(2), recorder)
        assert not dense(empty, recorder).any()


def test_gauss_newton_refuses_what_it_cannot_do():
    model, x = detector(), images()
    recorder, losses = record(model, x, ['trunk', 'conv_cls'],
                              detector_losses)
    with pytest.raises(ValueError, match="'conv_cls' depends on another"):
        GaussNewtonBatch(losses, recorder)
    normed = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    recorder, losses = record(normed.double().eval(), x, '*',
                              lambda out: out.flatten(1).square().sum(1))
    with pytest.raises(ValueError, match=r"layers \['1'\] are not"):
        GaussNewtonBatch(losses, recorder)


class Once(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


@pytest.mark.parametrize('kind', [GaussNewton, ExactHessian])
def test_a_loss_without_second_derivative_is_told(kind):
    model = nn.Sequential(nn.Conv2d(3, 2, 1)).double().eval()
    recorder, losses = record(model, images(), '*',
                              lambda out: Once.apply(out).flatten(1).sum(1))
    with pytest.raises(RuntimeError, match='Python versions'):
        dense(kind.from_batch(losses, recorder), recorder)


BATCHES = {'gauss_newton': GaussNewtonBatch, 'exact': ExactHessianBatch}
KINDS = {'gauss_newton': GaussNewton, 'exact': ExactHessian}


def batch_factory(kind, sizes):
    model, x = detector(), images(sum(sizes))
    parts = x.split(sizes)

    def make(index):
        recorder, losses = record(model, parts[index], LAYERS,
                                  detector_losses)
        return BATCHES[kind](losses, recorder)

    return make, model


@pytest.mark.parametrize('kind', KINDS)
def test_the_mean_is_over_images_whatever_the_batches(kind):
    sizes = [2, 1]
    make, model = batch_factory(kind, sizes)
    recorder = LayerRecorder(model, LAYERS)
    operator = KINDS[kind]([make(0), make(1)])
    v = [torch.randn_like(p, requires_grad=False) for p in recorder.params]
    parts = [flatten(operator.batch_product(i, v)) for i in range(2)]
    assert torch.allclose(flatten(operator.product(v)), sum(parts) / 3)
    assert operator.num_images == 3 and operator.num_batches == 2


@pytest.mark.parametrize('kind', KINDS)
def test_batches_beyond_the_limit_are_made_again(kind):
    make, model = batch_factory(kind, [1, 1, 1, 1])
    recorder = LayerRecorder(model, LAYERS)
    v = [torch.randn_like(p, requires_grad=False) for p in recorder.params]
    everything = CachedBatches(make, 4)
    truth = flatten(KINDS[kind](everything).product(v))
    assert everything.builds == 4
    KINDS[kind](everything).product(v)
    assert everything.builds == 4 and everything.nbytes > 0
    limit = everything.nbytes // 2 + 8
    some = CachedBatches(make, 4, limit=limit)
    for _ in range(2):
        with torch.no_grad():
            found = flatten(KINDS[kind](some).product(v))
        assert torch.equal(found, truth)
    assert some.builds == 6 and some.nbytes <= limit
    assert some[3] is some[3] and some.builds == 6  # the one made last
    with pytest.raises(IndexError):
        some[4]


def test_bytes_are_those_of_inputs_patches_and_curvature():
    recorder, losses = record(detector(), images(), LAYERS, few_positives)
    batch = GaussNewtonBatch(losses, recorder)
    inputs = 3 * 4 * 8 * (6 * 8 + 3 * 4)
    cls = 3 * 3 * 8 * (6 * 8 + 3 * 4)
    reg = 6 * (4 * 9 * 8 + 16 * 8 + 8)
    center = 6 * (4 * 8 + 8 + 8)
    assert batch.nbytes == inputs + cls + reg + center


def test_bytes_count_shared_inputs_once():
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)]).double().eval()
    recorder = LayerRecorder(model, '*')
    x = torch.randn(5, 3).double()
    with recorder:
        losses = sum(m(x).square().sum(1) for m in model)
    batch = GaussNewtonBatch(losses, recorder)
    assert batch.nbytes == 8 * (5 * 3 + 2 * 5 * 2)


def test_no_batches():
    with pytest.raises(ValueError, match='at least one batch'):
        GaussNewton([])
