from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmal.influence import (
    LayerRecorder,
    image_products,
    mean_gradient,
    per_image_gradients,
)
from mmal.influence.products import call_gradients, graph_mark
from mmal.influence.vectors import axpy, dot, flatten, unflatten

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


class Shared(nn.Module):
    """A head called on two levels, as detectors do."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        levels = [x, F.avg_pool2d(x, 2)]
        outs = [
            self.last(F.relu(self.norm(self.tower(level)), inplace=True))
            for level in levels
        ]
        return torch.cat([o.flatten(2) for o in outs], -1)


MODELS = {
    'linear': (lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 5)), []),
    'linear on positions':
    (lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), []),
    'conv': (lambda: nn.Sequential(nn.Conv2d(4, 5, 3)), []),
    'groups, stride, dilation': (lambda: nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
        nn.ReLU(inplace=True), nn.Conv2d(6, 6, 1, groups=3)), []),
    'padding modes': (lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, padding_mode='circular'), nn.SiLU(),
        nn.Conv2d(4, 2, 3, padding='same', padding_mode='reflect'), nn.SiLU(),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode='replicate')), []),
    'no bias': (lambda: nn.Sequential(nn.Conv2d(4, 3, 3, bias=False)), []),
    'batch norm': (lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 2, 1)), ['1']),
    'repeated calls': (Shared, ['norm']),
}


def build(name, dtype=torch.float32):
    torch.manual_seed(0)
    make, fallback = MODELS[name]
    model = make().to(dtype)
    model(torch.randn(6, 4, 8, 8, dtype=dtype))  # running statistics
    return model.eval(), fallback


def losses_of(model, x):
    return model(x).sin().square().flatten(1).sum(1)


def one_at_a_time(recorder, losses_from, images):
    """The slow truth: one forward and one backward pass for each image."""
    rows = []
    with recorder:
        for i in range(len(images)):
            loss = losses_from(images[i:i + 1])[0]
            grads = torch.autograd.grad(loss, recorder.params,
                                        allow_unused=True)
            rows.append(
                torch.cat([
                    torch.zeros(p.numel(), dtype=p.dtype)
                    if g is None else g.flatten()
                    for g, p in zip(grads, recorder.params)
                ]))
    return torch.stack(rows)


def random_vectors(recorder, count=3):
    return [[torch.randn_like(p, requires_grad=False)
             for p in recorder.params] for _ in range(count)]


def assert_close(found, truth, tolerance):
    scale = truth.abs().max()
    assert scale > 0
    assert float((found - truth).abs().max() / scale) < tolerance


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_equals_one_image_at_a_time(name, bias, dtype):
    model, fallback = build(name, dtype)
    recorder = LayerRecorder(model, '*', bias=bias)
    images = torch.randn(5, 4, 8, 8, dtype=dtype)
    with recorder:
        losses = losses_of(model, images)
    vectors = random_vectors(recorder)
    with recorder.unfrozen():
        _, layers = call_gradients(losses, recorder)
    products = image_products(losses, recorder, vectors)
    single = image_products(losses, recorder, vectors[1])
    rows = per_image_gradients(losses, recorder)
    mean = flatten(mean_gradient(losses, recorder))
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    columns = torch.stack([flatten(v) for v in vectors], 1)
    tolerance = TOLERANCE[dtype]
    assert [la.name for la in layers] == fallback
    assert_close(products, truth @ columns, tolerance)
    assert_close(single, products[:, 1], tolerance)
    assert_close(rows, truth, tolerance)
    assert_close(mean, truth.mean(0), tolerance)
    assert not products.requires_grad


@pytest.mark.parametrize('names', ['last', ['tower'], ['tower', 'last']])
def test_layers_in_sequence_and_over_levels(names):
    model, _ = build('repeated calls')
    recorder = LayerRecorder(model, names)
    images = torch.randn(4, 4, 8, 8)
    with recorder:
        losses = losses_of(model, images)
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    assert_close(found, truth @ flatten(vector), 1e-5)


def test_one_image_and_no_image():
    model, _ = build('conv')
    recorder = LayerRecorder(model, '*')
    vector = random_vectors(recorder, 1)[0]
    with recorder:
        losses = losses_of(model, torch.randn(1, 4, 8, 8))
    truth = dot(mean_gradient(losses, recorder), vector)
    assert torch.allclose(image_products(losses, recorder, vector), truth)
    with recorder:
        losses = losses_of(model, torch.randn(0, 4, 8, 8))
    assert image_products(losses, recorder, vector).shape == (0, )
    assert per_image_gradients(losses, recorder).shape == (
        0, recorder.num_params)
    with pytest.raises(ValueError, match='no images'):
        mean_gradient(losses, recorder)


def test_images_whose_loss_is_empty_give_zero():
    model, _ = build('batch norm')
    recorder = LayerRecorder(model, '*')
    with recorder:
        out = model(torch.randn(3, 4, 8, 8))
        losses = [out[0].square().sum(), torch.zeros(()), out[2, 0, 0, 0]]
    vector = random_vectors(recorder, 1)[0]
    products = image_products(losses, recorder, vector)
    assert products[1] == 0 and products[0] != 0 and products[2] != 0
    nothing = image_products(torch.zeros(3), recorder, vector)
    assert torch.equal(nothing, torch.zeros(3))
    assert not flatten(mean_gradient(torch.zeros(3), recorder)).any()


def test_a_layer_the_loss_ignores_gives_zero():
    model, _ = build('groups, stride, dilation')
    recorder = LayerRecorder(model, ['0', '2'])
    with recorder:
        middle = model[0](torch.randn(2, 4, 8, 8))
        model[2](middle)
        losses = middle.square().flatten(1).sum(1)
    vector = random_vectors(recorder, 1)[0]
    only = [torch.zeros_like(v) for v in vector]
    only[2:] = vector[2:]
    assert image_products(losses, recorder, vector).abs().min() > 0
    assert not image_products(losses, recorder, only).any()


class Regions(nn.Module):
    """A layer called on regions, two of image 0 and none of image 1."""

    def __init__(self, owners):
        super().__init__()
        self.owners = owners
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        out = self.fc(x.mean((2, 3))[self.owners]).square().sum(1)
        return torch.zeros(len(x)).index_add(0, self.owners, out)


@pytest.mark.parametrize('owners', [[0, 0, 2], [0, 0, 1, 2, 2], [1, 0, 2]])
def test_calls_on_regions_fall_back(owners):
    torch.manual_seed(0)
    model = Regions(torch.tensor(owners)).eval()
    recorder = LayerRecorder(model, 'fc')
    images = torch.randn(3, 4, 2, 2)
    with recorder:
        losses = model(images)
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    with recorder.unfrozen():
        truth = torch.stack([
            dot(torch.autograd.grad(x, recorder.params, retain_graph=True),
                vector) if i in owners else torch.zeros(())
            for i, x in enumerate(losses)
        ])
    assert_close(found, truth, 1e-5)


def test_a_layer_seen_on_regions_is_never_trusted():
    torch.manual_seed(0)
    model = Regions(None).eval()
    recorder = LayerRecorder(model, 'fc')
    images = torch.randn(3, 4, 2, 2)
    # One region each looks like a row per image, the second batch does not.
    for owners in ([0, 1, 2], [0, 0, 1, 2], [1, 1, 2], [2, 1, 0]):
        model.owners = torch.tensor(owners)
        with recorder:
            losses = model(images)
        with recorder.unfrozen():
            _, layers = call_gradients(losses, recorder)
        assert bool(layers) == (owners != [0, 1, 2])


class Decoder(nn.Module):
    """Linear layers on [layers, B, queries, C] and on [B, queries, C]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.fc(self.conv(x).flatten(2).transpose(1, 2))
        return self.last(torch.stack([x.sin(), x.cos()])).transpose(0, 1)


