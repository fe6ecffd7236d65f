"""Networks of timm and torchvision, in place of which small ones stand where
the packages are not there."""
import sys
import types

import pytest
import torch
from torch import nn

from mmal.models.backbones import TimmBackbone, TorchvisionBackbone
from mmal.registry import MODELS

CONFIG = dict(mean=(.5, .4, .3), std=(.2, .25, .5), input_size=(3, 24, 32))


class Small(nn.Module):
    """A class token of a picture cut into four."""

    def __init__(self, num_classes=10, width=6, **kwargs):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.head = nn.Linear(width, num_classes) if num_classes else \
            nn.Identity()

    def forward(self, x):
        return self.head(self.patches(x).mean((2, 3)))


def checkpoint_filter_fn(weights, network):
    """As those of timm's modules: other names, among others."""
    return {k.replace('pieces', 'patches'): v for k, v in weights.items()}


def unreachable(*args, **kwargs):
    raise OSError('no route to host')


@pytest.fixture
def timm(monkeypatch):
    def create_model(name, pretrained, num_classes, **kwargs):
        if name != 'small':
            raise RuntimeError(f'Unknown model ({name})')
        if pretrained:
            unreachable()
        return Small(num_classes, **kwargs)

    package = types.ModuleType('timm')
    package.create_model = create_model
    package.data = types.SimpleNamespace(
        resolve_model_data_config=lambda network: CONFIG)
    monkeypatch.setitem(sys.modules, 'timm', package)


@pytest.fixture
def torchvision(monkeypatch):
    images = types.SimpleNamespace(mean=CONFIG['mean'], std=CONFIG['std'],
                                   crop_size=[24])
    weights = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(
        transforms=lambda: images))
    models = types.ModuleType('torchvision.models')
    known = dict(small=Small)
    models.get_model_weights = lambda name: (known[name], weights)[1]
    models.get_model = lambda name, weights, **kwargs: \
        unreachable() if weights else known[name](**kwargs)
    package = types.ModuleType('torchvision')
    package.models = models
    monkeypatch.setitem(sys.modules, 'torchvision', package)
    monkeypatch.setitem(sys.modules, 'torchvision.models', models)


both = pytest.mark.parametrize('kind', [TimmBackbone, TorchvisionBackbone])


@both
def test_the_last_layer_is_left_out(kind, timm, torchvision, tmp_path):
    whole, path = Small(), str(tmp_path / 'small.pth')
    torch.save(dict(state_dict={
        f'module.{k}': v for k, v in whole.state_dict().items()}), path)
    network = MODELS.build(dict(type=kind, name='small', pretrained=path))
    images = torch.rand(2, 3, 24, 32)
    torch.testing.assert_close(network(images),
                               whole.patches(images).mean((2, 3)))
    assert network.input_size == (
        (24, 32) if kind is TimmBackbone else (24, 24))
    assert network.data_preprocessor == dict(
        mean=[127.5, 102., 76.5], std=[51., 63.75, 127.5], bgr_to_rgb=True)
    assert kind('small', pretrained=False)(images).shape == (2, 6)


def test_timm_translates_the_names_of_others(timm, tmp_path):
    whole, path = Small(), str(tmp_path / 'small.pth')
    torch.save({k.replace('patches', 'pieces'): v
                for k, v in whole.state_dict().items()}, path)
    network = TimmBackbone('small', path, img_size=16)
    assert network.input_size == (16, 16)
    torch.testing.assert_close(network.network.patches.weight,
                               whole.patches.weight)


@both
def test_weights_that_do_not_fit_are_refused(kind, timm, torchvision,
                                             tmp_path):
    whole, path = Small().state_dict(), str(tmp_path / 'small.pth')
    del whole['patches.bias']
    torch.save(whole, path)
    with pytest.raises(ValueError, match='lacks 1 of .* e.g. patches.bias'):
        kind('small', path)
    torch.save(Small(width=5).state_dict(), path)
    with pytest.raises(ValueError, match='do not fit small'):
        kind('small', path)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        kind('small', str(tmp_path / 'nowhere.pth'))


@both
def test_what_cannot_be_made_is_named(kind, timm, torchvision):
    with pytest.raises(ValueError, match="no .* 'smal'"):
        kind('smal', pretrained=False)
    with pytest.raises(ValueError, match="no route .*set pretrained='/path"):
        kind('small')


@both
def test_a_package_that_is_not_there_is_named(kind, monkeypatch):
    for name in ('timm', 'torchvision', 'torchvision.models'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r'pip install "mmdet-al\[timm\]"'):
        kind('resnet18')


def packages():
    try:
        import timm
        import torchvision
    except (ImportError, RuntimeError):
        return None
    return timm, torchvision


real = pytest.mark.skipif(packages() is None,
                          reason='timm or torchvision cannot be imported')


@real
@pytest.mark.parametrize('name, options, size, dim', [
    ('vit_tiny_patch16_224', dict(img_size=32), (32, 32), 192),
    ('vit_small_patch14_dinov2.lvd142m', dict(img_size=28), (28, 28), 384),
    ('resnet10t', {}, (176, 176), 512)])
def test_networks_of_timm(name, options, size, dim):
    network = TimmBackbone(name, False, **options).eval()
    assert network.input_size == size
    assert network(torch.rand(2, 3, *size)).shape == (2, dim)


@real
@pytest.mark.parametrize('name, size, dim', [
    ('resnet18', 224, 512), ('vit_b_32', 224, 768),
    ('mobilenet_v3_small', 224, 1024), ('convnext_tiny', 224, 768)])
def test_networks_of_torchvision(name, size, dim, tmp_path):
    import torchvision
    network = TorchvisionBackbone(name, False).eval()
    assert network.input_size == (size, size)
    assert network(torch.rand(1, 3, size, size)).shape == (1, dim)
    if name == 'resnet18':
        path = str(tmp_path / 'resnet18.pth')
        whole = torchvision.models.resnet18()
        torch.save(whole.state_dict(), path)
        loaded = TorchvisionBackbone(name, path).network
        torch.testing.assert_close(loaded.conv1.weight, whole.conv1.weight)


@real
def test_dinov2_of_the_hub(tmp_path):
    """Its own names of weights, and a token that timm's does not have."""
    name = 'vit_small_patch14_dinov2.lvd142m'
    network = TimmBackbone(name, False, img_size=28, depth=1)
    weights = dict(network.network.state_dict())
    path = str(tmp_path / 'hub.pth')
    torch.save(dict(weights, mask_token=torch.zeros(1, 384)), path)
    loaded = TimmBackbone(name, path, img_size=28, depth=1)
    for key, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, weights[key])


@real
def test_weights_in_safetensors(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    network = TimmBackbone('resnet10t', False).network
    path = str(tmp_path / 'resnet10t.safetensors')
    safetensors.save_file(network.state_dict(), path)
    loaded = TimmBackbone('resnet10t', path).network
    torch.testing.assert_close(loaded.state_dict(), network.state_dict())
