"""The tool that draws detections beside the map of a Bayesian branch."""
import importlib.util
import os

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import (
    build_detector,
    tiny_config,
    tiny_fcos,
    tiny_fcos_config,
)

from mmal.analysis.uncertainty_maps import UncertaintyMaps
from mmal.scoring import BALDScorer
from mmal.scoring.batch import collate
from mmal.scoring.dense.score_map import score_map
from mmal.visualization import load_detector

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
CLASSES = ('class_0', 'class_1', 'class_2')


@pytest.fixture
def files(tmp_path):
    """A config, a checkpoint that detects something, and two images."""
    cfg = tiny_config(str(tmp_path))
    cfg.model.bbox_head.update(
        type='mmal.BayesFCOSHead', branch=dict(scale=2.0))
    cfg.active_learning = dict(
        scorer=dict(type='mmal.EntropyScorer'),
        committee=dict(type='mmal.DropoutCommittee', passes=3))
    cfg.dump(str(tmp_path / 'config.py'))
    weights = str(tmp_path / 'weights.pth')
    model = tiny_fcos_config()
    model['bbox_head'].update(type='mmal.BayesFCOSHead')
    state = build_detector(model).state_dict()
    state.update(tiny_fcos().state_dict())
    state['bbox_head.branch.0.0.weight'].normal_(
        std=0.3, generator=torch.Generator().manual_seed(0))
    torch.save(
        dict(state_dict=state,
             meta=dict(dataset_meta=dict(classes=CLASSES))), weights)
    images = []
    for i, size in enumerate([(100, 140), (128, 80)]):
        images.append(str(tmp_path / f'image_{i}.png'))
        pixels = np.random.default_rng(i).integers(0, 255, (*size, 3))
        cv2.imwrite(images[-1], pixels.astype(np.uint8))
    return str(tmp_path / 'config.py'), weights, images


def main(argv):
    path = os.path.join(ROOT, 'tools', 'analysis', 'uncertainty_map.py')
    spec = importlib.util.spec_from_file_location('uncertainty_map', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.main(argv)


def test_the_tool(files, tmp_path, capsys):
    config, weights, images = files
    out = {}
    for thr in ('0.05', '1'):
        folder = str(tmp_path / f'maps_{thr}')
        assert main([config, weights, *images, '--out', folder,
                     '--score-thr', thr, '--vmax', '1']) == 0
        written = capsys.readouterr().out.split('\n')
        paths = [os.path.join(folder, f'image_{i}.png') for i in range(2)]
        assert set(paths) <= set(written)
        out[thr] = [cv2.imread(path) for path in paths]
    for some, none in zip(out['0.05'], out['1']):
        assert some.shape == none.shape and some.shape[1] > 1000
        changed = (some != none).any(-1)
        half = changed.shape[1] // 2
        assert changed[:, :half].sum() > 200  # boxes and labels
        assert not changed[:, half:].any()  # the map does not depend on them


def test_the_map_is_the_scorers_where_the_image_is(files):
    config, weights, images = files
    model = load_detector(config, weights, 'cpu')
    maps = UncertaintyMaps(model.cfg, model)
    assert maps.label == 'BALD, bits'
    batch = collate([maps.pipeline(
        dict(img_path=images[0], img_id='image_0', instances=[]))], model)
    height, width = batch.samples[0].img_shape
    truth = score_map(BALDScorer(), model, batch)[0, :height, :width]
    found = maps.map_of(images[0])
    np.testing.assert_array_equal(found, truth.numpy())
    assert found.min() >= 0 and found.std() > 0
    one = UncertaintyMaps(model.cfg, model, class_name='class_1')
    assert one.label == 'BALD, bits (class_1)'
    assert (one.map_of(images[0]) <= found + 1e-6).all()
    assert 'active_learning' in model.cfg  # as it was


def test_detections_are_those_of_the_image(files):
    config, weights, images = files
    model = load_detector(config, weights, 'cpu')
    maps = UncertaintyMaps(model.cfg, model, score_thr=0.1)
    found = maps.detections(images[0])
    assert len(found) and (found.scores > 0.1).all()
    assert found.bboxes[:, 2].max() <= 140 and found.bboxes[:, 3].max() <= 100
    assert found.bboxes[:, 2].max() > 96  # not those of the network's input


def test_mistakes(files, tmp_path, capsys):
    config, weights, images = files
    model = load_detector(config, weights, 'cpu')
    with pytest.raises(ValueError, match='--score-thr is 2'):
        UncertaintyMaps(model.cfg, model, score_thr=2)
    plain = tiny_fcos()
    with pytest.raises(ValueError, match='FCOSHead does not have'):
        UncertaintyMaps(model.cfg, plain)
    status = main([config, weights, 'nowhere.png', '--out',
                   str(tmp_path / 'out')])
    assert status == 1 and not (tmp_path / 'out').exists()
    assert 'no image nowhere.png' in capsys.readouterr().err