@pytest.mark.parametrize('batch', [1, 2, 3])
def test_images_may_be_counted_by_another_dim(batch):
    torch.manual_seed(0)
    model = Decoder().eval()
    recorder = LayerRecorder(model, '*', image_dim=-3)
    images = torch.randn(batch, 4, 2, 2)
    with recorder:
        losses = losses_of(model, images)
    shapes = [tuple(c.input.shape) for c in recorder.calls]
    assert shapes == [(batch, 4, 2, 2), (batch, 4, 4), (batch, 2, 4, 4)]
    with recorder.unfrozen():
        assert not call_gradients(losses, recorder)[1]
    vector = random_vectors(recorder, 1)[0]
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    assert_close(
        image_products(losses, recorder, vector), truth @ flatten(vector),
        1e-5)
    assert_close(per_image_gradients(losses, recorder), truth, 1e-5)


class Around(nn.Module):
    """Uses a weight by a call and directly as well."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.tied = nn.Conv2d(4, 4, 1, bias=False)
        self.tied.weight = self.conv.weight

    def forward(self, x):
        x = F.conv2d(self.conv(x), self.conv.weight)
        return self.tied(x)


def test_weights_used_without_a_call_and_tied_weights():
    torch.manual_seed(0)
    model = Around().eval()
    recorder = LayerRecorder(model, '*')
    assert len(recorder.params) == 2
    images = torch.randn(3, 4, 5, 5)
    with recorder:
        losses = losses_of(model, images)
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    assert_close(found, truth @ flatten(vector), 1e-5)


class Changing(nn.Module):
    """Uses weights by calls alone, or directly where a batch asks for it."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x, odd):
        middle = self.first(x)
        if self.how == 'routed' and odd is not None:
            # as many operations each time, and no call of its own
            weight = (self.first, self.last)[odd].weight
            return F.conv2d(self.last(middle), weight)
        if self.how == 'more calls' and odd:
            middle = self.last(self.first(middle))
        out = self.last(middle)
        if odd and self.how == 'decay':
            return out + self.first.weight.square().sum()
        if odd and self.how == 'instead':
            return F.conv2d(middle, self.last.weight, self.last.bias)
        if self.how == 'by size' and x.size(-1) > 5:
            return F.conv2d(out, self.first.weight)
        return out


