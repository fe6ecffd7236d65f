"""Configs of the mixture density paper: detectors and runs with SSD."""
import copy
import functools
import os
import os.path as osp
from types import SimpleNamespace

import pytest
import torch
import yaml
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
HEAD = 'model.bbox_head.'
AL = 'active_learning.'
MDN = {f'{HEAD}type': 'mmal.MDNSSDHead'}
FOUR = {f'{AL}scorer.type': 'mmal.MixtureUncertaintyScorer'}
EFFICIENT = {f'{HEAD}cls_variance': False, f'{HEAD}weighting.alpha': 4.0}
ENTROPY = {f'{AL}scorer.type': 'mmal.EntropyScorer'}


def ensemble(size):
    return {
        **ENTROPY, f'{AL}committee.type': 'mmal.EnsembleCommittee',
        f'{AL}committee.size': size
    }


def components(box, cls):
    return {
        **MDN, f'{HEAD}box_components': box,
        f'{HEAD}cls_components': cls
    }


# what a run has that plain SSD300 with random images has not
EVERYWHERE = {
    'ssd300_entropy': ENTROPY,
    'ssd300-mdn_random': MDN,
    'ssd300-mdn': {**MDN, **FOUR},
    'ssd300-mdn-efficient': {**MDN, **FOUR, **EFFICIENT},
}
VOC = {
    **EVERYWHERE,
    'ssd300-sgm_box-uncertainty': {
        **components(1, 0), **FOUR,
        f'{AL}scorer.uncertainties': ('box_aleatoric', )
    },
    'ssd300_mc-dropout': {
        **ENTROPY,
        'model.neck.type': 'mmal.DropoutSSDNeck',
        'model.neck.dropout_layers': 6,
        'model.neck.dropout': 0.1,
        f'{AL}committee.type': 'mmal.DropoutCommittee',
        f'{AL}committee.passes': 25
    },
    'ssd300_ensemble': ensemble(3),
}
CORE_SET = {f'{AL}selector.type': 'mmal.CoreSet'}
LLAL = {
    'model.type': 'mmal.LearningLossDetector',
    f'{AL}scorer.type': 'mmal.LearningLossScorer'
}
RUNS = {
    'voc07': VOC,
    'voc0712': {**VOC, 'ssd300_core-set': CORE_SET, 'ssd300_llal': LLAL},
    'coco': {**EVERYWHERE, 'ssd300_core-set': CORE_SET,
             'ssd300_ensemble': ensemble(4)},
}
METHODS = [(data, name) for data, runs in RUNS.items() for name in runs]
# initial images, rounds
BUDGETS = {'voc07': (2000, 4), 'voc0712': (2000, 9), 'coco': (5000, 9)}
ABLATIONS = {
    'ssd300-sgm-loc': components(1, 0),
    'ssd300-mdn-loc': components(4, 0),
    'ssd300-sgm-cls': components(0, 1),
    'ssd300-mdn-cls': components(0, 4),
    'ssd300-mdn': MDN,
    'ssd300-mdn-efficient': {**MDN, **EFFICIENT},
}
SIZES = {
    'ssd300-mdn-k2': components(2, 2),
    'ssd300-mdn-k8': components(8, 8),
}
DETECTORS = [
    *((data, name) for data in ('voc07', 'coco5k') for name in ABLATIONS),
    *(('voc07', name) for name in SIZES)
]
PLAIN = ['mdn/ssd300_voc07', 'mdn/ssd300_coco5k', 'mdn/ssd512_voc07',
         'mdn/ssd512-mdn_voc07', 'al/ssd512-mdn_voc07']
ALL = [
    *PLAIN, *(f'al/ssd300_random_{data}' for data in RUNS),
    *(f'al/{name}_{data}' for data, name in METHODS),
    *(f'mdn/{name}_{data}' for data, name in DETECTORS)
]


@functools.cache
def _read(name):
    return Config.fromfile(osp.join(ROOT, 'configs', f'{name}.py'))


def load(name):
    return copy.deepcopy(_read(name))


