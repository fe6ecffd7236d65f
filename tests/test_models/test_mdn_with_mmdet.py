"""MDN-SSD in mmdet's own tools, from a config alone."""
import glob
import json
import os.path as osp
import subprocess
import sys

import pytest
import torch
from helpers.tiny import tiny_config
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd_config
from mmengine.config import ConfigDict

TOOL = osp.join(
    osp.dirname(__file__), '..', '..', 'tools', 'misc', 'run_mmdet.py')
FIELDS = {
    'box_aleatoric': (4, ),
    'box_epistemic': (4, ),
    'cls_aleatoric': (),
    'cls_epistemic': (),
    'class_probs': (4, )
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config and a checkpoint."""
    root = str(tmp_path_factory.mktemp('mdn'))
    cfg = tiny_config(root)
    head = dict(box_components=2, cls_components=2)
    cfg.model = ConfigDict(tiny_ssd_config(type='mmal.MDNSSDHead', **head))
    cfg.visualizer.type = 'mmal.UncertaintyVisualizer'
    cfg.visualizer.show_uncertainty = True
    cfg.default_hooks.visualization = dict(type='DetVisualizationHook')
    config, checkpoint = osp.join(root, 'mdn.py'), osp.join(root, 'mdn.pth')
    cfg.dump(config)
    torch.save(dict(state_dict=tiny_mdn_ssd().state_dict()), checkpoint)
    return root, config, checkpoint


def test_mmdets_test_script(files, tmp_path):
    root, config, checkpoint = files
    done = subprocess.run(
        [sys.executable, TOOL, 'test', config, checkpoint, '--work-dir',
         str(tmp_path), '--show-dir', 'drawn'],
        capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(glob.glob(str(tmp_path / '*' / '*.json'))[0]) as f:
        assert 'coco/bbox_mAP' in json.load(f)
    with open(osp.join(root, 'val.json')) as f:
        images = len(json.load(f)['images'])
    drawn = glob.glob(str(tmp_path / '**' / 'drawn' / '*'), recursive=True)
    assert len(drawn) == images


def test_inference_detector(files):
    from mmdet.apis import inference_detector, init_detector
    root, config, checkpoint = files
    model = init_detector(config, checkpoint, device='cpu')
    image = glob.glob(osp.join(root, 'images', 'val*'))[0]
    found = inference_detector(model, image).pred_instances
    assert len(found) > 0
    for name, shape in FIELDS.items():
        assert found[name].shape == (len(found), *shape)
        assert found[name].isfinite().all()
