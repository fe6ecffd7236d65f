"""The scorers, with mixtures on RetinaNet, ATSS, RTMDet and YOLOX."""
import numpy as np
import pytest
import torch
from helpers.pools import pool
from helpers.tiny import tiny_config
from helpers.tiny_mdn_heads import TYPES, tiny_mdn_head, tiny_plain

from mmal.models.utils import head_outputs, last_layers
from mmal.registry import METRICS
from mmal.scoring import (
    EntropyScorer,
    GradScorer,
    MixtureUncertaintyScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.batch import Batch
from mmal.scoring.detections.predict import detect
from mmal.uncertainty import binary_entropy

NAMES = pytest.mark.parametrize('name', TYPES)
FOUR = ('box_aleatoric', 'box_epistemic', 'cls_aleatoric', 'cls_epistemic')


@NAMES
def test_mixture_uncertainties_are_standardised(name, tmp_path, mmdet_scope):
    model = tiny_mdn_head(name)
    scorer = MixtureUncertaintyScorer(score_thr=0.2)
    scorer.check(model, pool(tmp_path))
    scores = score_pool(model, scorer, pool(tmp_path, batch_size=4))
    each = {}
    for part in pool(tmp_path, 1).batches('unlabelled', model):
        detections = detect(model, part)[0]
        detections = detections[detections.scores >= 0.2]
        each[part.ids[0]] = torch.stack([
            x.amax(1) if x.dim() == 2 else x
            for x in (detections[field] for field in FOUR)],
            1).double().numpy()
    rows = np.concatenate(list(each.values()))
    z = {i: (x - rows.mean(0)) / rows.std(0) for i, x in each.items()}
    truth = [z[i].max() if len(z[i]) else -np.inf for i in scores.ids]
    assert np.isfinite(truth).sum() > 2
    np.testing.assert_allclose(scores.values, truth, rtol=2e-3, atol=2e-3)


@NAMES
def test_entropy_is_that_of_the_mixed_probabilities(name):
    model = tiny_mdn_head(name)
    inputs = torch.randn(2, 3, 64, 80,
                         generator=torch.Generator().manual_seed(0))
    scores = EntropyScorer(aggregation='mean').process(
        model, Batch([1, 2], inputs))['score']
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    for i in range(2):
        flat = [torch.cat([level[i].permute(1, 2, 0).reshape(-1, c)
                           for level in maps])
                for maps, c in ((outputs[0], 3), (outputs[-3], 3),
                                (outputs[-2], 8))]
        deltas = flat[2][:, :6].view(-1, 3, 2)
        each = (flat[1][..., None] + deltas).sigmoid()
        probs = (flat[2][:, None, 6:].softmax(-1) * each).sum(-1)
        torch.testing.assert_close(probs, flat[0].sigmoid())
        if name == 'yolox':
            probs = probs * torch.cat([
                level[i].flatten().sigmoid() for level in outputs[2]])[:, None]
        assert scores[i].item() == pytest.approx(
            binary_entropy(probs).sum(-1).mean().item(), 1e-4)


@NAMES
def test_a_scorer_that_needs_plain_convolutions_says_so(
        name, tmp_path, mmdet_scope):
    with pytest.raises(ValueError, match='MDN.*Head do not'):
        GradScorer().check(tiny_mdn_head(name), pool(tmp_path))


@NAMES
def test_the_last_layers_are_those_of_the_plain_head_and_its_own(name):
    plain = set(last_layers(tiny_plain(name)))
    model = tiny_mdn_head(name)
    own = {n for n, m in model.named_modules()
           if n.startswith('bbox_head.mixture_') and hasattr(m, 'weight')}
    assert len(own) == (2 if name in ('retina', 'atss') else 4)
    assert set(last_layers(model)) == plain | own
    assert set(last_layers(tiny_mdn_head(name, 0))) == plain


@NAMES
def test_calibration_of_boxes(name, tmp_path, mmdet_scope):
    config = tiny_config(str(tmp_path))
    val = dict(config.val_dataloader.dataset,
               pipeline=config.test_dataloader.dataset.pipeline)
    data = ScoringData(dict(val=Split(val, labels=True)), num_workers=0,
                       progress=False)
    metric = METRICS.build(dict(
        type='mmal.CalibrationMetric', iou_thr=0.01, score_thr=0.0))
    metric.dataset_meta = dict(classes=('class_0', 'class_1', 'class_2'))
    model = tiny_mdn_head(name)
    for part in data.batches('val', model):
        with torch.no_grad():
            samples = model.predict(part.inputs, part.samples)
        metric.process({}, [s.to_dict() for s in samples])
    numbers = metric.evaluate(len(data.ids('val')))
    assert numbers['calibration/matched'] > 0
    assert np.isfinite(numbers['calibration/box_nll'])
    assert numbers['calibration/box_std'] > 0
