import math
import os

import cv2
import mmdet
import numpy as np
import pytest
import torch
from helpers.forks import ROOT, fork_run
from helpers.runs import typed
from helpers.tiny import tiny_config
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd_config
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.registry import VISUALIZERS
from mmengine.structures import InstanceData

from mmal.visualization import (
    UncertaintyVisualizer,
    draw_detections,
    load_detector,
    place_labels,
    uncertainty_text,
)

DRAW = os.path.join(ROOT, 'tools', 'analysis', 'draw_uncertainties.py')
MMDET_TEST = os.path.join(
    os.path.dirname(mmdet.__file__), '.mim', 'tools', 'test.py')
CLASSES = ('class_0', 'class_1', 'class_2')


def sample(uncertain=True, n=3):
    found = InstanceData(
        bboxes=torch.tensor([[10., 20, 60, 100], [20, 30, 70, 110],
                             [90, 90, 125, 125]])[:n],
        labels=torch.tensor([0, 1, 2])[:n],
        scores=torch.tensor([0.83, 0.8, 0.75])[:n])
    if uncertain:
        found.box_aleatoric = torch.tensor([[0.1, 0.21, 0.2, 0.0]] * n)
        found.box_epistemic = torch.tensor([[0.03, 0.01, 0.0, 0.0]] * n)
        found.cls_aleatoric = torch.full((n, ), 0.05)
        found.cls_epistemic = torch.full((n, ), 0.001)
    return DetDataSample(pred_instances=found)


def drawn(kind, data_sample, size=(128, 160), draw_gt=False, **kwargs):
    image = np.full((*size, 3), 150, np.uint8)
    visualizer = kind(**kwargs)
    visualizer.dataset_meta = dict(classes=CLASSES, palette='random')
    visualizer.add_datasample('image', image, data_sample, draw_gt)
    return visualizer.get_image()


@pytest.fixture
def texts(monkeypatch):
    """What is written, and how large in pixels."""
    found = []

    def note(self, text, position, **kwargs):
        if text:
            size = kwargs['font_sizes'] * self.dpi / 72
            found.append((text, np.asarray(position), size))
        return self

    monkeypatch.setattr(DetLocalVisualizer, 'draw_texts', note)
    return found


@pytest.mark.parametrize('kwargs, uncertain', [
    (dict(), True), (dict(show_uncertainty=False), True),
    (dict(show_uncertainty=True), False)])
def test_without_flag_or_fields_every_pixel_is_mmdets(kwargs, uncertain):
    ours = drawn(UncertaintyVisualizer, sample(uncertain), **kwargs)
    theirs = drawn(DetLocalVisualizer, sample(uncertain))
    assert ours.shape == theirs.shape and (ours == theirs).all()
    blank = drawn(DetLocalVisualizer, DetDataSample())
    assert (theirs != blank).any()


def test_labels_show_the_largest_of_four(texts):
    drawn(UncertaintyVisualizer, sample(), show_uncertainty=True)
    assert [t for t, _, _ in texts] == [
        f'{name} {score}\nbox al 0.21 ep 0.03\ncls al 0.05 ep 0.001'
        for name, score in zip(CLASSES, ('0.83', '0.80', '0.75'))]


@pytest.mark.parametrize('size, width', [((128, 160), 640), ((60, 501), 501),
                                         ((300, 249), 747)])
def test_small_images_are_enlarged_and_fonts_are_not(texts, size, width):
    image = drawn(
        UncertaintyVisualizer, sample(), size=size, show_uncertainty=True)
    assert image.shape[1] == width
    assert image.shape[0] * size[1] == width * size[0]
    assert all(s == pytest.approx(12) for _, _, s in texts)


