"""Variance voting against loops, and in a head."""
import math

import pytest
import torch
from helpers.tiny_ssd import tiny_mdn_ssd
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmal.models.utils import head_outputs
from mmal.models.utils.box_voting import vote, voting_options
from mmal.scoring.detector import dummy_batch


def iou(a, b):
    width = max(0., min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0., min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def by_hand(box, label, boxes, labels, stds, temperature, use_std):
    """One detection, edge by edge."""
    voted = []
    for edge in range(4):
        total = mean = 0.
        for other, own, std in zip(boxes, labels, stds):
            overlap = iou(box, other)
            if own != label or overlap <= 0:
                continue
            weight = math.exp(-(1 - overlap)**2 / temperature)
            if use_std:
                weight /= std[edge]**2
            total += weight
            mean += weight * other[edge]
        voted.append(mean / total)
    return voted


def random_candidates(n, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 20
    side = 5 + torch.rand(n, 2, generator=generator) * 20
    return InstanceData(
        bboxes=torch.cat([corner, corner + side], 1),
        labels=torch.randint(2, (n, ), generator=generator),
        box_std=0.1 + 5 * torch.rand(n, 4, generator=generator))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(0, 999), st.floats(0.005, 1),
       st.booleans())
def test_equals_loops(n, seed, temperature, use_std):
    candidates = random_candidates(n, seed)
    kept = candidates[:(n + 1) // 2]
    found = vote(kept, candidates,
                 dict(temperature=temperature, use_std=use_std))
    everything = [candidates[name].tolist()
                  for name in ('bboxes', 'labels', 'box_std')]
    expected = [by_hand(box, label, *everything, temperature, use_std)
                for box, label in zip(kept.bboxes.tolist(),
                                      kept.labels.tolist())]
    torch.testing.assert_close(
        found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_nothing_to_vote():
    nothing = random_candidates(0, 0)
    assert vote(nothing, nothing, {}).shape == (0, 4)
    some = random_candidates(3, 0)
    assert vote(some[:0], some, {}).shape == (0, 4)


def test_a_box_alone_stays_where_it_is():
    one = random_candidates(1, 0)
    torch.testing.assert_close(vote(one, one, {}), one.bboxes)


def test_boxes_without_deviations_are_told_of_or_vote_alike():
    torch.manual_seed(0)
    model = tiny_mdn_ssd(box_components=0).eval()
    batch = dummy_batch(model, 96)
    for options, message in ((dict(), 'use_std to False'),
                             (dict(use_std=False), None)):
        model.test_cfg.box_voting = options
        with torch.no_grad():
            if message:
                with pytest.raises(ValueError, match=message):
                    model.predict(batch.inputs, batch.samples)
            else:
                found = model.predict(batch.inputs, batch.samples)
                assert len(found[0].pred_instances)


@pytest.mark.parametrize('options, message', [
    (dict(sigma=1), "unknown key 'sigma': give temperature, use_std"),
    (dict(temperature=0.), 'temperature is 0.0: give a number above 0'),
])
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        voting_options(options)


@pytest.mark.parametrize('rescale', [False, True])
def test_in_ssd(rescale):
    """Scores and labels stay; boxes are those of the candidates' votes."""
    torch.manual_seed(0)
    model = tiny_mdn_ssd().eval()
    head = model.bbox_head
    batch = dummy_batch(model, 96)
    metas = [s.metainfo for s in batch.samples]
    for meta in metas:
        meta.update(scale_factor=(2.0, 0.5))
    with torch.no_grad():
        outputs = head_outputs(model, torch.randn_like(batch.inputs))

    def predict(**cfg):
        cfg = type(model.test_cfg)({**model.test_cfg, **cfg})
        return head.predict_by_feat(
            *outputs, batch_img_metas=metas, cfg=cfg, rescale=rescale)[0]

    everything = predict(
        nms=dict(type='nms', iou_threshold=1.0), max_per_img=100000)
    plain, voted = predict(), predict(box_voting=dict(temperature=0.05))
    assert len(plain) > 3 and len(everything) > len(plain)
    assert torch.equal(plain.scores, voted.scores)
    assert torch.equal(plain.box_std, voted.box_std)
    assert (plain.bboxes - voted.bboxes).abs().max() > 0.01
    torch.testing.assert_close(
        voted.bboxes, vote(plain, everything, dict(temperature=0.05)),
        rtol=1e-3, atol=1e-2)
