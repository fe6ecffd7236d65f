"""conv6 and conv7 of SSD from fc6 and fc7 of VGG16."""
import shutil

import pytest
import torch
from mmdet.models.backbones import SSDVGG
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mmal.compat.checkpoints import UnsafeCheckpointError
from mmal.models.backbones import VGG16ForSSD, decimate_vgg16

FC6, FC7 = 'classifier.0', 'classifier.3'


@pytest.fixture(scope='module')
def features():
    """The convolutions as torchvision names them, with random weights."""
    torch.manual_seed(0)
    return {f'features.{name}': torch.randn_like(value) / 50
            for name, value in SSDVGG(16).features.state_dict().items()
            if int(name.split('.')[0]) < 30}


@pytest.fixture(scope='module')
def checkpoint(features, tmp_path_factory):
    """A file of the right shapes; the rows of fc6 and of fc7 are equal, for
    such a tensor takes little space."""
    path = tmp_path_factory.mktemp('vgg16') / 'vgg16.pth'
    torch.save({
        **features,
        f'{FC6}.weight': torch.randn(512 * 7 * 7).expand(4096, -1),
        f'{FC6}.bias': torch.randn(4096),
        f'{FC7}.weight': torch.randn(4096).expand(4096, -1),
        f'{FC7}.bias': torch.randn(4096),
        'classifier.6.weight': torch.randn(4096).expand(1000, -1),
        'classifier.6.bias': torch.randn(1000)
    }, path)
    return str(path)


def test_every_4th_channel_and_every_3rd_position_is_kept(features):
    """Random bytes, since the weights themselves would take 500 MB."""
    torch.manual_seed(1)
    fc6 = torch.empty(4096, 512 * 7 * 7, dtype=torch.int8).random_()
    fc7 = torch.empty(4096, 4096, dtype=torch.int8).random_()
    bias6, bias7 = torch.randn(2, 4096)
    weights = decimate_vgg16({
        **features, f'{FC6}.weight': fc6, f'{FC6}.bias': bias6,
        f'{FC7}.weight': fc7, f'{FC7}.bias': bias7})
    assert set(weights) == {*features, 'features.31.weight',
                            'features.31.bias', 'features.33.weight',
                            'features.33.bias'}
    assert all(weights[name] is features[name] for name in features)
    conv6, conv7 = weights['features.31.weight'], weights['features.33.weight']
    assert conv6.shape == (1024, 512, 3, 3)
    assert conv7.shape == (1024, 1024, 1, 1)
    for output in (0, 1, 500, 1023):
        for channel in range(512):
            for row in range(3):
                for column in range(3):
                    place = channel * 49 + 3 * row * 7 + 3 * column
                    assert conv6[output, channel, row, column] == \
                        fc6[4 * output, place]
        for channel in range(1024):
            assert conv7[output, channel, 0, 0] == fc7[4 * output, 4 * channel]
    for output in range(1024):
        assert weights['features.31.bias'][output] == bias6[4 * output]
        assert weights['features.33.bias'][output] == bias7[4 * output]


@pytest.mark.parametrize('name', ['ssd300_vgg16', 'ssd512_vgg16',
                                  'ssd300_vgg16_coco'])
def test_the_configs_start_from_all_weights_of_the_file(checkpoint, name):
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(f'configs/_base_/models/{name}.py').model
    assert cfg.backbone.init_cfg.checkpoint == 'torchvision://vgg16'
    cfg.backbone.init_cfg.checkpoint = checkpoint
    model = MODELS.build(cfg)
    model.init_weights()
    wanted = decimate_vgg16(torch.load(checkpoint, weights_only=True))
    backbone = model.backbone.state_dict()
    assert len(wanted) == len(backbone) == 30
    for key, value in backbone.items():
        assert torch.equal(value, wanted[key]), key


def test_a_checkpoint_of_a_training_holds_the_weights_in_it(checkpoint,
                                                            tmp_path):
    weights = torch.load(checkpoint, weights_only=True)
    path = tmp_path / 'epoch_90.pth'
    torch.save({'state_dict': weights, 'meta': {}}, path)
    backbone = SSDVGG(16)
    VGG16ForSSD(str(path))(backbone)
    assert torch.equal(backbone.features[33].bias,
                       weights[f'{FC7}.bias'][::4])


def test_a_file_without_the_classifier_is_refused(features, tmp_path):
    path = tmp_path / 'vgg16_features.pth'
    torch.save(features, path)
    with pytest.raises(ValueError, match='vgg16_features.pth.*classifier.0'):
        VGG16ForSSD(str(path))(SSDVGG(16))


def test_another_backbone_is_refused(checkpoint):
    with pytest.raises(ValueError, match='SSDVGG of depth 16'):
        VGG16ForSSD(checkpoint)(SSDVGG(11))


def test_code_in_the_file_is_not_run(tmp_path):
    victim = tmp_path / 'folder'
    victim.mkdir()

    class Code:

        def __reduce__(self):
            return shutil.rmtree, (str(victim), )

    torch.save({'features.0.weight': Code()}, tmp_path / 'vgg16.pth')
    with pytest.raises(UnsafeCheckpointError):
        VGG16ForSSD(str(tmp_path / 'vgg16.pth'))(SSDVGG(16))
    assert victim.is_dir()