def test_boxes_grow_with_the_image_and_the_sample_does_not():
    one = sample()
    before = one.pred_instances.bboxes.clone()
    image = drawn(UncertaintyVisualizer, one, show_uncertainty=True)
    assert torch.equal(one.pred_instances.bboxes, before)
    assert image.shape == (512, 640, 3)
    coloured = np.ptp(image.astype(int), axis=2) > 20
    rows, columns = np.nonzero(coloured[400:, 300:])
    # The lines of the last box, at 4 times 90 and 125. A line reaches 2 pixels
    # to each side, and Matplotlib before 3.11 puts it one pixel further right.
    assert abs(columns.min() + 300 - 4 * 90) <= 3
    assert abs(columns.max() + 300 - 4 * 125) <= 3
    assert abs(rows.max() + 400 - 4 * 125) <= 3


def test_text_fits_the_frame_that_was_planned_for_it():
    """The drawn label covers the area place_labels keeps free."""
    found = sample(n=1)
    found.pred_instances.bboxes[:] = torch.tensor([0., 0, 600, 600])
    image = drawn(UncertaintyVisualizer, found, size=(600, 600),
                  show_uncertainty=True)
    dark = (image < 90).all(2)[10:, 10:]
    rows, columns = np.nonzero(dark)
    lines = uncertainty_text(found.pred_instances, 0, 'class_0').split('\n')
    assert rows.max() + 10 <= 1.25 * 12 * 3 + 6
    assert columns.max() + 10 <= 0.61 * 12 * max(map(len, lines)) + 6
    assert rows.max() > 30 and columns.max() > 100


@pytest.mark.parametrize('fields, lines', [
    (('box_aleatoric', 'box_epistemic'), ['a 0.83', 'box al 0.21 ep 0.03']),
    (('cls_epistemic', ), ['a 0.83', 'cls ep 0.001']),
    ((), ['a 0.83']),
])
def test_what_a_head_lacks_is_left_out(fields, lines):
    found = sample().pred_instances
    for name in list(found.keys()):
        if name.startswith(('box_', 'cls_')) and name not in fields:
            del found[name]
    del found.bboxes
    assert uncertainty_text(found, 0, 'a').splitlines() == lines


@pytest.mark.parametrize('value, text', [
    (0.0, '0'), (0.2149, '0.21'), (0.001, '0.001'), (3.16e-6, '3.2e-6'),
    (1.0, '1'), (139.7, '140'), (2.5e7, '2.5e7'), (9.999, '10'),
    (math.inf, 'inf'), (math.nan, 'nan')])
def test_numbers_are_short(value, text):
    found = InstanceData(cls_aleatoric=torch.tensor([value]))
    assert uncertainty_text(found, 0, 'a') == f'a\ncls al {text}'


@given(st.integers(0, 10**6), st.integers(0, 6))
def test_labels_stay_in_the_image(seed, n):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 300, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 99, (n, 2))], 1)
    sizes = rng.uniform(10, 120, (n, 2))
    places = place_labels(boxes, sizes, (200, 300))
    assert places.shape == (n, 2) and (places >= 0).all()
    assert (places + sizes <= np.array([300, 200]) + 1e-9).all()


def test_labels_avoid_each_other_and_the_boxes():
    boxes = np.array([[50., 50, 150, 150]] * 6)
    sizes = np.array([[40., 20]] * 6)
    places = place_labels(boxes, sizes, (300, 300))
    assert places[:4].tolist() == [[50, 30], [50, 150], [150, 50], [10, 50]]
    assert places[4].tolist() == [50, 50]  # the only place that is left
    assert places[5].tolist() == [50, 30]  # none is: the first
    edge = np.array([[0., 0, 90, 90], [0, 90, 90, 180]])
    assert place_labels(edge, sizes[:2], (300, 300)).tolist() == [
        [90, 0], [0, 180]]
    huge = place_labels(boxes[:1], np.array([[500., 20]]), (300, 300))
    assert huge.tolist() == [[0, 30]]


def test_ground_truth_beside_the_picture():
    """Truth and detections keep one size, as mmdet joins them."""
    both = sample()
    both.gt_instances = InstanceData(
        bboxes=torch.tensor([[10., 20, 60, 100]]), labels=torch.tensor([0]))
    image = drawn(
        UncertaintyVisualizer, both, draw_gt=True, show_uncertainty=True)
    assert image.shape == (512, 1280, 3)


