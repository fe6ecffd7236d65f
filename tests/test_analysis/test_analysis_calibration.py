"""The reliability tool on a tiny run: model, predictions, both together."""
import copy
import math
import os
import pickle

import pytest
import torch
from helpers.mdn_runs import tool
from helpers.tiny import tiny_config
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd_config
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmal.analysis.calibration import (
    calibration_of_file,
    calibration_of_model,
)
from mmal.visualization import load_detector

OPTIONS = dict(iou_thr=0.05, score_thr=0.1)


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config, checkpoint, predictions and the metrics of mmengine's loop."""
    folder = str(tmp_path_factory.mktemp('calibration'))
    cfg = tiny_config(os.path.join(folder, 'data'))
    cfg.model = tiny_ssd_config(
        type='mmal.MDNSSDHead', box_components=2, cls_components=2)
    cfg.model['test_cfg']['box_mixture'] = True
    config = os.path.join(folder, 'config.py')
    cfg.dump(config)
    checkpoint = os.path.join(folder, 'weights.pth')
    names = tuple(f'class_{c}' for c in range(3))
    torch.save(dict(state_dict=tiny_mdn_ssd().state_dict(),
                    meta=dict(dataset_meta=dict(classes=names))), checkpoint)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = load_detector(config, checkpoint, 'cpu')
        loader = Runner.build_dataloader(copy.deepcopy(cfg.val_dataloader))
        evaluator = Evaluator([
            dict(type='mmal.CalibrationMetric', **OPTIONS),
            dict(type='DumpDetResults',
                 out_file_path=os.path.join(folder, 'found.pkl'))])
        evaluator.dataset_meta = loader.dataset.metainfo
        with torch.no_grad():
            for batch in loader:
                evaluator.process(model.val_step(batch), batch)
        metrics = evaluator.evaluate(len(loader.dataset))
    return config, checkpoint, os.path.join(folder, 'found.pkl'), metrics


def test_model_and_file_agree_with_the_metric(files):
    config, checkpoint, predictions, metrics = files
    model = load_detector(config, checkpoint, 'cpu')
    found = calibration_of_model(model, progress=False, **OPTIONS)
    found = found.summary(iou_thr=0.05)
    assert found['matched'] > 0 and 'coverage_90' in found
    assert math.isfinite(found['mixture_nll']) and 'laece' in found
    truth = Config.fromfile(config).val_evaluator.ann_file
    same = calibration_of_file(predictions, ann_file=truth, **OPTIONS)
    for summary in (found, same.summary(iou_thr=0.05)):
        assert {f'calibration/{k}': v for k, v in summary.items()} == \
            pytest.approx(metrics, rel=1e-5)
    with pytest.raises(ValueError, match='no gt_instances.*--ann-file'):
        calibration_of_file(predictions)


def test_tool(files, tmp_path, capsys):
    config, checkpoint, predictions, metrics = files
    main = tool('analysis', 'reliability.py').main
    picture, table = str(tmp_path / 'a.png'), str(tmp_path / 'a.md')
    assert main(['--model', 'ours', config, checkpoint, '--predictions',
                 'same', predictions, '--out', picture, '--save', table,
                 '--iou-thr', '0.05', '--score-thr', '0.1', '--device', 'cpu',
                 '--pdq', '--ann-file',
                 Config.fromfile(config).val_evaluator.ann_file
                 ]) == 0
    with open(table) as f:
        text = f.read()
    # of scores, of quality, of boxes
    tables = [[row.split('|')[1:] for row in table.splitlines()
               if row.startswith(('| ours', '| same'))]
              for table in text.split('**')[2::2]]
    assert [len(rows) for rows in tables] == [2, 2, 4]
    for rows in tables:
        half = len(rows) // 2
        assert [r[1:] for r in rows[:half]] == [r[1:] for r in rows[half:]]
    assert f'{metrics["calibration/ece"]:.3f}' in tables[0][0][3]
    assert f'{metrics["calibration/mixture_nll"]:.3f}' in tables[2][1][1]
    assert 'PDQ' in text
    assert os.path.getsize(picture) > 1000
    assert 'same' in capsys.readouterr().out


def test_mistakes_are_named(files, tmp_path, capsys):
    main = tool('analysis', 'reliability.py').main
    out = ['--out', str(tmp_path / 'a.png')]
    path = str(tmp_path / 'a.pkl')
    assert main(['--predictions', 'a', path, *out]) == 1
    assert 'there is no file of predictions' in capsys.readouterr().err
    with open(path, 'wb') as f:
        pickle.dump([dict(a=1)], f)
    assert main(['--predictions', 'a', path, *out]) == 1
    assert 'holds no predictions' in capsys.readouterr().err
    for argv in (out, ['--predictions', 'a', path] * 2 + out):
        with pytest.raises(SystemExit):
            main(argv)
    model = load_detector(*files[:2], 'cpu')
    model.cfg.val_dataloader = None
    with pytest.raises(ValueError, match='has no val_dataloader'):
        calibration_of_model(model)
