"""Augmentations of CALD, pixel by pixel and box by box."""
import math

import cv2
import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.pools import pool

from mmal.random_tensors import TensorStreams
from mmal.scoring.detections.augment import AUGMENTATIONS, augmented

KEY = (3, 1)


@pytest.fixture
def images(tmp_path, mmdet_scope):
    """A batch of padded images, boxes and which of them count."""
    model = DETECTORS['fcos']()
    batch = max(pool(tmp_path, 4).batches('unlabelled', model), key=len)
    assert len(batch) > 1
    batch.samples[0].set_metainfo(dict(img_shape=(60, 62)))  # some padding
    batch.inputs[0, :, 60:] = 0
    batch.inputs[0, :, :, 62:] = 0
    generator = torch.Generator().manual_seed(0)
    starts = torch.rand(len(batch), 5, 2, generator=generator) * 30
    boxes = torch.cat([starts, starts + 6 + 22 * torch.rand(
        len(batch), 5, 2, generator=generator)], -1)
    keep = torch.rand(len(batch), 5, generator=generator) < .8
    return model, batch, boxes, keep


def inside(batch, n):
    height, width = batch.samples[n].img_shape
    return batch.inputs[n, :, :height, :width].numpy()


def black_of(model):
    return ((0 - model.data_preprocessor.mean)
            / model.data_preprocessor.std).flatten().numpy()


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_the_batch_stays_and_images_do_not_mix(images, name):
    model, batch, boxes, keep = images
    inputs, before = batch.inputs.clone(), boxes.clone()
    shapes = [s.img_shape for s in batch.samples]
    changed, moved = augmented(name, batch, boxes, keep, model, *KEY)
    assert torch.equal(batch.inputs, inputs) and torch.equal(boxes, before)
    assert [s.img_shape for s in batch.samples] == shapes
    assert (changed.inputs != inputs).any() and changed.ids == batch.ids
    # an image alone is changed as it is among others
    for n in range(len(batch)):
        single = type(batch)(batch.ids[n:n + 1], inputs[n:n + 1],
                             batch.samples[n:n + 1])
        one, one_moved = augmented(
            name, single, boxes[n:n + 1], keep[n:n + 1], model, *KEY)
        torch.testing.assert_close(one.inputs[0], changed.inputs[n])
        torch.testing.assert_close(one_moved[0], moved[n])
        assert one.samples[0].img_shape == changed.samples[n].img_shape


def test_flip(images):
    model, batch, boxes, keep = images
    changed, moved = augmented('flip', batch, boxes, keep, model, *KEY)
    for n in range(len(batch)):
        np.testing.assert_array_equal(inside(changed, n),
                                      inside(batch, n)[..., ::-1])
        width = batch.samples[n].img_shape[1]
        for (x1, y1, x2, y2), new in zip(boxes[n].tolist(),
                                         moved[n].tolist()):
            assert new == pytest.approx([width - x2, y1, width - x1, y2])
    assert (changed.inputs[0, :, :, 62:] == 0).all()


def test_downsize(images):
    model, batch, boxes, keep = images
    # a plane stays a plane
    ramp = torch.arange(batch.inputs.size(3)).float().expand_as(batch.inputs)
    batch.inputs = ramp.clone()
    changed, moved = augmented('downsize', batch, boxes, keep, model, *KEY)
    torch.testing.assert_close(moved, boxes * .8)
    for n, sample in enumerate(batch.samples):
        shape = tuple(int(.8 * side) for side in sample.img_shape)
        assert changed.samples[n].img_shape == shape
        step = sample.img_shape[1] / shape[1]
        row = inside(changed, n)[0, 3, 3:-3]
        truth = (np.arange(shape[1]) + .5) * step - .5
        np.testing.assert_allclose(row, truth[3:-3], atol=.35)
        rest = changed.inputs[n].clone()
        rest[:, :shape[0], :shape[1]] = 0
        assert not rest.any()


def test_rotate(images):
    model, batch, boxes, keep = images
    changed, moved = augmented('rotate', batch, boxes, keep, model, *KEY)
    black = black_of(model)
    for n in range(len(batch)):
        image = inside(batch, n).transpose(1, 2, 0)
        height, width = image.shape[:2]
        middle = (width - 1) / 2, (height - 1) / 2
        matrix = cv2.getRotationMatrix2D(middle, 5, 1)
        truth = cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=black.tolist())
        error = np.abs(inside(changed, n).transpose(1, 2, 0) - truth)
        # cv2 rounds places to 1/32 of a pixel
        assert error.mean() < .05 and np.ptp(truth) > 1
        assert np.allclose(inside(changed, n)[:, 0, 0], black, atol=.2)
        for (x1, y1, x2, y2), new in zip(boxes[n].tolist(),
                                         moved[n].tolist()):
            # pixel i lies at i + 0.5
            corners = np.array([matrix @ [x - .5, y - .5, 1] + .5
                                for x in (x1, x2) for y in (y1, y2)])
            corners = corners.clip(0, [width, height])
            assert new == pytest.approx(
                [*corners.min(0), *corners.max(0)], abs=1e-3)


def test_cutout(images):
    model, batch, boxes, keep = images
    changed, moved = augmented('cutout', batch, boxes, keep, model, *KEY)
    assert torch.equal(moved, boxes)
    black, total = black_of(model), 0
    for n, image_id in enumerate(batch.ids):
        height, width = batch.samples[n].img_shape
        draws = TensorStreams([image_id], *KEY, 'cutout').uniform(
            (50, 4), boxes.device)[0].tolist()
        truth, holes = inside(batch, n).copy(), 0
        for u, v, s, t in draws:
            w, h = (.05 + .15 * u) * width, (.05 + .15 * v) * height
            left, top = s * (width - w), t * (height - h)
            hole = [math.floor(x) for x in (left, top, left + w, top + h)]
            hidden = 0.0
            for box, counts in zip(boxes[n].tolist(), keep[n].tolist()):
                shared = [max(0, min(hole[i + 2], box[i + 2])
                              - max(hole[i], box[i])) for i in (0, 1)]
                if counts:
                    hidden = max(hidden, shared[0] * shared[1] / (
                        (box[2] - box[0]) * (box[3] - box[1])))
            if .1 <= hidden <= .4 and holes < 2:
                truth[:, hole[1]:hole[3], hole[0]:hole[2]] = \
                    black[:, None, None]
                holes += 1
        np.testing.assert_allclose(inside(changed, n), truth, atol=1e-6)
        total += holes
    assert total > 1
    other, _ = augmented('cutout', batch, boxes, keep, model, 3, 2)
    assert (other.inputs != changed.inputs).any()


def test_nothing_to_cut_where_nothing_is_found(images):
    model, batch, boxes, keep = images
    for none in (boxes[:, :0], boxes):
        changed, _ = augmented(
            'cutout', batch, none, torch.zeros_like(keep)[:, :none.size(1)],
            model, *KEY)
        assert torch.equal(changed.inputs, batch.inputs)
