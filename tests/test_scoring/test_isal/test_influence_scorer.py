"""ISAL scores against autograd, one image at a time."""
import os
import os.path as osp
import re
from functools import partial

import numpy as np
import pytest
import torch
from helpers.forks import fork_world
from helpers.influence_by_hand import by_hand, params_of, scoring_data
from helpers.tiny import tiny_fcos
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmal.dist import close_dist, setup_dist
from mmal.fileio import read_json, write_json
from mmal.influence.vectors import dot, flatten
from mmal.models.utils.per_image import head_outputs, training_outputs
from mmal.scoring import InfluenceScorer, score_pool
from mmal.selection import TopN

LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')
CG = dict(type='mmal.ConjugateGradient', max_iters=400, tol=1e-6)


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def reference_by_hand(model, data, split, params, factors=None):
    total, count = torch.zeros(sum(p.numel() for p in params)), 0
    for batch in data.batches(split, model):
        for i, sample in enumerate(batch.samples):
            total += flatten(
                by_hand(model, sample, batch.inputs[i:i + 1],
                        sample.gt_instances, params, factors))
            count += 1
    return total / count


def test_layers_are_found_where_none_are_named(data):
    found = InfluenceScorer()
    found.check(tiny_fcos(), data())
    assert tuple(la.name for la in found.recorder.layers) == LAYERS


@pytest.mark.parametrize('normalizer', ['labelled', 'image'])
@pytest.mark.parametrize('bias', [True, False])
def test_scores_equal_autograd_one_image_at_a_time(data, bias, normalizer):
    model = tiny_fcos()
    scorer = InfluenceScorer(LAYERS, solver=CG, bias=bias, empty='background',
                             normalizer=normalizer)
    scores = score_pool(model, scorer, data(batch_size=4))
    params = params_of(model, LAYERS, bias)
    expected = {}
    for batch in data(batch_size=1).batches('unlabelled', model):
        grads = by_hand(model, batch.samples[0], batch.inputs, None, params,
                        scorer.adapter.factors)
        expected[batch.ids[0]] = float(dot(grads, scorer.s_test))
    truth = np.array([expected[i] for i in scores.ids])
    error = np.abs(scores.values - truth).max() / np.abs(truth).max()
    assert error < 1e-5
    assert (scores.columns['pseudo_labels'] > 0).any()


@pytest.mark.parametrize('reference', ['val', 'initial', 'labelled'])
def test_without_hessian_it_is_gradient_similarity(data, reference):
    model = tiny_fcos()
    scorer = InfluenceScorer(
        LAYERS, reference=reference, solver=dict(type='mmal.Identity'))
    scorer.prepare(model, data())
    params = params_of(model, LAYERS)
    expected = reference_by_hand(model, data(), reference, params,
                              scorer.adapter.factors)
    found = flatten(scorer.s_test)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_s_test_solves_the_damped_gauss_newton_system(data):
    model = tiny_fcos()
    scorer = InfluenceScorer(LAYERS, solver=dict(CG, damping=0.1))
    scorer.prepare(model, data())
    v = reference_by_hand(model, data(), 'val', params_of(model, LAYERS),
                          scorer.adapter.factors)
    operator = scorer.operator(model, data())
    residual = flatten(operator.product(
        scorer.s_test)) + 0.1 * flatten(scorer.s_test) - v
    assert residual.norm() < 1e-4 * v.norm()


@pytest.mark.parametrize('solver', [None, CG])
def test_scores_do_not_depend_on_the_batch_size(data, solver):
    model = tiny_fcos()
    alone, *others = [
        score_pool(model, InfluenceScorer(solver=solver, empty='background'),
                   data(batch_size=size)) for size in (1, 2, 3, 8)
    ]
    for scores in others:
        error = np.abs(scores.values - alone.values).max()
        assert error < 1e-4 * np.abs(alone.values).max()
        assert TopN().select(scores, 6) == TopN().select(alone, 6)


