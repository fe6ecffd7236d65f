"""Gradient embeddings against autograd, one image at a time."""
import os
from functools import partial

import numpy as np
import pytest
import torch
from helpers.forks import fork_world
from helpers.influence_by_hand import by_hand, params_of, scoring_data
from helpers.tiny import tiny_fcos
from helpers.tiny_classifier import tiny_classification, tiny_classifier
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from mmengine.registry import DefaultScope

from mmal.dist import close_dist, setup_dist
from mmal.influence import GradientProjection, LayerRecorder
from mmal.influence.vectors import flatten, unflatten
from mmal.scoring import (
    Batch,
    GradientEmbeddingScorer,
    InfluenceScorer,
    PerCostScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.embeddings.store import EmbeddingFile
from mmal.scoring.isal import PseudoLabelRule
from mmal.scoring.isal.adapters import adapter_of
from mmal.selection import (
    BatchInfluence,
    CoreSet,
    GradientMatching,
    KMeansPlusPlus,
    TopN,
)

LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')
WHOLE = dict(inputs=None, outputs=None, empty='background')


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def gradients_by_hand(model, data, scorer, split='unlabelled'):
    """[N, P] of autograd, with pseudo-labels, in the order of the pool."""
    params = params_of(model, LAYERS)
    rows = {
        batch.ids[0]: flatten(by_hand(model, batch.samples[0], batch.inputs,
                                      None, params, scorer.adapter.factors))
        for batch in data(batch_size=1).batches(split, model)}
    return torch.stack([rows[i] for i in data().ids(split)]).double()


def near(found, truth, tolerance):
    return np.abs(found - truth).max() < tolerance * np.abs(truth).max()


def test_without_projection_they_are_the_gradients(data):
    model = tiny_fcos()
    scorer = GradientEmbeddingScorer(**WHOLE)
    scores = score_pool(model, scorer, data(batch_size=4))
    truth = gradients_by_hand(model, data, scorer).numpy()
    n = len(data().trained_ids('labelled'))
    assert scores.embeddings.shape == truth.shape
    products = scores.embeddings @ scores.embeddings.T
    assert near(products, truth @ truth.T / n, 1e-5)
    assert near(scores.values, np.linalg.norm(truth, axis=1) / n**.5, 1e-5)


def test_in_double_precision_they_are_the_gradients_of_autograd(data):
    model = tiny_fcos().double()
    batch = next(iter(data(batch_size=4).batches('unlabelled', model)))
    adapter, recorder = adapter_of(model), LayerRecorder(model, LAYERS)
    with recorder:
        outputs = adapter.forward(Batch(batch.ids, batch.inputs.double(),
                                        batch.samples))
        losses = adapter.expected_losses(outputs, batch.samples,
                                         PseudoLabelRule()).losses
    found = GradientProjection(recorder).embed(losses, recorder)
    with recorder.unfrozen():
        truth = torch.stack([flatten(torch.autograd.grad(
            loss, recorder.params, retain_graph=True)) for loss in losses])
    assert found.dtype == torch.float64
    assert torch.allclose(found @ found.T, truth @ truth.T, rtol=1e-9)


def test_rows_are_projected_gradients_and_scores_are_influences(data):
    model = tiny_fcos()
    scorer = GradientEmbeddingScorer('val', inputs=16, outputs=2,
                                     empty='background')
    scores = score_pool(model, scorer, data(batch_size=4))
    assert scores.embeddings.shape == (6, 16 * (2 + 2 + 1))
    truth = gradients_by_hand(model, data, scorer)
    like = scorer.recorder.params
    rows = torch.stack([
        scorer.projection.project(unflatten(g.float(), like)) for g in truth])
    n = len(data().trained_ids('labelled'))
    assert near(scores.embeddings, rows.numpy() / n**.5, 1e-5)
    influence = score_pool(model, InfluenceScorer(
        solver=dict(type='mmal.Identity'), empty='background'),
        data(batch_size=4))
    np.testing.assert_array_equal(scores.values, influence.values)


def test_in_the_metric_of_a_curvature_products_are_those_of_steps(data):
    model = tiny_fcos()
    damping = .5
    solver = dict(type='mmal.BlockCholesky', damping=damping)
    scorer = GradientEmbeddingScorer('val', solver, **WHOLE)
    scores = score_pool(model, scorer, data(batch_size=4))
    influence = score_pool(model, InfluenceScorer(
        solver=solver, empty='background'), data(batch_size=4))
    assert near(scores.values, influence.values, 1e-6)

    operator = scorer.operator(model, data())
    operator.keep_blocks = True
    like = scorer.recorder.params
    # Of some images, whose steps are solved for one by one.
    steps, products = [], []
    g = gradients_by_hand(model, data, scorer)
    for row in g[:3]:
        x = scorer.solver.solve(operator, unflatten(row.float(), like)).x
        steps.append(flatten(x).double())
        products.append(flatten(operator.product(x)).double())
    steps, products = torch.stack(steps), torch.stack(products)
    n = len(data().trained_ids('labelled'))
    truth = (steps @ products.T / n).numpy()
    rows = scores.embeddings[:3].astype(float)
    assert near(rows @ rows.T, truth, 5e-3)
    assert not near(rows @ rows.T, (g[:3] @ steps.T / n).numpy(), .1)


SELECTORS = [
    (dict(), KMeansPlusPlus(start='best', weighted=False)),
    (dict(), CoreSet(start='random')),
    (dict(reference='val'), GradientMatching()),
    (dict(reference='val', solver=dict(type='mmal.DefaultSolver')),
     BatchInfluence())]


@pytest.mark.parametrize('options, selector', SELECTORS)
def test_rows_and_choices_do_not_depend_on_the_batch_size(data, options,
                                                          selector):
    options = dict(options, empty='background')
    alone, together = [
        score_pool(tiny_fcos(), GradientEmbeddingScorer(**options),
                   data(batch_size=size)) for size in (1, 4)]
    # The root of a curvature that is almost 0 somewhere feels its last bits.
    assert near(together.embeddings, alone.embeddings, 1e-3)
    assert near(together.values, alone.values, 1e-4)
    assert selector.select(together, 6, together.embeddings) == \
        selector.select(alone, 6, alone.embeddings)


@pytest.mark.run
def test_ids_do_not_depend_on_the_number_of_processes(tmp_path, mmdet_scope):
    if torch.cuda.is_available():
        pytest.skip('threads of autograd on a GPU do not survive a fork')

    def rank():
        setup_dist('pytorch' if 'RANK' in os.environ else 'none')
        with DefaultScope.overwrite_default_scope('mmdet'):
            scores = score_pool(
                tiny_fcos(), GradientEmbeddingScorer(
                    'val', dict(type='mmal.DefaultSolver'),
                    empty='background'),
                scoring_data(tmp_path, 2), embeddings=EmbeddingFile(
                    str(tmp_path / 'out' / 'embeddings.npy')))
            for selector in (GradientMatching(), BatchInfluence()):
                print('ids', *selector.select(scores, 6, scores.embeddings))
        close_dist()

    scoring_data(tmp_path)  # the files, which the processes then only read
    chosen = []
    for number in (1, 2):
        for done in fork_world(number, rank):
            assert done.returncode == 0, done.stderr
            chosen.append([line for line in done.stdout.splitlines()
                           if line.startswith('ids')])
    assert len(chosen) == 1 + 2
    assert all(len(lines) == 2 and lines == chosen[0] for lines in chosen)


def test_a_pass_gives_scores_and_embeddings(data):
    model = tiny_fcos()
    seen = []
    model.backbone.register_forward_hook(lambda *args: seen.append(1))
    scorer = GradientEmbeddingScorer()
    images = data(batch_size=2)
    scorer.prepare(model, images)
    before = len(seen)
    batches = list(images.batches('unlabelled', model))
    for batch in batches:
        rows = scorer.process(model, batch)
        assert rows['embedding'].shape[0] == len(rows['score']) == len(batch)
    assert len(seen) == before + len(batches)


def test_images_without_pseudo_labels_come_last(data):
    scores = score_pool(tiny_fcos(), GradientEmbeddingScorer(score_thr=.999),
                        data())
    assert (scores.values == -np.inf).all()
    assert np.isfinite(scores.embeddings).all()


def test_badge_on_a_classifier_is_that_of_its_paper(tmp_path, mmdet_scope):
    """The gradient by the last layer is (p - e_y) h, y the model's own label;
    k-means++ on these, drawn anew here."""
    cfg = tiny_classification(str(tmp_path))
    pipeline = cfg.test_dataloader.dataset.pipeline
    pool = dict(cfg.train_dataloader.dataset, pipeline=pipeline)
    images = ScoringData(
        dict(unlabelled=Split(pool, labels=False, ids=range(6, 30)),
             labelled=Split(pool, labels=True, ids=range(1, 6))),
        batch_size=5, num_workers=0, progress=False)
    model = tiny_classifier().eval()
    scorer = GradientEmbeddingScorer(inputs=None, outputs=None)
    scorer.check(model, images)
    scores = score_pool(model, scorer, images)
    rows = {}
    for batch in images.batches('unlabelled', model):
        with torch.no_grad():
            h = model.extract_feat(batch.inputs)[-1].mean((2, 3))
            p = model.logits(batch.inputs).softmax(1)
        top, label = p.max(1)
        error = p - torch.nn.functional.one_hot(label, p.size(1))
        h = torch.cat([h, torch.ones(len(h), 1)], 1)
        # eq. 3 of ISAL weights the label by its probability
        g = (top[:, None] * error)[..., None] * h[:, None]
        rows.update(zip(batch.ids, g.flatten(1).numpy()))
    truth = np.stack([rows[i] for i in scores.ids]) / 5**.5
    assert near(scores.embeddings, truth, 1e-4)
    badge = KMeansPlusPlus(start='best', weighted=False)
    got = badge.select(scores, 5, scores.embeddings)
    assert got[0] == scores.ids[np.linalg.norm(truth, axis=1).argmax()]
    assert got == badge.select(scores, 5, truth.astype('f4'))


def test_a_two_stage_detector_whose_regions_are_no_images(data):
    """Layers of the second stage fall back to autograd."""
    scorer = GradientEmbeddingScorer('labelled', inputs=8, outputs=4,
                                     empty='background')
    alone, together = (
        score_pool(tiny_faster_rcnn(), scorer, data(batch_size=size))
        for size in (1, 4))
    assert near(together.embeddings, alone.embeddings, 1e-3)
    assert np.ptp(alone.embeddings, axis=0).all()


def test_flags_follow_the_reference():
    lengths, products = GradientEmbeddingScorer(), GradientEmbeddingScorer(
        'labelled')
    assert lengths.needs_embeddings and products.needs_embeddings
    assert not (lengths.may_be_negative or lengths.gives_gradients)
    assert products.may_be_negative and products.gives_gradients
    # divided by costs they are no products any more
    per_cost = PerCostScorer(dict(type='mmal.GradientEmbeddingScorer',
                                  reference='labelled'))
    assert per_cost.needs_embeddings and not per_cost.gives_gradients


def test_mistakes_are_told(data):
    for options, message in (
            (dict(inputs=0), r'scorer\.inputs is 0'),
            (dict(outputs=-1), r'scorer\.outputs is -1'),
            (dict(outputs=2.5), r'scorer\.outputs is 2\.5'),
            (dict(reference='test'), 'reference')):
        with pytest.raises(ValueError, match=message):
            GradientEmbeddingScorer(**options)
    for solver, message in ((dict(type='mmal.LiSSA'), 'square root'),
                            (dict(type='mmal.DefaultSolver', max_gib=1e-9),
                             'max_gib')):
        scorer = GradientEmbeddingScorer('val', solver)
        with pytest.raises(ValueError, match=rf'scorer\.solver: .*{message}'):
            scorer.check(tiny_fcos(), data())


def test_the_first_choice_of_a_batch_is_the_highest_influence(data):
    scores = score_pool(tiny_fcos(), GradientEmbeddingScorer(
        'val', dict(type='mmal.DefaultSolver'), empty='background'), data())
    assert BatchInfluence().select(scores, 1, scores.embeddings) == \
        TopN().select(scores, 1)
