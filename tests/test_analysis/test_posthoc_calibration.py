"""The calibration tool, and what it measures, on a tiny run."""
import copy
import os

import numpy as np
import pytest
import torch
from helpers.mdn_runs import tool
from helpers.tiny import tiny_config
from helpers.tiny_mdn_fcos import tiny_mdn_fcos, tiny_mdn_fcos_config
from mmdet.apis import DetInferencer
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmal.analysis.posthoc_calibration import (
    FitOptions,
    ImageDetections,
    average_precision,
    compare_boxes,
    compare_scores,
    coverage_curves,
    detections_of_file,
    detections_of_model,
    fit_calibration,
    matched_boxes,
    split_images,
)
from mmal.calibration import METHODS, Calibration, ScoreCalibrator
from mmal.commands.analysis import calibrate as command
from mmal.visualization import load_detector

CLASSES = ('class_0', 'class_1', 'class_2')


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config, checkpoint, predictions and AP of mmengine's loop."""
    folder = str(tmp_path_factory.mktemp('posthoc'))
    cfg = tiny_config(os.path.join(folder, 'data'))
    cfg.model = tiny_mdn_fcos_config(box_components=2, cls_components=2)
    config = os.path.join(folder, 'config.py')
    cfg.dump(config)
    checkpoint = os.path.join(folder, 'weights.pth')
    torch.save(dict(state_dict=tiny_mdn_fcos().state_dict(),
                    meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = load_detector(config, checkpoint, 'cpu')
        predictions, metrics = evaluate(model, folder)
    return config, checkpoint, predictions, metrics


def evaluate(model, folder):
    loader = Runner.build_dataloader(copy.deepcopy(model.cfg.val_dataloader))
    path = os.path.join(folder, 'found.pkl')
    evaluator = Evaluator([
        CocoMetric(ann_file=model.cfg.val_evaluator.ann_file, metric='bbox'),
        dict(type='DumpDetResults', out_file_path=path)])
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            evaluator.process(model.val_step(batch), batch)
    return path, evaluator.evaluate(len(loader.dataset))


def scenes(n=60, seed=0, classes=3, std=True):
    """Images with objects found with known errors, and false alarms."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        corner = np.arange(6)[:, None] * 200.0 + rng.uniform(0, 20, (6, 2))
        true = np.concatenate([corner, corner + 100], 1)
        labels = rng.integers(classes, size=6)
        stds = rng.uniform(1, 4, (6, 4)) * (1 + labels[:, None])
        boxes = true + stds * rng.standard_normal((6, 4))
        alarms = rng.uniform(2000, 3000, (4, 2))
        boxes = np.concatenate([boxes, np.tile(alarms, 2) + [0, 0, 9, 9]])
        scores = np.concatenate([rng.uniform(.2, .6, 6),
                                 rng.uniform(.05, .4, 4)])
        images.append(ImageDetections(
            boxes, np.concatenate([labels, rng.integers(classes, size=4)]),
            scores, np.concatenate([stds, np.ones((4, 4))]) if std else None,
            true, labels, np.zeros(6, bool)))
    return images


def test_scores_mean_what_they_say_on_images_held_out():
    fitting, held_out = split_images(scenes(300), 0.5, 0)
    found = compare_scores(fitting, held_out, CLASSES, FitOptions())
    for method in ('isotonic', 'platt'):
        assert found[method].laece < found['none'].laece / 2
        assert found[method].ap == pytest.approx(found['none'].ap, abs=1e-9)
    assert found['temperature'].laece < found['none'].laece
    chance = compare_scores(fitting, held_out, CLASSES,
                            FitOptions(target='found', iou_thr=0.5))
    assert chance['isotonic'].d_ece < found['isotonic'].d_ece


@pytest.mark.parametrize('std', [True, False])
def test_boxes_cover_images_held_out(std):
    fitting, held_out = split_images(scenes(std=std), 0.5, 1)
    found = compare_boxes(fitting, held_out, CLASSES, FitOptions())
    assert set(found) == ({'pixels', 'scaled'} if std else {'pixels'})
    for parts in found.values():
        assert list(parts) == ['all', *CLASSES]
        assert parts['all'].measured == sum(
            parts[c].measured for c in CLASSES)
        for part in parts.values():
            low, high = part.band
            assert low - .03 < part.coverage < high + .03
        # the errors are as wide as the class says
        assert parts['class_2'].width > 2 * parts['class_0'].width
    boxes = [matched_boxes(p, FitOptions()) for p in (fitting, held_out)]
    curves = coverage_curves(*boxes, CLASSES, FitOptions(), [0.5, 0.9])
    assert curves['pixels'][1] == found['pixels']['all'].coverage
    assert set(curves) == set(found) | ({'predicted'} if std else set())
    if std:  # the deviations are true
        assert curves['predicted'] == pytest.approx([0.5, 0.9], abs=0.1)
    fitted = fit_calibration(fitting, CLASSES, FitOptions()).boxes
    assert fitted.scaled == std
    covered = boxes[1].covered(fitted).all(1)
    assert covered.mean() == found['scaled' if std else 'pixels'][
        'all'].coverage
    if not std:
        with pytest.raises(ValueError, match='does not predict box_std'):
            fit_calibration(fitting, CLASSES, FitOptions(scaled=True))


def test_a_split_is_by_image_and_by_seed():
    images = list(range(10))
    first, second = split_images(images, 0.3, 0)
    assert len(first) == 3 and sorted(first + second) == images
    assert split_images(images, 0.3, 0)[0] == first
    assert split_images(images, 0.3, 1)[0] != first
    with pytest.raises(ValueError, match='leave a part empty'):
        split_images(images, 0.01, 0)


def test_model_and_file_have_the_ap_of_mmdet(files):
    config, checkpoint, predictions, metrics = files
    model = load_detector(config, checkpoint, 'cpu')
    images, classes = detections_of_model(model, progress=False)
    truth = Config.fromfile(config).val_evaluator.ann_file
    same, names = detections_of_file(predictions, truth)
    model.cfg.val_evaluator = None  # the samples' own boxes
    packed, _ = detections_of_model(model, progress=False)
    assert classes == names == list(CLASSES)
    assert len(images) == len(same) == len(packed)
    for a, b, c in zip(images, same, packed):
        for name in vars(a):
            for other in (b, c):
                np.testing.assert_array_equal(getattr(a, name),
                                              getattr(other, name))
    assert sum(len(i.scores) for i in images) > 20
    assert average_precision(images, 3) == pytest.approx(
        metrics['coco/bbox_mAP'], abs=5e-4)  # mmdet rounds


def test_plateaus_keep_ap():
    """Isotonic regression with hardly any detections has two values."""
    images = scenes(6)
    calibrator = ScoreCalibrator(
        'isotonic', dict(scores=[.1, .9], values=[.3, .3]), [None] * 3)
    before, after = (average_precision(images, 3, c)
                     for c in (None, calibrator))
    assert 0 < before < 1 and after == pytest.approx(before, abs=1e-9)
    assert average_precision([], 3) == -1


def test_the_command_knows_all_methods_without_importing_them():
    assert command.METHODS == METHODS


def calibrate(*argv):
    return tool('analysis', 'calibrate.py').main([*map(str, argv)])


def test_tool_and_detector(files, tmp_path, capsys):
    config, checkpoint, predictions, metrics = files
    out, table = tmp_path / 'a.json', tmp_path / 'a.md'
    options = ('--level', 0.5, '--box-iou-thr', 0.01, '--min-count', 5,
               '--device', 'cpu')
    assert calibrate(config, checkpoint, '--out', out, '--splits', 2,
                     '--picture', tmp_path / 'a.png', '--save', table,
                     *options) == 0
    assert os.path.getsize(tmp_path / 'a.png') > 1000
    text = capsys.readouterr().out
    assert 'isotonic' in text and 'class_2' in text
    rows = [r for r in table.read_text().splitlines() if r.startswith('| ')]
    assert {r.split('|')[1].strip() for r in rows} >= {
        'none', 'isotonic', 'platt', 'temperature', 'pixels', 'scaled'}

    # of a file, and of all images
    again = tmp_path / 'b.json'
    truth = Config.fromfile(config).val_evaluator.ann_file
    assert calibrate('--predictions', predictions, '--ann-file', truth,
                     '--out', again, '--fit-all', *options) == 0
    assert Calibration.load(str(again)).about['images'] == 6
    assert Calibration.load(str(out)).about['images'] == 3

    # a config around the config; AP of single classes depends on the order
    # in one class alone, so it is the plain detector's
    cfg = Config.fromfile(config)
    cfg.model = dict(type='mmal.CalibratedDetector', detector=cfg.model,
                     calibration=str(out))
    wrapped = str(tmp_path / 'wrapped.py')
    cfg.dump(wrapped)
    model = load_detector(wrapped, checkpoint, 'cpu')
    path, same = evaluate(model, str(tmp_path))
    assert same['coco/bbox_mAP'] == pytest.approx(metrics['coco/bbox_mAP'],
                                                  abs=2e-3)
    plain, _ = detections_of_file(predictions, truth)
    found, _ = detections_of_file(path, truth)
    fitted = Calibration.load(str(out))
    for a, b in zip(plain, found):
        values = fitted.scores(torch.tensor(a.scores), torch.tensor(a.labels))
        np.testing.assert_allclose(np.sort(values.numpy()),
                                   np.sort(b.scores), atol=1e-6)

    # mmdet's inferencer
    image = os.path.join(os.path.dirname(config), 'data', 'images',
                         'val_000.png')
    inferencer = DetInferencer(wrapped, checkpoint, device='cpu',
                               show_progress=False)
    result = inferencer(image, return_datasamples=True)
    instances = result['predictions'][0].pred_instances
    assert (instances.scores.diff() <= 0).all()
    assert instances.box_outer.shape == instances.bboxes.shape


def test_mistakes_are_named(files, tmp_path, capsys):
    config, checkpoint = files[:2]
    out = ('--out', tmp_path / 'a.json')
    assert calibrate('--predictions', tmp_path / 'a.pkl', '--ann-file',
                     Config.fromfile(config).val_evaluator.ann_file, *out
                     ) == 1
    assert 'there is no file of predictions' in capsys.readouterr().err
    assert calibrate(config, checkpoint, '--score-thr', 0.99, *out,
                     '--device', 'cpu') == 1
    assert '0 detections' in capsys.readouterr().err
    assert not (tmp_path / 'a.json').exists()
    model = load_detector(config, checkpoint, 'cpu')
    model.cfg.val_dataloader = None
    with pytest.raises(ValueError, match='has no val_dataloader'):
        detections_of_model(model)
