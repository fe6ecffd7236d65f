"""Whether torchvision can be used is found out by using it."""
import pytest
import torch
from mmengine.logging import MMLogger

from mmal.compat.torchvision_ops import torchvision_ops


def test_operators_that_work_are_used_and_tried_once(torchvision):
    tried = []

    def nms(boxes, scores, iou_threshold):
        tried.append(boxes.device.type)
        return torch.arange(len(boxes))

    torchvision.ops.nms = nms
    assert torchvision_ops('cpu') is torchvision.ops
    assert torchvision_ops('cpu') is torchvision.ops
    assert tried == ['cpu']


def test_each_kind_of_device_is_tried_by_itself(torchvision):
    """A torchvision that was built for the CPU only."""

    def nms(boxes, scores, iou_threshold):
        if boxes.device.type != 'cpu':
            raise NotImplementedError('no kernel for this device')
        return torch.arange(len(boxes))

    torchvision.ops.nms = nms
    assert torchvision_ops('meta') is None
    assert torchvision_ops('cpu') is torchvision.ops


@pytest.mark.parametrize('error', [
    RuntimeError('operator torchvision::nms does not exist'),
    OSError('undefined symbol'), AttributeError('extension')])
def test_a_torchvision_of_another_torch_is_not_used(torchvision, error):
    """It fails where it is called, or already where it is imported."""

    def nms(boxes, scores, iou_threshold):
        raise error

    torchvision.ops.nms = nms
    assert torchvision_ops('cpu') is None
    torchvision_ops.cache_clear()
    del torchvision.ops

    def missing(name):
        raise error

    torchvision.__getattr__ = missing
    assert torchvision_ops('cpu') is None


def test_without_torchvision_there_are_none():
    assert torchvision_ops('cpu') is None


def test_a_gpu_without_torchvision_is_told_once(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        torchvision_ops.cache_clear()
        torchvision_ops('cpu')
        assert not caplog.records
        for _ in range(2):
            assert torchvision_ops('cuda') is None
    finally:
        logger.removeHandler(caplog.handler)
    record, = caplog.records
    assert record.levelname == 'WARNING'
    for word in ('nms', 'roi_align', f'fits torch {torch.__version__}'):
        assert word in record.getMessage()
