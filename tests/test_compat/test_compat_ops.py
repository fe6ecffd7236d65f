"""The stand-in for mmcv._ext as a module."""
import copy
import importlib
import importlib.machinery
import inspect
import pkgutil
import subprocess
import sys
import types

import pytest
import torch
from mmcv.utils.ext_loader import load_ext
from mmengine.config import ConfigDict
from mmengine.utils.dl_utils import mmcv_full_available

from mmal.compat import ops

pytestmark = pytest.mark.skipif(ops.has_compiled_ops(),
                                reason='the compiled mmcv is installed')


@pytest.fixture
def module():
    return sys.modules['mmcv._ext']


def test_mmdet_imports_and_a_detector_predicts():
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    model = MODELS.build(ConfigDict(
        type='FCOS',
        backbone=dict(type='ResNet', depth=18, out_indices=(3, )),
        neck=dict(type='FPN', in_channels=[512], out_channels=8, num_outs=1),
        bbox_head=dict(type='FCOSHead', num_classes=2, in_channels=8,
                       feat_channels=8, stacked_convs=1, strides=[32],
                       regress_ranges=((-1, 1e8), ), norm_cfg=None),
        test_cfg=dict(nms_pre=100, score_thr=0., max_per_img=5,
                      nms=dict(type='nms', iou_threshold=0.5))))
    model.eval()
    sample = DetDataSample(metainfo=dict(
        img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1., 1.)))
    with torch.no_grad():
        result, = model.predict(torch.rand(1, 3, 64, 64), [sample])
    assert 0 < len(result.pred_instances) <= 5


def test_other_operators_are_there_and_say_what_to_install(module):
    assert load_ext('_ext', ['nms', 'nms_rotated', 'border_align_forward'])
    with pytest.raises(NotImplementedError,
                       match="'nms_rotated' needs the compiled mmcv") as info:
        module.nms_rotated(torch.zeros(1, 5), torch.zeros(1))
    assert 'pip uninstall -y mmcv-lite' in str(info.value)
    assert 'mmcv>=2.0.0' in str(info.value)
    assert isinstance(info.value, ops.MissingOperatorError)


def test_a_layer_of_mmcv_without_stand_in_names_its_operator():
    from mmcv.ops import SoftmaxFocalLoss
    with pytest.raises(NotImplementedError, match='softmax_focal_loss_fo'):
        SoftmaxFocalLoss(2., .25)(torch.zeros(1, 2), torch.zeros(1).long())


@pytest.mark.parametrize('name', ['__path__', '__file__', '__wrapped__',
                                  '__reduce_me__', '_private'])
def test_special_names_are_missing(module, name):
    assert not hasattr(module, name)


def test_it_bears_inspection(module):
    assert isinstance(module, types.ModuleType)
    assert 'nms' in dir(module) and 'mmcv._ext' in repr(module)
    assert inspect.getmodule(ops.register) is ops
    assert inspect.unwrap(module) is module
    assert dict(inspect.getmembers(module))['nms'] is ops.nms
    with pytest.raises(TypeError):
        copy.deepcopy(module)


def test_it_is_not_taken_for_the_full_mmcv(module):
    assert module.__spec__.loader is None
    assert importlib.import_module('mmcv._ext') is module
    if sys.version_info < (3, 12):
        assert pkgutil.find_loader('mmcv._ext') is None
        assert not mmcv_full_available()


def test_registering_again_keeps_the_module(module):
    assert ops.register() is True
    assert sys.modules['mmcv._ext'] is module


def test_a_module_of_others_is_left_alone(monkeypatch):
    other = types.ModuleType('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', other)
    assert ops.register() is False
    assert sys.modules['mmcv._ext'] is other


def test_compiled_operators_are_left_alone(tmp_path):
    """A full mmcv, made of an empty package and an extension module."""
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('raise RuntimeError("imported")')
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    code = (f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
            'from mmal.compat import ops\n'
            'print(ops.has_compiled_ops(), ops.register(),'
            ' "mmcv._ext" in sys.modules)')
    for compiled in (False, True):
        if compiled:
            (package / f'_ext{suffix}').write_bytes(b'')
        result = subprocess.run([sys.executable, '-c', code], text=True,
                                capture_output=True, check=True)
        wanted = 'True False False' if compiled else 'False True True'
        assert result.stdout.strip() == wanted
