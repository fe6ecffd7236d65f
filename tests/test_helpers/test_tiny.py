import json
import os.path as osp

import pytest
import torch
from helpers.tiny import tiny_coco, tiny_config, tiny_fcos
from mmengine.runner import Runner


def _read(root, split):
    with open(osp.join(root, f'{split}.json')) as f:
        return json.load(f)


def test_data_set_has_what_trips_careless_code(tmp_path):
    root = tiny_coco(str(tmp_path))
    pool, val = _read(root, 'pool'), _read(root, 'val')
    ids = [image['id'] for image in pool['images']]
    names = [image['file_name'] for image in pool['images']]
    shapes = {(image['height'], image['width']) for image in pool['images']}
    with_boxes = {box['image_id'] for box in pool['annotations']}
    assert len(ids) == len(set(ids)) == 12 and len(val['images']) == 6
    assert len(shapes) > 2
    assert sorted(ids) != ids and sorted(names) == names
    assert len(with_boxes) == 11
    assert not set(ids) & {image['id'] for image in val['images']}


def test_boxes_frame_their_rectangles(tmp_path):
    import cv2
    root = tiny_coco(str(tmp_path))
    pool = _read(root, 'pool')
    names = {image['id']: image['file_name'] for image in pool['images']}
    for box in pool['annotations']:
        picture = cv2.imread(osp.join(root, 'images', names[box['image_id']]))
        x, y, w, h = box['bbox']
        inside = picture[y:y + h, x:x + w].reshape(-1, 3)
        assert (inside == inside[0]).all() and inside.shape[0] == w * h
        assert box['area'] == w * h


def test_same_seed_same_bytes(tmp_path):
    contents = []
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        tiny_coco(str(tmp_path / name), seed=seed)
        files = sorted((tmp_path / name).rglob('*.*'))
        contents.append([f.read_bytes() for f in files])
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize('wrong', [dict(classes=0), dict(classes=7),
                                   dict(size=(32, 96)), dict(size=(96, 64))])
def test_wrong_arguments_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} is'):
        tiny_coco(str(tmp_path), **wrong)


def test_detector_finds_boxes_and_has_finite_losses(tmp_path):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    before = torch.random.get_rng_state()
    model = tiny_fcos()
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) < 100_000
    sample = DetDataSample(metainfo=dict(
        img_shape=(96, 96), ori_shape=(96, 96), batch_input_shape=(96, 96),
        scale_factor=(1.0, 1.0), pad_shape=(96, 96)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8., 8., 40., 40.]]), labels=torch.tensor([2]))
    images = torch.randn(1, 3, 96, 96, generator=torch.manual_seed(0))
    losses = model.loss(images, [sample])
    assert all(torch.isfinite(value) for value in losses.values())
    found = model.predict(images, [sample])[0].pred_instances
    assert len(found) > 0 and found.scores.max() > 0.1
    assert found.scores.unique().numel() == len(found)


def test_same_seed_same_weights():
    first, second, other = tiny_fcos(), tiny_fcos(), tiny_fcos(seed=1)
    for a, b in zip(first.state_dict().values(),
                    second.state_dict().values()):
        assert torch.equal(a, b)
    weight = 'bbox_head.conv_cls.weight'
    assert not torch.equal(first.state_dict()[weight],
                           other.state_dict()[weight])


@pytest.mark.run
def test_config_trains_and_evaluates(tmp_path):
    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.work_dir = str(tmp_path / 'run')
    runner = Runner.from_cfg(cfg)
    start = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    assert any(not torch.equal(v, start[k])
               for k, v in runner.model.state_dict().items())
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    metrics = runner.test()
    assert -1 <= metrics['coco/bbox_mAP'] <= 1