@pytest.mark.parametrize('layers', ['*', 'last'])
@pytest.mark.parametrize('how,first,odds', [
    ('decay', 0, (0, 1, 0)), ('instead', 0, (0, 1, 0)),
    ('more calls', 0, (1, 0, 1)), ('by size', 0, (0, 0)),
    ('routed', 0, (1, 0, 1)), ('routed', None, (0, 1, 0))])
def test_a_graph_that_changes_from_batch_to_batch(how, first, odds, layers):
    torch.manual_seed(0)
    model = Changing(how).double().eval()
    recorder = LayerRecorder(model, layers)
    vector = random_vectors(recorder, 1)[0]
    for n, odd in enumerate((first, first, *odds)):
        size = 5 if n < 2 else 6
        images = torch.randn(3, 4, size, size).double()

        def losses_from(x, odd=odd):
            return model(x, odd).sin().square().flatten(1).sum(1)

        with recorder:
            losses = losses_from(images)
        found = image_products(losses, recorder, vector)
        truth = one_at_a_time(recorder, losses_from, images)
        assert_close(found, truth @ flatten(vector), 1e-9)


def test_a_graph_is_walked_once():
    torch.manual_seed(0)
    model = Changing('decay').eval()
    recorder = LayerRecorder(model, '*')
    vector = random_vectors(recorder, 1)[0]

    def is_remembered(odd, size=5, batch=3):
        with recorder:
            losses = losses_of(partial(model, odd=odd),
                               torch.randn(batch, 4, size, size))
        mark = graph_mark(losses, recorder, recorder.calls)
        before = set(recorder.clean_graphs)
        image_products(losses, recorder, vector)
        return mark in before

    assert [is_remembered(0) for _ in range(3)] == [False, True, True]
    assert not is_remembered(0, size=6)
    assert not is_remembered(0, batch=2)
    assert is_remembered(0)
    # a weight beside its call: nothing is believed from now on
    assert not is_remembered(1)
    assert not any(is_remembered(odd) for odd in (0, 0, 1, 0))