def flat(value, prefix=''):
    """All leaves of nested dicts by their dotted keys."""
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    leaves = {}
    for key, part in value.items():
        leaves.update(flat(part, f'{prefix}{key}.'))
    return leaves


def difference(name, base):
    """The leaves of a config that another one has not, and those it lost."""
    ours, theirs = flat(_read(name).to_dict()), flat(_read(base).to_dict())
    new = {k: v for k, v in ours.items()
           if k not in theirs or theirs[k] != v}
    return new, set(theirs) - set(ours)


def build(name):
    """The detector without memory for its weights."""
    from mmdet.registry import MODELS
    cfg = load(name).model
    cfg.backbone.init_cfg = None
    with torch.device('meta'):
        return MODELS.build(cfg).eval().to('meta')


@pytest.mark.parametrize('data, name', METHODS)
def test_run_differs_from_random_by_its_method_alone(data, name):
    found, lost = difference(f'al/{name}_{data}', f'al/ssd300_random_{data}')
    assert found == RUNS[data][name] and not lost


@pytest.mark.parametrize('data, name', DETECTORS)
def test_detector_differs_from_ssd_by_its_head_alone(data, name):
    found, lost = difference(f'mdn/{name}_{data}', f'mdn/ssd300_{data}')
    assert found == {**ABLATIONS, **SIZES}[name] and not lost


@pytest.mark.parametrize('run, detector', [
    ('ssd300_random_voc07', 'ssd300_voc07'),
    ('ssd300-mdn_voc07', 'ssd300-mdn_voc07'),
    ('ssd300-mdn-efficient_voc07', 'ssd300-mdn-efficient_voc07'),
    ('ssd512-mdn_voc07', 'ssd512-mdn_voc07')])
def test_run_trains_the_detector_of_the_tables(run, detector):
    found, lost = difference(f'al/{run}', f'mdn/{detector}')
    assert not lost
    assert {key for key in found if not key.startswith(AL)} == set()


def test_ssd512_differs_from_ssd300_by_its_size():
    for kind in ('', '-mdn'):
        found, _ = difference(f'mdn/ssd512{kind}_voc07',
                              f'mdn/ssd300{kind}_voc07')
        assert {k for k in found if 'pipeline' not in k} == {
            'input_size', 'model.neck.out_channels',
            'model.neck.level_strides', 'model.neck.level_paddings',
            'model.neck.last_kernel_size', f'{HEAD}in_channels',
            *(f'{HEAD}anchor_generator.{key}' for key in (
                'input_size', 'basesize_ratio_range', 'strides', 'ratios'))}
    scorer = _read('al/ssd512-mdn_voc07').active_learning.scorer
    assert scorer == {'type': 'mmal.MixtureUncertaintyScorer'}


@pytest.mark.parametrize('data', RUNS)
def test_budget_is_the_papers(data):
    initial, rounds = BUDGETS[data]
    names = [f'ssd300_random_{data}', *(f'{n}_{data}' for n in RUNS[data])]
    for name in names:
        block = _read(f'al/{name}').active_learning
        assert block.initial == {'size': initial}
        assert block.rounds == rounds
        assert block.budget == {'size': 1000, 'unit': 'images'}


@pytest.mark.parametrize('name', ALL)
def test_schedule_is_the_papers(name):
    cfg = _read(name)
    last = 120000
    assert cfg.train_cfg == {
        'type': 'IterBasedTrainLoop', 'max_iters': last, 'val_interval': last
    }
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.by_epoch, warmup.end) == ('LinearLR', False,
                                                          1000)
    assert steps == {
        'type': 'MultiStepLR', 'by_epoch': False, 'begin': 0, 'end': last,
        'milestones': [80000, 100000], 'gamma': 0.1
    }
    assert cfg.optim_wrapper.optimizer == {
        'type': 'SGD', 'lr': 1e-3, 'momentum': 0.9, 'weight_decay': 5e-4
    }
    loader = cfg.train_dataloader
    assert loader.batch_size == cfg.auto_scale_lr.base_batch_size == 32
    assert loader.sampler == {'type': 'InfiniteSampler', 'shuffle': True}
    checkpoint = cfg.default_hooks.checkpoint
    assert not checkpoint.by_epoch and not cfg.log_processor.by_epoch
    assert last % checkpoint.interval == 0
    assert 'save_best' not in checkpoint
    assert [hook.type for hook in cfg.custom_hooks] == [
        'NumClassCheckHook', 'mmal.LossLimitHook', 'CheckInvalidLossHook'
    ]
    assert cfg.custom_hooks[1].max_loss == 100


