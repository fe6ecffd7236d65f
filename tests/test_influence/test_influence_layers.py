import pytest
import torch
from helpers.waits import Waits
from torch import nn

from mmal.influence import LayerRecorder, find_layers, register_affine
from mmal.influence.layers import (
    AFFINE_TYPES,
    apply_affine,
    apply_affine_many,
    input_patches,
    is_affine,
)


class Head(nn.Module):

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.conv_cls = nn.Conv2d(4, 2, 1)
        self.conv_reg = nn.Conv2d(4, 4, 1)
        self.alias = self.conv_reg

    def forward(self, x):
        x = self.tower(x)
        return self.conv_cls(x), self.conv_reg(x)


class Model(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.head = Head()

    def forward(self, x):
        return self.head(self.backbone(x))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


@pytest.mark.parametrize(
    ('names', 'expected'),
    [('head.conv_cls', ['head.conv_cls']),
     ('head.conv_*', ['head.conv_cls', 'head.conv_reg']),
     ('head', ['head.tower.0', 'head.conv_cls', 'head.conv_reg']),
     (['head.alias'], ['head.conv_reg']),
     (['head.conv_reg', 'head.conv_cls'], ['head.conv_cls', 'head.conv_reg']),
     ('backbone', ['backbone.0', 'backbone.1'])])
def test_names_patterns_and_containers(model, names, expected):
    assert list(find_layers(model, names)) == expected


def test_a_misspelt_name_is_told_with_the_closest(model):
    with pytest.raises(ValueError, match=r"'head.conv_clss'.*head\.conv_cls"):
        find_layers(model, ['head.conv_reg', 'head.conv_clss'])


def test_a_layer_without_parameters_is_told(model):
    with pytest.raises(ValueError, match='has no parameters'):
        find_layers(model, 'head.tower.1')


def test_no_names(model):
    with pytest.raises(ValueError, match='no layer names'):
        find_layers(model, [])


def test_only_chosen_parameters_require_grad_inside(model):
    model.backbone[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    recorder = LayerRecorder(model, 'head.conv_cls', bias=False)
    with torch.no_grad(), recorder:
        chosen = [p for p in model.parameters() if p.requires_grad]
        cls, reg = model(torch.rand(2, 3, 5, 5))
    assert [id(p) for p in chosen] == [id(model.head.conv_cls.weight)]
    assert cls.requires_grad and not reg.requires_grad
    assert [p.requires_grad for p in model.parameters()] == before


def test_restored_when_the_block_raises(model):
    before = [p.requires_grad for p in model.parameters()]
    recorder = LayerRecorder(model, 'head.conv_cls')
    with torch.no_grad():
        with pytest.raises(KeyError), recorder:
            raise KeyError
        assert not torch.is_grad_enabled()
    assert [p.requires_grad for p in model.parameters()] == before
    assert not model.head.conv_cls._forward_hooks


def test_outputs_survive_in_place_activations(model):
    recorder = LayerRecorder(model, ['head.tower.0', 'head.conv_cls'])
    x = torch.randn(2, 3, 5, 5)
    with recorder:
        model(x)
    first, second = recorder.calls
    conv = model.head.tower[0]
    assert torch.equal(first.output, conv(model.backbone(x)))
    assert torch.equal(second.input, conv(model.backbone(x)).relu())
    assert not first.input.requires_grad and not second.input.requires_grad


def test_entering_again_forgets(model):
    recorder = LayerRecorder(model, 'head.conv_cls')
    for _ in range(2):
        with recorder:
            model(torch.rand(1, 3, 4, 4))
    assert len(recorder.calls) == 1
    recorder.clear()
    assert recorder.calls == []
    with recorder, pytest.raises(RuntimeError, match='twice'), recorder:
        pass


def test_bias_flag_drops_biases(model):
    with_bias = LayerRecorder(model, 'head.conv_*')
    without = LayerRecorder(model, 'head.conv_*', bias=False)
    assert with_bias.num_params - without.num_params == 2 + 4
    assert all(p.dim() == 4 for p in without.params)


def test_wrappers_are_affine_only_when_registered():

    class Wrapped(nn.Linear):
        pass

    assert not is_affine(Wrapped(2, 2))
    try:
        register_affine(Wrapped)
        assert is_affine(Wrapped(2, 2))
    finally:
        AFFINE_TYPES.discard(Wrapped)
    with pytest.raises(TypeError, match='BatchNorm2d'):
        register_affine(nn.BatchNorm2d)


def test_a_reparametrised_layer_is_not_affine():
    assert is_affine(nn.Linear(3, 2))
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    assert not is_affine(normed)


@pytest.mark.parametrize('module, shape', [
    (nn.Linear(6, 4), (3, 5, 6)),
    (nn.Linear(6, 4), (3, 6)),
    (nn.Conv1d(6, 4, 3, stride=2, groups=2, padding=1), (3, 6, 9)),
    (nn.Conv2d(6, 4, 3, padding=2, dilation=2), (3, 6, 7, 8)),
    (nn.Conv2d(6, 12, 3, padding=1, groups=6,
               padding_mode='reflect'), (3, 6, 5, 5)),
    (nn.Conv2d(6, 4, 3, padding='same', padding_mode='circular',
               groups=2), (3, 6, 5, 5)),
    (nn.Conv3d(2, 4, 2, groups=2), (3, 2, 4, 4, 4)),
])
def test_many_parameters_at_once(module, shape):
    x = torch.randn(shape)
    weights = [torch.randn_like(module.weight) for _ in range(3)]
    biases = [torch.randn_like(module.bias) for _ in range(3)]
    weights[0], biases[0] = module.weight, module.bias
    many = apply_affine_many(module, x, weights, biases)
    assert torch.allclose(many[0], module(x), atol=1e-5)
    for out, weight, bias in zip(many, weights, biases):
        alone = apply_affine(module, x, weight, bias)
        assert torch.allclose(out, alone, atol=1e-5)


@pytest.mark.parametrize('module, shape', [
    (nn.Linear(6, 4), (3, 5, 6)),
    (nn.Conv2d(6, 4, (3, 2), stride=2, padding=(2, 1), dilation=2),
     (3, 6, 7, 8)),
    (nn.Conv2d(6, 4, 3, padding=1, padding_mode='reflect'), (2, 6, 5, 4)),
    (nn.Conv2d(6, 4, 4, padding='same', padding_mode='circular'),
     (2, 6, 5, 5)),
])
def test_patches_are_what_a_layer_sees(module, shape):
    x = torch.randn(shape)
    out = module(x)
    if out.dim() == 4:
        out = out.movedim(1, -1)
    out = out.reshape(-1, 4)
    rows = torch.arange(0, len(out), 3)
    with Waits() as waits:
        seen = input_patches(module, x, rows)
    assert waits.names == []
    found = seen @ module.weight.flatten(1).T + module.bias
    assert torch.allclose(found, out[rows], atol=1e-5)
    assert input_patches(nn.Conv2d(6, 4, 1, groups=2), x, rows) is None


def test_what_autocast_rounds_is_recorded_in_full():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(5, 3, 6, 6)
    recorder = LayerRecorder(model, ['0', '2'])
    with torch.autocast('cpu', torch.bfloat16), recorder:
        y = model(x)
    assert y.dtype == torch.float32
    for call in recorder.calls:
        assert call.output.dtype == torch.float32
        full = call.layer.module(call.input.float())
        assert torch.equal(call.output, full)
    grads = torch.autograd.grad(y.square().mean(), recorder.params)
    assert {g.dtype for g in grads} == {torch.float32}
    exact = torch.autograd.grad(model(x).square().mean(),
                                list(model.parameters()))
    for g, e in zip(grads, exact):
        torch.testing.assert_close(g, e, rtol=0.02, atol=1e-3)
