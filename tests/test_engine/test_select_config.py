"""Choosing images with a detector whose config knows nothing of mmal."""
import hashlib
import json
import os
import re
import shutil

import pytest
import torch
from helpers.forks import ROOT, fork_run
from helpers.runs import SELECT, succeed
from helpers.tiny import tiny_config, tiny_fcos
from mmengine.config import Config

from mmal.engine.build import build
from mmal.engine.presets import SCORERS, SELECTORS, preset
from mmal.engine.settings import Settings

CLASSES = ('class_0', 'class_1', 'class_2')
PURE = '''
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import PackDetInputs, Resize

default_scope = None
model = MODEL
test_dataloader = dict(dataset=dict(
    type=CocoDataset, data_root='nowhere', ann_file='test.json',
    pipeline=[
        dict(type=LoadImageFromFile),
        dict(type=Resize, scale=(96, 96), keep_ratio=True),
        dict(type=PackDetInputs, meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape',
            'scale_factor'))]))
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """``detector.py``, its data nowhere; ``weights.pth``; ``photos``."""
    root = tmp_path_factory.mktemp('mine')
    cfg = tiny_config(str(root / 'data'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = 'nowhere'
        loader.dataset.metainfo = dict(classes=('other', ))
    cfg.val_evaluator.ann_file = 'nowhere/val.json'
    cfg.pop('active_learning', None)
    cfg.dump(str(root / 'detector.py'))
    (root / 'pure.py').write_text(PURE.replace(
        'MODEL', repr(cfg.model.to_dict())))
    torch.save(
        dict(meta=dict(dataset_meta=dict(classes=CLASSES)),
             state_dict=tiny_fcos().state_dict()), root / 'weights.pth')
    with open(root / 'data' / 'pool.json') as f:
        pool = json.load(f)
    (root / 'photos' / 'sub').mkdir(parents=True)
    for i, image in enumerate(pool['images']):
        place = root / 'photos' / ('sub' if i % 3 == 0 else '')
        shutil.copy(root / 'data' / 'images' / image['file_name'], place)
    return root


def command(folder, out, *arguments, config='detector.py'):
    return (SELECT, folder / config, folder / 'weights.pth', '--out-dir', out,
            *arguments)


def read(*path):
    with open(os.path.join(*map(str, path))) as f:
        return json.load(f)


def names(out):
    with open(os.path.join(out, 'selected.txt')) as f:
        return f.read().split()


def test_choice_is_that_of_mmdets_own_detections(folder, tmp_path):
    from mmdet.apis import inference_detector, init_detector
    done = succeed(*command(folder, tmp_path, '--pool', folder / 'photos',
                            '--budget', '4'))
    photos = sorted(p.relative_to(folder / 'photos')
                    for p in (folder / 'photos').rglob('*.png'))
    model = init_detector(
        str(folder / 'detector.py'), str(folder / 'weights.pth'),
        device='cpu')
    entropies = {}
    for photo in photos:
        found = inference_detector(model, str(folder / 'photos' / photo))
        p = found.pred_instances.scores.double()
        entropies[str(photo)] = float(
            -(p * p.log() + (1 - p) * (1 - p).log()).sum())
    best = sorted(entropies, key=lambda n: -entropies[n])[:4]
    assert names(tmp_path) == best
    chosen = read(tmp_path, 'selected.json')
    assert chosen['scores'] == pytest.approx([entropies[n] for n in best],
                                             rel=1e-3)
    assert 'pool.json: 12 images' in done.stdout + done.stderr
    pool = read(tmp_path, 'pool.json')
    assert [c['name'] for c in pool['categories']] == list(CLASSES)


def test_pure_python_config_for_tests_alone_chooses_the_same(
        folder, tmp_path):
    for config in ('detector.py', 'pure.py'):
        succeed(*command(folder, tmp_path / config, '--pool',
                         folder / 'photos', '--budget', '4', '--scorer',
                         'margin', config=config))
    assert names(tmp_path / 'pure.py') == names(tmp_path / 'detector.py')


def test_photos_keep_their_ids_when_the_folder_grows(folder, tmp_path):
    shutil.copytree(folder / 'photos', tmp_path / 'photos')
    before = min((tmp_path / 'photos').glob('*.png'))
    ids = []
    for _ in range(2):
        succeed(*command(folder, tmp_path / 'out', '--pool',
                         tmp_path / 'photos', '--budget', '1', '--scorer',
                         'random'))
        ids.append({i['file_name']: i['id']
                    for i in read(tmp_path, 'out', 'pool.json')['images']})
        shutil.copy(before, tmp_path / 'photos' / '0.png')
    assert ids[0].items() < ids[1].items() and '0.png' in ids[1]


def test_classes_of_a_config_whose_checkpoint_names_none(folder, tmp_path):
    """Here those of the first of two data sets that are joined and whose
    classes stand in their type."""
    from mmdet.datasets import VOCDataset
    cfg = Config.fromfile(folder / 'detector.py')
    voc = dict(type='VOCDataset', ann_file='nowhere.txt')
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=3, dataset=dict(
            type='ConcatDataset', datasets=[voc, voc]))
    cfg.model.bbox_head.num_classes = 20
    cfg.dump(tmp_path / 'voc.py')
    torch.save(tiny_fcos(num_classes=20).state_dict(), tmp_path / 'w.pth')
    succeed(SELECT, tmp_path / 'voc.py', tmp_path / 'w.pth', '--pool',
            folder / 'photos', '--budget', '2', '--out-dir', tmp_path / 'out')
    categories = read(tmp_path, 'out', 'pool.json')['categories']
    assert tuple(c['name'] for c in categories) == VOCDataset.METAINFO[
        'classes']


def labelled_file(folder, path, rename=''):
    """A COCO file of three labelled images, its ids not those of a pool."""
    coco = read(folder, 'data', 'pool.json')
    coco['images'] = coco['images'][1:3] + coco['images'][4:5]
    ids = {i['id'] for i in coco['images']}
    coco['annotations'] = [
        a for a in coco['annotations'] if a['image_id'] in ids]
    for image in coco['images']:
        image['file_name'] = rename + image['file_name']
    path.write_text(json.dumps(coco))
    return [i['file_name'] for i in coco['images']]


def test_labelled_images_are_counted_and_not_chosen(folder, tmp_path):
    labelled = labelled_file(folder, tmp_path / 'train.json')
    done = succeed(*command(
        folder, tmp_path / 'out', '--pool', folder / 'photos', '--labelled',
        tmp_path / 'train.json', '--budget', '9', '--scorer', 'isal'))
    assert '3 of 3 images of' in done.stdout + done.stderr
    assert len(names(tmp_path / 'out')) == 9
    assert not set(labelled) & set(names(tmp_path / 'out'))


def test_labelled_images_elsewhere(folder, tmp_path):
    labelled = labelled_file(folder, tmp_path / 'train.json', rename='mine_')
    (tmp_path / 'images').mkdir()
    for name in labelled:
        shutil.copy(folder / 'photos' / name.removeprefix('mine_'),
                    tmp_path / 'images' / name)
    arguments = command(
        folder, tmp_path / 'out', '--pool', folder / 'photos', '--labelled',
        tmp_path / 'train.json', '--budget', '12', '--selector', 'core-set')
    done = fork_run(*map(str, arguments))
    assert done.returncode == 1
    assert 'no image of' in done.stderr and 'mine_pool' in done.stderr
    done = succeed(*arguments, '--labelled-images', tmp_path / 'images')
    assert '0 of 3 images of' in done.stdout + done.stderr
    assert len(names(tmp_path / 'out')) == 12


def test_labelled_images_of_other_names_are_the_pools(folder, tmp_path):
    """A labelling tool has put a number before their names."""
    labelled_file(folder, tmp_path / 'same.json')
    labelled_file(folder, tmp_path / 'other.json', rename='0a1b2c3d-')
    for name in ('same', 'other'):
        succeed(*command(
            folder, tmp_path / name, '--pool', folder / 'photos',
            '--labelled', tmp_path / f'{name}.json', '--budget', '9',
            '--scorer', 'isal'))
    assert names(tmp_path / 'other') == names(tmp_path / 'same')
    assert read(tmp_path, 'other', 'selected.json')['scores'] == read(
        tmp_path, 'same', 'selected.json')['scores']


@pytest.mark.parametrize('beside', [True, False])
def test_images_of_a_json(folder, tmp_path, beside):
    pool = read(folder, 'data', 'pool.json')
    where = folder / 'data' / 'images'
    path = (where if beside else tmp_path) / 'mine.json'
    path.write_text(json.dumps(
        dict(images=pool['images'], annotations=[],
             categories=[dict(id=1, name='thing')])))
    given = () if beside else ('--pool-images', where)
    succeed(*command(folder, tmp_path / 'out', '--pool', path, '--budget',
                     '3', *given))
    assert set(names(tmp_path / 'out')) <= {
        i['file_name'] for i in pool['images']}


@pytest.mark.parametrize('arguments, message', [
    (('--budget', '2'), 'give a COCO json or a folder of photos with --pool'),
    (('--pool', '{photos}'), '--budget is needed'),
    (('--pool', '{photos}', '--budget', '0'), "'0' is no whole number of at"),
    (('--pool', '{photos}', '--cfg-options', 'active_learning.budget.size=0'),
     'budget.size is 0: give'),
    (('--pool', '{photos}', '--budget', '2', '--scorer', 'entropie'),
     'Did you mean entropy'),
    (('--pool', '{photos}', '--budget', '2', '--selector', 'coreset'),
     'Did you mean core-set'),
    (('--pool', '{photos}', '--budget', '2', '--scorer', 'isal'),
     'needs labelled images: name their COCO file with --labelled'),
    (('--pool', 'nowhere', '--budget', '2'), '--pool: there is no nowhere'),
])
def test_mistakes_are_named(folder, tmp_path, arguments, message):
    arguments = [a.format(photos=folder / 'photos') for a in arguments]
    done = fork_run(*map(str, command(folder, tmp_path, *arguments)))
    assert done.returncode == (2 if message.startswith("'0' is") else 1)
    assert message in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('labelled', [True, False])
@pytest.mark.parametrize('kind, name', [
    *(('scorer', name) for name in SCORERS),
    *(('selector', name) for name in SELECTORS)])
def test_presets_are_built(kind, name, labelled):
    part = preset(kind, name, labelled)
    settings = Settings(
        data=dict(ann_file='pool.json'), budget=dict(size=1), **{kind: part})
    built = build(settings, kind)
    assert type(built).__name__ == part['type'].removeprefix('mmal.')
    assert labelled or kind == 'scorer' or not built.needs_labelled


def test_presets_are_documented():
    with open(os.path.join(ROOT, 'docs', 'getting_started.md')) as f:
        section = f.read().partition('## With a detector you')[2]
    section = section.partition('\n## ')[0]
    for table in (SCORERS, SELECTORS):
        for name, entry in table.items():
            row = re.search(rf'^\| `{name}` .*\|$', section, re.M)
            assert row and entry.says in row[0], name


def test_package_names_its_configs():
    from argparse import Namespace

    from mmal.engine.cli import load_config
    args = Namespace(
        config='mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', seed=None,
        cfg_options=None, work_dir=None, amp=False, launcher='none',
        local_rank=0)
    cfg = load_config(args)
    assert cfg.model.backbone.depth == 18
    assert cfg.work_dir == os.path.join(
        'work_dirs', 'retinanet_r18_fpn_1x_coco')
    for wrong in ('mmdet::retinanet/nothing.py', 'nobody::a/b.py'):
        args.config = wrong
        with pytest.raises(FileNotFoundError, match=wrong):
            load_config(args)


def test_a_runs_config_is_overridden(tmp_path):
    from argparse import Namespace

    from mmal.engine.select_config import query_config
    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), budget=dict(size=5, unit='boxes'),
        scorer=dict(type='mmal.MutualInformationScorer'),
        committee=dict(type='mmal.EnsembleCommittee', size=3),
        selector=dict(type='mmal.TopN'))
    cfg.dump(str(tmp_path / 'run.py'))
    (tmp_path / 'weights.pth').write_text('')
    args = Namespace(
        config=str(tmp_path / 'run.py'), seed=None, work_dir=None, amp=False,
        checkpoint=str(tmp_path / 'weights.pth'), launcher='none',
        local_rank=0, pool=None, pool_images=None, labelled='train.json',
        budget=None, scorer=None, selector='core-set',
        cfg_options=['active_learning.selector.distance=cosine'])
    block = query_config(args).active_learning
    assert block.selector == dict(type='mmal.CoreSet', distance='cosine')
    assert block.scorer == dict(type='mmal.MutualInformationScorer')
    assert block.committee and block.budget == dict(size=5, unit='boxes')
    args.scorer, args.budget = 'entropy', 8
    block = query_config(args).active_learning
    assert block.scorer == dict(type='mmal.EntropyScorer')
    assert block.budget == dict(size=8, unit='boxes')
    assert 'committee' not in block
    assert Config.fromfile(args.config).train_dataloader.dataset.data_root


def test_the_checkpoint_must_have_the_digits_behind_its_name(folder, tmp_path):
    path = folder / 'weights.pth'
    digits = hashlib.sha256(path.read_bytes()).hexdigest()
    pool = ('--pool', folder / 'photos', '--budget', '2', '--scorer',
            'random', '--out-dir')
    succeed(SELECT, folder / 'detector.py', f'{path}#sha256={digits}', *pool,
            tmp_path / 'right')
    assert len(names(tmp_path / 'right')) == 2
    done = fork_run(SELECT, folder / 'detector.py',
                    f'{path}#sha256={"0" * 64}', *pool, tmp_path / 'wrong')
    assert done.returncode == 1 and digits in done.stderr
    assert not (tmp_path / 'wrong').exists()
    done = fork_run(SELECT, folder / 'detector.py', 'http://x/w.pth', *pool,
                    tmp_path / 'wrong')
    assert 'no checkpoint http://x/w.pth. Only files' in done.stderr