def test_a_weight_shared_with_a_layer_on_regions():
    torch.manual_seed(0)
    model = Regions(torch.tensor([0, 0, 1, 2])).eval()
    model.first = nn.Linear(4, 2, bias=False)
    model.first.weight = model.fc.weight
    recorder = LayerRecorder(model, '*')
    x = torch.randn(3, 4, 2, 2)
    with recorder:
        losses = model(x) + model.first(x[..., 0, 0]).square().sum(1)
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    with recorder.unfrozen():
        truth = torch.stack([
            dot(torch.autograd.grad(x, recorder.params, retain_graph=True),
                vector) for x in losses
        ])
    assert_close(found, truth, 1e-5)


def test_tied_weights_alone_need_no_fallback():
    torch.manual_seed(0)
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
    third = nn.Conv2d(4, 4, 1, bias=False)
    third.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third).eval()
    recorder = LayerRecorder(model, '*')
    images = torch.randn(3, 4, 5, 5)
    with recorder:
        losses = losses_of(model, images)
    with recorder.unfrozen():
        assert call_gradients(losses, recorder)[1] == []
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    assert_close(found, truth @ flatten(vector), 1e-5)


def test_an_input_changed_in_place_is_an_error():
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    recorder = LayerRecorder(model, '*')
    x = torch.ones(2, 3)
    with recorder:
        losses = model(x).sum(1)
    x.add_(1)
    with pytest.raises(RuntimeError, match="layer '0' was changed in place"):
        image_products(losses, recorder, random_vectors(recorder, 1)[0])


def test_a_frozen_model_works():
    model, _ = build('batch norm')
    model.requires_grad_(False)
    recorder = LayerRecorder(model, '*')
    with recorder:
        losses = losses_of(model, torch.randn(2, 4, 8, 8))
    products = image_products(losses, recorder, random_vectors(recorder, 1)[0])
    assert products.abs().min() > 0
    assert not any(p.requires_grad for p in model.parameters())


def test_autocast_outputs():
    model, _ = build('conv')
    recorder = LayerRecorder(model, '*')
    images = torch.randn(3, 4, 8, 8)
    with recorder, torch.autocast('cpu', dtype=torch.bfloat16):
        losses = losses_of(model, images).float()
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    truth = one_at_a_time(recorder, lambda x: losses_of(model, x), images)
    assert_close(found, truth @ flatten(vector), 0.05)


def test_wrong_shapes_are_told():
    model, _ = build('conv')
    recorder = LayerRecorder(model, '*')
    with recorder:
        losses = losses_of(model, torch.randn(2, 4, 8, 8))
    with pytest.raises(ValueError, match='parameters of shapes'):
        image_products(losses, recorder, [torch.zeros(3)])
    with pytest.raises(ValueError, match=r'shape \[B\]'):
        image_products(losses.mean(), recorder,
                       [torch.zeros_like(p) for p in recorder.params])
    with pytest.raises(ValueError, match='no parameter vector'):
        image_products(losses, recorder, [])


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 4),
    groups=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    size=st.integers(3, 6),
    power=st.integers(-6, 6),
    seed=st.integers(0, 99))
def test_any_convolution(batch, groups, kernel, stride, size, power, seed):
    torch.manual_seed(seed)
    conv = nn.Conv2d(4, 2, kernel, stride, padding=kernel // 2, groups=groups)
    model = nn.Sequential(conv).double().eval()
    recorder = LayerRecorder(model, '*')
    images = torch.randn(batch, 4, size, size).double()

    def losses_from(x):
        return 10.**power * losses_of(model, x)

    with recorder:
        losses = losses_from(images)
    vector = random_vectors(recorder, 1)[0]
    found = image_products(losses, recorder, vector)
    truth = one_at_a_time(recorder, losses_from, images) @ flatten(vector)
    assert_close(found, truth, 1e-9)


def test_vector_helpers():
    a = [torch.tensor([1., 2.]), torch.tensor([[3.]])]
    assert torch.equal(flatten(axpy(2., a, a)), torch.tensor([3., 6., 9.]))
    assert float(dot(a, a)) == 14
    back = unflatten(flatten(a), a)
    assert all(torch.equal(x, y) for x, y in zip(a, back))
    with pytest.raises(ValueError, match='3 entries'):
        unflatten(torch.zeros(2), a)
    with pytest.raises(ValueError, match='different layers'):
        dot(a, a[:1])
