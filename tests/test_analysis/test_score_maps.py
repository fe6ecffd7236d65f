"""The tool that draws informativeness maps."""
import importlib.util
import os

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos

from mmal.analysis.score_maps import ScoreMaps
from mmal.visualization import load_detector

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
CLASSES = ('class_0', 'class_1', 'class_2')


@pytest.fixture
def files(tmp_path):
    """A config, three checkpoints and two images."""
    cfg = tiny_config(str(tmp_path))
    cfg.active_learning = dict(scorer=dict(type='mmal.EntropyScorer'))
    cfg.dump(str(tmp_path / 'config.py'))
    weights = []
    for seed in range(3):
        weights.append(str(tmp_path / f'{seed}.pth'))
        torch.save(
            dict(state_dict=tiny_fcos(seed=seed).state_dict(),
                 meta=dict(dataset_meta=dict(classes=CLASSES))), weights[-1])
    images = []
    for i, size in enumerate([(50, 70), (64, 40)]):
        images.append(str(tmp_path / f'image_{i}.png'))
        pixels = np.random.default_rng(i).integers(0, 255, (*size, 3))
        cv2.imwrite(images[-1], pixels.astype(np.uint8))
    return str(tmp_path / 'config.py'), weights, images


def main(argv):
    path = os.path.join(ROOT, 'tools', 'analysis', 'score_map.py')
    spec = importlib.util.spec_from_file_location('score_map_tool', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.main(argv)


def test_the_tool(files, tmp_path, capsys):
    config, weights, images = files
    out = str(tmp_path / 'maps')
    main([config, weights[0], *images, '--out', out, '--scorer',
          'mmal.MutualInformationScorer', '--class-name', 'class_1',
          '--members', *weights[1:]])
    written = capsys.readouterr().out.split('\n')
    for name in ('image_0.png', 'image_1.png'):
        path = os.path.join(out, name)
        assert path in written
        assert cv2.imread(path).std() > 1


def test_the_map_ends_where_the_image_does(files):
    config, weights, images = files
    model = load_detector(config, weights[0], 'cpu')
    maps = ScoreMaps(model.cfg, model)
    assert maps.label == 'entropy, nats'
    found = maps.map_of(images[0])
    # 50 x 70, enlarged to a longest side of 96; padded to 80 x 96
    assert found.shape == (69, 96)
    assert found.min() >= 0 and found.std() > 0


def test_mistakes(files, tmp_path):
    config, weights, images = files
    model = load_detector(config, weights[0], 'cpu')
    cfg = model.cfg
    with pytest.raises(ValueError, match='no value of each position'):
        ScoreMaps(cfg, model, 'mmal.RandomScorer')
    with pytest.raises(ValueError, match='dog.*class_0, class_1'):
        ScoreMaps(cfg, model, class_name='dog')
    with pytest.raises(FileNotFoundError, match='no image nowhere'):
        list(ScoreMaps(cfg, model).draw([images[0], 'nowhere'],
                                        str(tmp_path / 'out')))
    with open(str(tmp_path / 'bad.png'), 'w') as f:
        f.write('nothing')
    with pytest.raises(ValueError, match='bad.png cannot be read'):
        list(ScoreMaps(cfg, model).draw([images[0], f.name],
                                        str(tmp_path / 'out')))
    assert not (tmp_path / 'out').exists()
    with pytest.raises(ValueError, match='scorer cannot be built.*Nothing'):
        ScoreMaps(cfg, model, 'mmal.Nothing')
    cfg.active_learning.committee = dict(
        type='mmal.EnsembleCommittee', size=3)
    ScoreMaps(cfg, model)  # one opinion will do
    with pytest.raises(ValueError, match='--members'):
        ScoreMaps(cfg, model, 'mmal.MutualInformationScorer')
    cfg.active_learning = None
    with pytest.raises(ValueError, match='is not set: give --scorer'):
        ScoreMaps(cfg, model)


def test_another_scorer_takes_over_what_is_drawn(files):
    config, weights, _ = files
    model = load_detector(config, weights[0], 'cpu', {
        'active_learning.scorer.classes': 'separate',
        'active_learning.scorer.class_weights': [1, 2, 0],
        'active_learning.scorer.aggregation': 'sum'})
    scorer = ScoreMaps(model.cfg, model, 'mmal.MarginScorer').scorer
    assert scorer.classes == 'separate'
    assert list(scorer.class_weights) == [1, 2, 0]
    ScoreMaps(model.cfg, model, 'mmal.GradScorer')  # has no such keys
