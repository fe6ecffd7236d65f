"""One query outside a run: tools/al_select.py and the hook by hand."""
import json
import os

import mmdet
import pytest
from helpers.forks import fork_run
from helpers.runs import (
    SELECT,
    TRAIN,
    leftovers,
    make_config,
    succeed,
    succeeded,
    typed,
)
from mmengine.config import Config

pytestmark = pytest.mark.run
MMDET_TRAIN = os.path.join(
    os.path.dirname(mmdet.__file__), '.mim', 'tools', 'train.py')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, a checkpoint and the images it was trained on."""
    folder = str(tmp_path_factory.mktemp('trained'))
    config = make_config(folder, active_learning=dict(rounds=1))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    last = os.path.join(work_dir, 'round_00')
    return config, os.path.join(last, 'epoch_2.pth'), os.path.join(
        last, 'labelled.json')


def read(*path):
    with open(os.path.join(*map(str, path))) as f:
        return json.load(f)


def test_selects_from_a_pool_without_labels(trained, tmp_path):
    config, checkpoint, labelled = trained
    root = Config.fromfile(config).train_dataloader.dataset.data_root
    pool = read(root, 'pool.json')
    pool['annotations'] = []
    (tmp_path / 'unlabelled.json').write_text(json.dumps(pool))
    out = str(tmp_path / 'out')
    os.makedirs(out)  # where another query was killed
    (tmp_path / 'out' / '.scores.npz.0.mmal.tmp').write_text('half')
    done = succeeded(typed(
        SELECT, config, checkpoint, '--labelled', labelled, '--pool',
        tmp_path / 'unlabelled.json', '--budget', '5', '--out-dir', out))
    chosen = read(out, 'selected.json')
    assert len(chosen['ids']) == 5 and chosen['boxes'] is None
    trained_on = {i['id'] for i in read(labelled)['images']}
    assert trained_on.isdisjoint(chosen['ids'])
    names = {i['id']: i['file_name'] for i in pool['images']}
    with open(os.path.join(out, 'selected.txt')) as f:
        assert f.read().split() == [names[i] for i in chosen['ids']]
    assert '5 images' in done.stdout
    assert chosen['scores'] == sorted(chosen['scores'], reverse=True)
    assert leftovers(out) == []


@pytest.mark.parametrize('key', ['--labelled', '--pool'])
def test_names_that_are_addresses_are_one_error(trained, tmp_path, key):
    config, checkpoint, labelled = trained
    root = Config.fromfile(config).train_dataloader.dataset.data_root
    files = {'--labelled': labelled, '--pool': f'{root}/pool.json'}
    content = read(files[key])
    for image in content['images']:
        image['file_name'] = f'http://x.org/{image["file_name"]}'
    files[key] = str(tmp_path / 'remote.json')
    (tmp_path / 'remote.json').write_text(json.dumps(content))
    number = len(content['images'])
    done = fork_run(
        SELECT, config, checkpoint, '--budget', '5', '--out-dir',
        str(tmp_path / 'out'), *[x for pair in files.items() for x in pair])
    assert done.returncode == 1
    assert (f'remote.json: the file_name of {number} of {number} images is '
            "an address, e.g. 'http://x.org/pool_") in done.stderr


@pytest.mark.parametrize('arguments, message', [
    ((), 'InfluenceScorer needs labelled images'),
    (('--labelled', 'nowhere.json'), 'there is no COCO file'),
    (('--labelled', '{pool}'), 'nothing is left'),
])
def test_mistakes_are_named(trained, tmp_path, arguments, message):
    config, checkpoint, _ = trained
    root = Config.fromfile(config).train_dataloader.dataset.data_root
    arguments = [a.format(pool=os.path.join(root, 'pool.json'))
                 for a in arguments]
    done = fork_run(SELECT, config, checkpoint, *arguments, '--out-dir',
                    tmp_path)
    assert done.returncode == 1
    assert message in done.stderr and 'Traceback' not in done.stderr


def test_checkpoint_of_another_detector(trained, tmp_path):
    config, checkpoint, labelled = trained
    done = fork_run(SELECT, config, checkpoint, '--labelled', labelled,
                    '--out-dir', tmp_path, '--cfg-options',
                    'model.bbox_head.stacked_convs=2')
    assert done.returncode == 1 and 'does not fit the detector' in done.stderr


def test_hook_in_mmdets_own_training(trained, tmp_path):
    config, _, labelled = trained
    cfg = Config.fromfile(config)
    cfg.custom_hooks = [dict(type='mmal.ActiveLearningHook')]
    cfg.train_dataloader.dataset.ann_file = labelled
    cfg.log_level = 'INFO'
    path = str(tmp_path / 'one_round.py')
    cfg.dump(path)
    done = succeed(MMDET_TRAIN, path, '--work-dir', str(tmp_path / 'work'))
    chosen = read(tmp_path, 'work', 'selected.json')
    said = f'Selected 3 images with {chosen["boxes"]} boxes.'
    assert said in done.stdout + done.stderr
    trained_on = {i['id'] for i in read(labelled)['images']}
    assert len(chosen['ids']) == 3
    assert trained_on.isdisjoint(chosen['ids'])
    assert os.path.exists(tmp_path / 'work' / 'metrics.json')