@pytest.mark.parametrize('name', [n for n in ALL if n.startswith('al/')])
def test_block_is_accepted_and_its_parts_are_built(name):
    from mmal.engine.settings import Settings, pool_dataset
    from mmal.registry import TASK_UTILS
    cfg = load(name)
    settings = Settings.from_config(cfg)
    for part in (settings.scorer, settings.selector, settings.committee):
        if part is not None:
            TASK_UTILS.build(part)
    assert TASK_UTILS.get(settings.oracle['type']) is not None
    data = cfg.train_dataloader.dataset
    assert pool_dataset(cfg, settings)['ann_file'] == \
        data.data_root + data.ann_file
    assert settings.data.source


# one config of each detector
UNIQUE = [*(n for n in ALL if n.startswith('mdn/')), *(
    f'al/{name}_voc0712' for name in ('ssd300-sgm_box-uncertainty',
                                      'ssd300_mc-dropout', 'ssd300_llal'))]


@pytest.mark.parametrize('name', UNIQUE)
def test_detector_builds_and_fits_its_data(mmdet_scope, name):
    from mmdet.datasets import CocoDataset, VOCDataset
    from mmdet.engine.hooks import NumClassCheckHook
    model = build(name)
    coco = 'coco' in name
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        meta = _read(name)[key].dataset.get('metainfo')
        assert (meta is None) == coco
        if not coco:
            assert tuple(meta.classes) == VOCDataset.METAINFO['classes']
    assert model.bbox_head.num_classes == (80 if coco else 20)
    kind = CocoDataset if coco else VOCDataset
    dataset = SimpleNamespace(metainfo=kind.METAINFO)
    runner = SimpleNamespace(
        model=model, train_dataloader=SimpleNamespace(dataset=dataset))
    NumClassCheckHook().before_train_epoch(runner)


@pytest.mark.parametrize('name', [
    f'al/{name}_{data}' for data, name in METHODS if 'voc07' != data])
def test_scorer_and_committee_suit_each_other_and_the_detector(
        mmdet_scope, name):
    from mmal.engine.query_checks import check_committee
    from mmal.registry import TASK_UTILS
    block = load(name).active_learning
    committee = block.get('committee') and TASK_UTILS.build(block.committee)
    check_committee(TASK_UTILS.build(block.scorer), committee, build(name))


@pytest.mark.parametrize('name, millions', [
    ('mdn/ssd300_voc07', 26.285),
    ('mdn/ssd300-mdn_voc07', 52.350),
    ('mdn/ssd300-mdn-k2_voc07', 37.647),
    ('mdn/ssd300-mdn-k8_voc07', 81.755),
    ('mdn/ssd300-mdn-efficient_voc07', 41.122),
    ('al/ssd300_mc-dropout_voc07', 26.285),
])
def test_parameters_are_the_papers(mmdet_scope, name, millions):
    """Tables 4 and 10."""
    number = sum(p.numel() for p in build(name).parameters())
    assert round(number / 1e6, 3) == millions


@pytest.mark.parametrize('name, classes, box', [
    ('ssd300-sgm-loc', 21, 12), ('ssd300-mdn-loc', 21, 48),
    ('ssd300-sgm-cls', 43, 4), ('ssd300-mdn-cls', 172, 4),
    ('ssd300-mdn', 172, 48), ('ssd300-mdn-efficient', 88, 48)])