def test_no_detection_above_the_threshold():
    one = sample()
    one.pred_instances.scores[:] = 0.1
    image = drawn(UncertaintyVisualizer, one, show_uncertainty=True)
    assert (image == 150).all()


@pytest.mark.parametrize('wrong', [dict(font_size=0), dict(min_width=-1)])
def test_sizes_must_be_positive(wrong):
    with pytest.raises(ValueError, match=f'visualizer.{next(iter(wrong))}'):
        UncertaintyVisualizer(**wrong)


def test_is_built_by_its_name():
    built = VISUALIZERS.build(
        dict(type='mmal.UncertaintyVisualizer', name='by_name',
             show_uncertainty=True))
    assert type(built) is UncertaintyVisualizer and built.show_uncertainty


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Config, checkpoint and images of a tiny MDN-SSD."""
    folder = tmp_path_factory.mktemp('detector')
    cfg = tiny_config(str(folder / 'data'))
    cfg.model = tiny_ssd_config(
        type='mmal.MDNSSDHead', box_components=2, cls_components=2)
    cfg.visualizer.update(
        type='mmal.UncertaintyVisualizer', show_uncertainty=True)
    cfg.default_hooks.visualization = dict(type='DetVisualizationHook')
    cfg.dump(str(folder / 'tiny.py'))
    torch.save(
        dict(state_dict=tiny_mdn_ssd().state_dict(),
             meta=dict(dataset_meta=dict(CLASSES=CLASSES))),
        folder / 'tiny.pth')
    return folder


def test_mmdets_test_script_draws_them(detector, tmp_path):
    done = fork_run(MMDET_TEST, detector / 'tiny.py', detector / 'tiny.pth',
                    '--work-dir', tmp_path, '--show-dir', 'shown')
    assert done.returncode == 0, done.stderr[-3000:]
    pictures = sorted(tmp_path.glob('*/shown/*.png'))
    assert len(pictures) == 6
    original = cv2.imread(
        str(detector / 'data' / 'images' / pictures[0].name))
    widths = {cv2.imread(str(p)).shape[1] for p in pictures}
    assert min(widths) >= 500 and original.shape[1] < 100


def test_draws_results_of_inference_detector(detector, mmdet_scope, tmp_path,
                                             texts):
    model = load_detector(str(detector / 'tiny.py'),
                          str(detector / 'tiny.pth'), device='cpu')
    image = str(detector / 'data' / 'images' / 'val_000.png')
    files = draw_detections(model, [image, image], str(tmp_path), 0.05)
    assert [os.path.basename(f) for f in files] == ['val_000.png',
                                                    'val_000_2.png']
    first, second = (cv2.imread(f) for f in files)
    assert (first == second).all()
    assert texts and all('\nbox al ' in t and '\ncls al ' in t
                         for t, _, _ in texts)
    with pytest.raises(FileNotFoundError, match=r'no image .*gone\.png'):
        draw_detections(model, ['gone.png'], str(tmp_path))
    with pytest.raises(ValueError, match='cannot be read as an image'):
        draw_detections(model, [str(detector / 'tiny.py')], str(tmp_path))


def test_weights_of_another_detector_are_refused(detector, tmp_path):
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict=torch.nn.Linear(2, 2).state_dict()), path)
    with pytest.raises(ValueError, match=(
            r'(?s)other\.pth does not fit the detector of .*tiny\.py.*bias')):
        load_detector(str(detector / 'tiny.py'), path, device='cpu')


def test_tool_draws_and_names_mistakes(detector, tmp_path):
    image = detector / 'data' / 'images' / 'val_001.png'
    done = typed(DRAW, detector / 'tiny.py', detector / 'tiny.pth', image,
                 '--out', tmp_path, '--score-thr', '0.05')
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith('val_001.png')
    assert (tmp_path / 'val_001.png').exists()
    done = fork_run(DRAW, detector / 'tiny.py', 'gone.pth', image, '--out',
                    tmp_path)
    assert done.returncode == 1 and 'no checkpoint gone.pth' in done.stderr