@pytest.mark.run
def test_ids_do_not_depend_on_batch_size_and_processes(tmp_path, mmdet_scope):
    if torch.cuda.is_available():
        pytest.skip('threads of autograd on a GPU do not survive a fork')

    def rank():
        setup_dist('pytorch' if 'RANK' in os.environ else 'none')
        with DefaultScope.overwrite_default_scope('mmdet'):
            for size in (1, 2, 3, 8):
                scores = score_pool(
                    tiny_fcos(), InfluenceScorer(empty='background'),
                    scoring_data(tmp_path, size))
                assert np.isfinite(scores.values).all()
                print('ids', *TopN().select(scores, 6))
        close_dist()

    scoring_data(tmp_path)  # the files, which the processes then only read
    chosen = []
    for number in (1, 2, 3, 4):
        for done in fork_world(number, rank):
            assert done.returncode == 0, done.stderr
            chosen += [line for line in done.stdout.splitlines()
                       if line.startswith('ids')]
    assert len(chosen) == 4 * (1 + 2 + 3 + 4)
    assert len(set(chosen)) == 1


@pytest.fixture
def told(caplog):
    """What is logged from level WARNING on."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel('WARNING')
    yield caplog
    logger.removeHandler(caplog.handler)


def test_an_unconverged_solver_is_told_with_its_residual(data, told):
    for steps, count in ((5, 1), (400, 0)):
        told.clear()
        scorer = InfluenceScorer(solver=dict(CG, tol=1e-3, max_iters=steps))
        scorer.prepare(tiny_fcos(), data())
        assert len(re.findall(
            r'ConjugateGradient has not converged: the residual is 0\.\d+ '
            r'after 5 steps', told.text)) == count


def test_blocks_that_do_not_fit_are_told_before_training(data, told):
    small = dict(max_gib=1e-6)
    scorer = InfluenceScorer(solver=dict(type='mmal.DefaultSolver', **small))
    scorer.check(tiny_fcos(), data())
    assert re.search(r'scorer\.solver: .*GiB.*ConjugateGradient', told.text)
    scorer = InfluenceScorer(solver=dict(type='mmal.BlockCholesky', **small))
    with pytest.raises(ValueError, match=r'scorer\.solver: .*max_gib'):
        scorer.check(tiny_fcos(), data())


def without_boxes(data, *numbers):
    """The labelled images, some of them without their boxes."""
    split = data.splits['labelled']
    content = read_json(osp.join(split.dataset['data_root'],
                                 split.dataset['ann_file']))
    empty = {data.ids('labelled')[n] for n in numbers}
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] not in empty]
    path = osp.join(split.dataset['data_root'], 'some_empty.json')
    write_json(path, content)
    for name in ('labelled', 'initial'):
        data.splits[name].dataset = dict(
            split.dataset, ann_file=osp.abspath(path))
    data._datasets.clear()
    return data, empty


def test_the_sum_over_labelled_images_is_what_training_minimises(data):
    model = tiny_fcos()
    images = data(batch_size=12, labelled=12)
    # of one size: the head's own loss sums up all that are in its batch
    alike = max(images.batches('labelled', model), key=len).ids
    numbers = [images.ids('labelled').index(i) for i in alike]
    assert len(alike) >= 4
    images, _ = without_boxes(images, *numbers[1:3])
    images.splits['labelled'].ids = alike
    scorer = InfluenceScorer(
        LAYERS, reference='labelled', solver=dict(type='mmal.Identity'))
    scorer.prepare(model, images)
    batch, = images.batches('labelled', model)
    samples = batch.samples
    outputs = training_outputs(
        model.bbox_head, head_outputs(model, batch.inputs))
    terms = model.bbox_head.loss_by_feat(
        *outputs, [s.gt_instances for s in samples],
        [s.metainfo for s in samples])
    loss, _ = model.parse_losses(terms)
    truth = flatten(torch.autograd.grad(loss, params_of(model, LAYERS)))
    found = flatten(scorer.s_test)
    assert (found - truth).norm() < 1e-4 * truth.norm()


@pytest.mark.parametrize('filtered', [True, False])
def test_what_is_not_trained_on_is_no_part_of_the_hessian(data, filtered):
    images, empty = without_boxes(data(), 0, 3)
    images.splits['labelled'].dataset['filter_cfg'] = dict(
        filter_empty_gt=filtered, min_size=0)
    kept = set(images.ids('labelled')) - (empty if filtered else set())
    scorer = InfluenceScorer(LAYERS, reference='labelled')
    assert set(scorer.hessian_sample(images)) == kept
    scorer.prepare(tiny_fcos(), images)
    assert scorer.operator(tiny_fcos(), images).num_images == len(kept)


def test_images_without_objects_do_not_outweigh_the_others(data):
    """One of them turns the gradient of a mean of losses that are divided by
    max(own positives, 1), but hardly one that training would minimise."""
    model, turned = tiny_fcos(), {}
    for normalizer in ('labelled', 'image'):
        found = []
        for images in (data(), without_boxes(data(), 2)[0]):
            scorer = InfluenceScorer(
                LAYERS, reference='labelled', normalizer=normalizer,
                solver=dict(type='mmal.Identity'))
            scorer.prepare(model, images)
            found.append(flatten(scorer.s_test))
        turned[normalizer] = 1 - float(
            torch.cosine_similarity(*found, dim=0))
    assert turned['labelled'] < 0.2 * turned['image']


@pytest.mark.parametrize('model, known', [
    (tiny_fcos, True), (tiny_mdn_fcos, False)])
def test_the_log_tells_whose_divisors_are_not_known(model, known, data, told):
    told.handler.setLevel('INFO')
    scorer = InfluenceScorer(solver=dict(type='mmal.Identity'))
    scorer.prepare(model(), data())
    assert (scorer.adapter.factors is not None) == known
    assert ('each image keeps its own' in told.text) != known


def test_the_log_counts_images_without_pseudo_labels(data, told):
    told.handler.setLevel('INFO')
    model = tiny_fcos()
    scorer = InfluenceScorer(solver=dict(type='mmal.Identity'), score_thr=1.)
    score_pool(model, scorer, data())
    assert '6 of 6 images have no detection with a score of at least 1' in \
        told.text


def test_lissa_agrees_with_conjugate_gradients(data):
    """In the directions that matter: a correlation over the pool."""
    model = tiny_fcos()
    solvers = (dict(CG, damping=1.), dict(type='mmal.LiSSA', damping=1.))
    a, b = (
        score_pool(
            model,
            InfluenceScorer(LAYERS, solver=s, empty='background'),
            data()).values for s in solvers)
    assert np.corrcoef(a, b)[0, 1] > 0.99


def test_images_without_detections_come_last(data):
    model = tiny_fcos()
    model.bbox_head.conv_cls.bias.data.fill_(-20.)
    scores = score_pool(
        model, InfluenceScorer(LAYERS, solver=dict(type='mmal.Identity')),
        data())
    assert (scores.values == -np.inf).all()
    assert (scores.columns['pseudo_labels'] == 0).all()
    scores = score_pool(
        model,
        InfluenceScorer(
            LAYERS, solver=dict(type='mmal.Identity'), empty='background'),
        data())
    assert np.isfinite(scores.values).all()


def test_hessian_sample_is_seeded_and_limited(data):
    model = tiny_fcos()
    scorer = InfluenceScorer(
        LAYERS, hessian_images=2, solver=dict(type='mmal.Identity'))
    scorer.prepare(model, data(seed=1))
    first = scorer.hessian_sample(data(seed=1))
    assert len(first) == 2 and first == scorer.hessian_sample(data(seed=1))
    assert scorer.operator(model, data(seed=1)).num_images == 2
    assert len(InfluenceScorer(LAYERS).hessian_sample(data())) == 6


def test_exact_hessian_of_an_indefinite_loss_is_reported(data):
    model = tiny_fcos()
    scorer = InfluenceScorer(
        LAYERS, hessian='exact', solver=dict(CG, damping=0.))
    with pytest.raises(ValueError, match='active_learning.scorer.solver'):
        scorer.prepare(model, data())


def test_minres_solves_the_exact_system(data):
    model = tiny_fcos()
    solver = dict(type='mmal.MINRES', damping=0.1, max_iters=30)
    scorer = InfluenceScorer(LAYERS, hessian='exact', solver=solver)
    scorer.prepare(model, data())
    v = reference_by_hand(model, data(), 'val', params_of(model, LAYERS),
                          scorer.adapter.factors)
    moved = scorer.operator(model, data()).product(scorer.s_test)
    residual = flatten(moved) + 0.1 * flatten(scorer.s_test) - v
    assert residual.norm() < 0.9 * v.norm()


def test_block_cholesky_is_what_conjugate_gradients_converge_to(data):
    model = tiny_fcos()
    found = []
    for solver in (CG, dict(type='mmal.BlockCholesky')):
        scorer = InfluenceScorer(LAYERS, solver=solver)
        scorer.prepare(model, data())
        found.append(flatten(scorer.s_test))
    assert (found[0] - found[1]).norm() < 1e-3 * found[1].norm()


@pytest.mark.parametrize('options', [
    dict(cache='ram'), dict(cache='file'),
    dict(cache='file', cache_gib=1e-4), dict(cache_gib=0.)
])
def test_scores_do_not_depend_on_the_cache(data, options, tmp_path):
    model, folder = tiny_fcos(), tmp_path / 'cache'
    folder.mkdir()
    if options.get('cache') == 'file':
        options = dict(options, cache_dir=str(folder))
    solver = dict(CG, max_iters=5)
    plain = score_pool(model, InfluenceScorer(LAYERS, solver=solver), data())
    cached = score_pool(
        model, InfluenceScorer(LAYERS, solver=solver, **options), data())
    np.testing.assert_array_equal(plain.values, cached.values)
    assert list(folder.iterdir()) == []


def test_kinks_of_boxes_count_as_curvature_of_boxes_alone(data):
    model, found = tiny_fcos(), {}
    for step in (0., 0.02):
        scorer = InfluenceScorer(LAYERS, solver=CG, box_step=step)
        scorer.prepare(model, data())
        found[step] = scorer.s_test
    same = [torch.equal(*pair) for pair in zip(found[0.], found[0.02])]
    norms = [float(flatten(x[2:4]).norm()) for x in found.values()]
    assert same[2:4] == [False, False]
    assert norms[1] < norms[0]  # held in place
    for i in (0, 1, 4, 5):
        torch.testing.assert_close(
            found[0.][i], found[0.02][i], rtol=1e-3, atol=1e-5)


def test_the_exact_hessian_stays_that_of_the_loss():
    assert InfluenceScorer(hessian='exact').box_step == 0
    with pytest.raises(ValueError, match='box_step is -1'):
        InfluenceScorer(box_step=-1)


def test_weights_and_flags_of_the_model_are_left_alone(data):
    model = tiny_fcos()
    model.backbone.conv1.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    score_pool(model, InfluenceScorer(LAYERS, solver=CG), data())
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    for k, v in model.state_dict().items():
        torch.testing.assert_close(v, before[k], rtol=0, atol=0)


@pytest.mark.parametrize('change, message', [
    (dict(layers='bbox_head.conv_clss'), r'scorer\.layers: .*conv_cls'),
    (dict(layers=LAYERS, reference='train'), r"scorer\.reference is 'train'"),
    (dict(layers=LAYERS, hessian='none'), r"scorer\.hessian is 'none'"),
    (dict(layers=LAYERS, normalizer='batch'), r"normalizer is 'batch'"),
    (dict(layers=LAYERS, empty='first'), r"scorer\.empty is 'first'"),
    (dict(layers=LAYERS, cache='disk'), r"scorer\.cache is 'disk'"),
    (dict(layers=LAYERS, cache_dir='.'), r"cache_dir needs cache='file'"),
    (dict(layers=LAYERS, cache='file', cache_dir='nowhere'),
     r"scorer\.cache_dir 'nowhere' is no folder"),
])
def test_wrong_settings_are_named(data, change, message):
    with pytest.raises(ValueError, match=message):
        InfluenceScorer(**change).check(tiny_fcos(), data())


def test_val_reference_needs_val_data(data):
    scoring = data()
    del scoring.splits['val']
    with pytest.raises(ValueError, match='no val_dataloader'):
        InfluenceScorer(LAYERS).check(tiny_fcos(), scoring)