def test_outputs_are_the_papers(mmdet_scope, name, classes, box):
    """Section 3.1: C·2·K + K or C·K + K, and 4·3·K channels an anchor."""
    head = build(f'mdn/{name}_voc07').bbox_head
    priors = head.prior_generator.num_base_priors[0]
    assert head.cls_convs[0][-1].out_channels == priors * classes
    assert head.reg_convs[0][-1].out_channels == priors * box


@pytest.mark.parametrize('name, size, anchors, smallest', [
    ('mdn/ssd300_voc07', 300, 8732, 30), ('mdn/ssd300_coco5k', 300, 8732, 21),
    ('mdn/ssd512_voc07', 512, 24564, 35.84)])
def test_anchors_are_ssds(mmdet_scope, name, size, anchors, smallest):
    """Liu et al., 2016: 8,732 anchors of SSD300 and 24,564 of SSD512."""
    from mmdet.registry import TASK_UTILS
    model = build(name)
    with torch.no_grad():
        cls, box = model(torch.empty(1, 3, size, size, device='meta'))
    assert sum(x.numel() for x in box) == 4 * anchors
    assert [x.shape[-1] for x in cls][-1] == 1
    generator = TASK_UTILS.build(load(name).model.bbox_head.anchor_generator)
    maps = [x.shape[-2:] for x in cls]
    assert sum(map(len, generator.grid_priors(maps, device='cpu'))) == anchors
    base = generator.base_anchors[0]
    assert float(base[0, 2] - base[0, 0]) == pytest.approx(smallest, abs=1)


@pytest.mark.parametrize('depth', [34, 50])
def test_resnets_have_the_anchors_of_ssd300(mmdet_scope, depth):
    """Figure 4c: other detectors for the images of a run."""
    name = f'mdn/ssd300_r{depth}_voc07'
    cfg = _read(name)
    assert cfg.model.backbone.init_cfg == {
        'type': 'Pretrained', 'checkpoint': f'torchvision://resnet{depth}'
    }
    new, lost = difference(name, 'mdn/ssd300_voc07')
    parts = ('model.backbone.', 'model.neck.', f'{HEAD}in_channels')
    assert all(k.startswith((*parts, 'channels')) for k in (*new, *lost))
    with torch.no_grad():
        _, box = build(name)(torch.empty(1, 3, 300, 300, device='meta'))
    assert [x.shape[-1] for x in box] == [38, 19, 10, 5, 3, 1]
    assert sum(x.numel() for x in box) == 4 * 8732


@pytest.mark.parametrize('name', ALL)
def test_weights_are_torchvisions_and_images_normalised_for_them(name):
    cfg = _read(name)
    assert cfg.model.backbone.init_cfg == {
        'type': 'mmal.VGG16ForSSD', 'checkpoint': 'torchvision://vgg16'
    }
    norm = cfg.model.data_preprocessor
    assert norm.mean == [123.675, 116.28, 103.53]
    assert norm.std == [58.395, 57.12, 57.375] and norm.bgr_to_rgb
    expand = cfg.train_dataloader.dataset.pipeline[2]
    assert (expand.type, expand.mean, expand.to_rgb) == ('Expand', norm.mean,
                                                         norm.bgr_to_rgb)
    text = str(cfg.to_dict())
    assert 'openmmlab' not in text and 'open-mmlab' not in text


@pytest.mark.parametrize('name', UNIQUE)
def test_detections_are_cut_as_in_the_paper(name):
    test_cfg = _read(name).model.test_cfg
    assert (test_cfg.score_thr, test_cfg.nms.iou_threshold,
            test_cfg.max_per_img) == (0.01, 0.45, 200)


@pytest.mark.parametrize('name', [
    'mdn/ssd300_voc07', 'mdn/ssd300_coco5k', 'mdn/ssd512_voc07'])
