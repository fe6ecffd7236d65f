"""MDN-SSD in mmdet's own tools, from a config alone."""
import glob
import json
import os.path as osp
import pickle
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
    'class_probs': (4, ),
    'box_std': (4, )
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
    cfg.tta_model = dict(
        type='mmal.DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=20))
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


def check_fields(detections):
    assert len(detections['scores']) > 0
    for name, shape in FIELDS.items():
        value = torch.as_tensor(detections[name])
        assert value.shape == (len(detections['scores']), *shape)
        assert value.isfinite().all()


@pytest.mark.parametrize('views', [[], ['--tta']])
def test_predictions_that_the_test_script_writes(files, tmp_path, views):
    """COCO's numbers are those without the file."""
    root, config, checkpoint = files
    metrics = []
    for out in (['--out', 'found.pkl'], []):
        work = tmp_path / f'work{len(out)}'
        done = subprocess.run(
            [sys.executable, TOOL, 'test', config, checkpoint, '--work-dir',
             str(work), *out, *views],
            capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        with open(glob.glob(str(work / '*' / '*.json'))[0]) as f:
            metrics.append({k: v for k, v in json.load(f).items()
                            if k.startswith('coco')})
    assert metrics[0] == metrics[1] and metrics[0]
    samples = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    with open(osp.join(root, 'val.json')) as f:
        assert len(samples) == len(json.load(f)['images'])
    for sample in samples:
        check_fields(sample['pred_instances'])


def test_inferencer_writes_all_fields(files, tmp_path):
    from mmdet.apis import DetInferencer as MMDets

    from mmal.visualization import DetInferencer
    root, config, checkpoint = files
    images = sorted(glob.glob(osp.join(root, 'images', 'val*')))[:2]
    results = []
    for make in (DetInferencer, MMDets):
        out = tmp_path / make.__module__
        inferencer = make(config, checkpoint, device='cpu',
                          show_progress=False)
        made = inferencer(images, out_dir=str(out), no_save_vis=True,
                          no_save_pred=False)
        written = [
            json.loads((out / 'preds' / name).read_text()) for name in (
                osp.splitext(osp.basename(i))[0] + '.json' for i in images)]
        assert made['predictions'] == written
        results.append(written)
    for ours, theirs in zip(*results):
        check_fields(ours)
        assert {k: ours[k] for k in theirs} == theirs
        assert not set(FIELDS) & set(theirs)


def test_inferencer_writes_images_without_a_path(files, tmp_path):
    import cv2

    from mmal.visualization import DetInferencer
    root, config, checkpoint = files
    image = cv2.imread(glob.glob(osp.join(root, 'images', 'val*'))[0])
    inferencer = DetInferencer(config, checkpoint, device='cpu',
                               show_progress=False)
    inferencer([image, image[:, ::-1].copy()], out_dir=str(tmp_path),
               no_save_vis=True, no_save_pred=False)
    written = [json.loads((tmp_path / 'preds' / f'{i}.json').read_text())
               for i in range(2)]
    for result in written:
        check_fields(result)
    assert written[0] != written[1]


def test_inference_detector(files):
    from mmdet.apis import inference_detector, init_detector
    root, config, checkpoint = files
    model = init_detector(config, checkpoint, device='cpu')
    image = glob.glob(osp.join(root, 'images', 'val*'))[0]
    found = inference_detector(model, image).pred_instances
    check_fields(found)