def test_pipelines_are_mmdets(name):
    import mmdet
    folder = osp.join(osp.dirname(mmdet.__file__), '.mim', 'configs')
    theirs = {'mdn/ssd300_voc07': 'pascal_voc/ssd300_voc0712.py',
              'mdn/ssd300_coco5k': 'ssd/ssd300_coco.py',
              'mdn/ssd512_voc07': 'pascal_voc/ssd512_voc0712.py'}[name]
    base = Config.fromfile(osp.join(folder, theirs))
    base_train = [dict(step) for step in base.train_pipeline]
    for step in base_train:
        step.pop('backend_args', None)
    assert _read(name).train_dataloader.dataset.pipeline == base_train
    base_test = [dict(step) for step in base.test_pipeline]
    base_test[0].pop('backend_args', None)
    for key in ('val_dataloader', 'test_dataloader'):
        assert _read(name)[key].dataset.pipeline == base_test


@pytest.mark.parametrize('data, train, images, val', [
    ('al/ssd300_random_voc07', 'voc2007_trainval', 'VOC2007/JPEGImages/',
     'voc2007_test'),
    ('al/ssd300_random_voc0712', 'voc0712_trainval', '', 'voc2007_test'),
    ('al/ssd300_random_coco', 'instances_train2014', 'train2014/',
     'instances_val2017'),
    ('mdn/ssd300_coco5k', 'train2014_5k', 'train2014/', 'instances_val2017'),
    ('mdn/ssd512_voc07', 'voc2007_trainval', 'VOC2007/JPEGImages/',
     'voc2007_test')])
def test_files_are_those_of_the_tools(data, train, images, val):
    cfg = _read(data)
    dataset = cfg.train_dataloader.dataset
    assert dataset.ann_file == f'annotations/{train}.json'
    assert dataset.data_prefix.img == images
    for part in (cfg.val_dataloader, cfg.test_dataloader):
        assert part.dataset.ann_file == f'annotations/{val}.json'
        assert part.dataset.data_prefix.img in ('VOC2007/JPEGImages/',
                                                'val2017/')
        assert part.dataset.test_mode
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        # with VOC there is a second one
        coco = evaluator[0] if 'voc' in val else evaluator
        assert coco.ann_file == f'{cfg.data_root}annotations/{val}.json'


@pytest.mark.parametrize('kind', ['al/', 'mdn/'])
def test_small_pair_differs_by_its_method_alone(kind):
    ours = f'{kind}ssd300-lite0-mdn_voc07mini'
    if kind == 'mdn/':
        found, lost = difference(ours, 'mdn/ssd300-lite0_voc07mini')
        assert (found, lost) == (MDN, set())
    else:
        found, lost = difference(ours, 'al/ssd300-lite0-mdn_random_voc07mini')
        assert (found, lost) == (FOUR, set())
    expand = _read(ours).train_dataloader.dataset.pipeline[2]
    assert expand.mean == _read(ours).model.data_preprocessor.mean


def _metafiles():
    with open(osp.join(ROOT, 'model-index.yml'), encoding='utf-8') as f:
        paths = yaml.safe_load(f)['Import']
    for path in paths:
        with open(osp.join(ROOT, path), encoding='utf-8') as f:
            yield yaml.safe_load(f)


def test_every_config_is_in_the_index_once():
    index = list(_metafiles())
    models = [model for part in index for model in part['Models']]
    names = [model['Name'] for model in models]
    assert len(names) == len(set(names))
    known = [c['Name'] for part in index for c in part['Collections']]
    assert {model['In Collection'] for model in models} <= set(known)
    assert len(known) == len(set(known))
    configs = sorted(
        f'configs/{folder}/{name}'
        for folder in os.listdir(osp.join(ROOT, 'configs'))
        if folder != '_base_'
        for name in os.listdir(osp.join(ROOT, 'configs', folder))
        if name.endswith('.py'))
    assert sorted(model['Config'] for model in models) == configs


def test_readme_names_every_config_of_its_folder():
    folder = osp.join(ROOT, 'configs', 'mdn')
    with open(osp.join(folder, 'README.md'), encoding='utf-8') as f:
        text = f.read()
    linked = {part.split(')')[0] for part in text.split('](')[1:]}
    for path in linked:
        assert osp.isfile(osp.join(folder, path.split('#')[0])), path
    ours = {n for n in os.listdir(folder) if n.endswith('.py')}
    assert ours <= linked
    assert {f'../{name}.py' for name in ALL if name.startswith('al/')} \
        <= linked
