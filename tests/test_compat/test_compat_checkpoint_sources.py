"""Whichever way a checkpoint comes, nothing pickled in it is run."""
import functools
import hashlib
import http.server
import json
import os
import shutil
import threading

import mmengine.hub.hub
import pytest
import torch
from helpers.forks import fork_run
from helpers.runs import TRAIN, make_config
from helpers.tiny import tiny_fcos
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_loading

from mmal.compat import checkpoints
from mmal.compat.checkpoints import CheckpointError, UnsafeCheckpointError
from mmal.models.backbones import VGG16ForSSD
from mmal.models.committees import EnsembleCommittee
from mmal.models.utils import load_weights


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder behind an address of this machine, and its address."""
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(handler.func, 'log_message', lambda *args: None)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(
        target=server.serve_forever, args=(.01, ), daemon=True).start()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder), )


class Bucket:
    """mmengine's client of a store, whose objects are files of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, name):
        return (self.folder / name.rpartition('/')[2]).read_bytes()


WAYS = ('{folder}/net.pth', '{address}/net.pth', 'torchvision://resnet18',
        'modelzoo://resnet18', 'open-mmlab://net', 'openmmlab://net',
        'open-mmlab://local', 'mmcls://net', 's3://bucket/net.pth',
        'petrel://bucket/net.pth', 'open-mmlab:s3://bucket/net.pth')


@pytest.fixture
def name_of(served, tmp_path, monkeypatch):
    """Publishes a file of the served folder everywhere; gives the name that
    leads to it by one of the ways."""
    folder, address = served
    models = {'net': f'{address}/net.pth', 'local': f'{folder}/net.pth'}
    home = tmp_path / 'mmengine'
    home.mkdir()
    (home / 'open_mmlab.json').write_text(json.dumps(models))
    monkeypatch.setattr(mmengine_loading, 'get_mmcls_models', lambda: models)
    monkeypatch.setattr(mmengine_loading, 'get_file_backend',
                        lambda *args, **kwargs: Bucket(folder))

    def name(way):
        if 'resnet18' in way:  # as if it had been downloaded
            hub = tmp_path / 'home' / 'hub' / 'checkpoints'
            hub.mkdir(parents=True)
            shutil.copy(folder / 'net.pth', hub / 'resnet18-f37072fd.pth')
        return way.format(folder=folder, address=address)

    return name


@pytest.fixture
def evil(served, tmp_path):
    """A hostile file behind the address; the folder that it would make."""
    torch.save(dict(state_dict=Payload(tmp_path / 'ran')),
               served[0] / 'net.pth')
    return tmp_path / 'ran'


@pytest.mark.parametrize('native', [True, False])
@pytest.mark.parametrize('way', WAYS)
def test_hostile_files_are_refused(way, native, name_of, evil, monkeypatch):
    if native and not checkpoints.NATIVE:
        pytest.skip('torch < 2.6 only has the restricted way')
    monkeypatch.setattr(checkpoints, 'NATIVE', native)
    # what torch < 2.6 does where nobody says otherwise
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    name = name_of(way)
    with pytest.raises(UnsafeCheckpointError) as info:
        CheckpointLoader.load_checkpoint(name, 'cpu')
    assert not evil.exists()
    assert str(info.value).startswith(name)
    assert 'mkdir' in str(info.value) and 'Save only' in str(info.value)


@pytest.mark.parametrize('way', WAYS)
def test_good_files_are_loaded_with_their_sha256_only(way, name_of, served):
    path = served[0] / 'net.pth'
    torch.save(dict(state_dict={'backbone.w': torch.ones(2)}), path)
    name = name_of(way)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for suffix in ('', f'#sha256={digest}'):
        content = CheckpointLoader.load_checkpoint(f'{name}{suffix}', 'cpu')
        (weights, ) = content['state_dict'].values()
        assert weights.tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=f'{digest}, and not {"0" * 64}'):
        CheckpointLoader.load_checkpoint(f'{name}#sha256={"0" * 64}', 'cpu')


def test_digits_that_a_loader_does_not_compare_are_an_error(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', {
        'own://': lambda name, map_location: {}, **CheckpointLoader._schemes})
    assert CheckpointLoader.load_checkpoint('own://net') == {}
    with pytest.raises(CheckpointError, match='own://net.* no SHA-256'):
        CheckpointLoader.load_checkpoint(f'own://net#sha256={"0" * 64}')


def test_a_download_with_another_sha256_is_not_kept(served, tmp_path):
    folder, address = served
    torch.save({}, folder / 'net.pth')
    with pytest.raises(FileNotFoundError, match='invalid hash value'):
        CheckpointLoader.load_checkpoint(
            f'{address}/net.pth#sha256={"0" * 64}', 'cpu')
    assert not list((tmp_path / 'home').rglob('net.pth'))


@pytest.mark.parametrize('way', ['{address}/net.pth', 'open-mmlab://net',
                                 'mmcls://net'])
def test_init_cfg_and_names_of_mmdet(way, name_of, evil, monkeypatch):
    """What builds a model: ``init_cfg`` and ``get_model('mmdet::…')``."""
    name = name_of(way)
    layer = BaseModule(dict(type='Pretrained', checkpoint=name))
    layer.weight = torch.nn.Parameter(torch.ones(1))
    for load in (layer.init_weights,
                 lambda: VGG16ForSSD(name)(layer)):
        with pytest.raises(UnsafeCheckpointError, match='mkdir'):
            load()
    monkeypatch.setattr(
        mmengine.hub.hub, 'get_config', lambda *args: Config(dict(
            model_path=name, model=dict())))
    monkeypatch.setattr(mmengine.hub.hub.MODELS, 'build',
                        lambda *args, **kwargs: torch.nn.Linear(1, 1))
    with pytest.raises(UnsafeCheckpointError, match='mkdir'):
        mmengine.hub.hub.get_model('mmdet::toy.py', pretrained=True)
    assert not evil.exists()


def test_members_and_models_of_a_query(evil, served, mmdet_scope):
    path = str(served[0] / 'net.pth')
    model = tiny_fcos()
    committee = EnsembleCommittee(checkpoints=[path])
    for load in (lambda: committee.check(model, in_run=False),
                 lambda: committee.prepare(model),
                 lambda: load_weights(model, path)):
        with pytest.raises(UnsafeCheckpointError, match='net.pth: refused'):
            load()
    assert not evil.exists()
    torch.save(dict(state_dict=model.state_dict()), path)
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for digits, is_right in ((digest, True), ('0' * 64, False)):
        committee = EnsembleCommittee(checkpoints=[f'{path}#sha256={digits}'])
        if is_right:
            committee.check(model, in_run=False)
            committee.prepare(model)
        else:
            with pytest.raises(CheckpointError, match='SHA-256'):
                committee.check(model, in_run=False)


@pytest.mark.run
@pytest.mark.parametrize('key, way', [
    ('load_from', '{address}/net.pth'),
    ('model.backbone.init_cfg.checkpoint', 'open-mmlab://net'),
])
def test_a_run_stops_before_it_begins(key, way, name_of, evil, tmp_path):
    config, name = make_config(str(tmp_path)), name_of(way)
    done = fork_run(TRAIN, config, '--work-dir', tmp_path / 'work',
                    '--cfg-options', f'{key}={name}',
                    *['model.backbone.init_cfg.type=Pretrained'] *
                    ('init_cfg' in key))
    assert done.returncode == 1 and not evil.exists()
    assert 'Traceback' not in done.stderr
    assert done.stderr.count(f'{name} (') == 1
    assert done.stderr.count('refused') == 1
    assert not (tmp_path / 'work').exists()


def test_weights_are_downloaded_once(served, tmp_path):
    folder, address = served
    torch.save(dict(state_dict=dict(w=torch.ones(2))), folder / 'good.pth')
    for _ in range(2):
        content = CheckpointLoader.load_checkpoint(f'{address}/good.pth')
        assert content['state_dict']['w'].tolist() == [1, 1]
        (folder / 'good.pth').unlink(missing_ok=True)


def test_what_cannot_be_downloaded_says_where_to_put_it(served, tmp_path):
    folder, address = served
    torch.save({}, folder / 'net-00000000.pth')  # another hash
    for name in ('nothing.pth', 'net-00000000.pth'):
        with pytest.raises(FileNotFoundError, match=f'{name} cannot be down'
                           f'.*Put the file at .*home.*{name}'):
            CheckpointLoader.load_checkpoint(f'{address}/{name}')


def test_names_of_torchvision_need_no_torchvision(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    torch.save(dict(w=torch.ones(1)), folder / 'resnet50-0676ba61.pth')
    content = CheckpointLoader.load_checkpoint('torchvision://resnet50')
    assert content['w'].tolist() == [1]
    with pytest.raises(ValueError, match='resnet5000'):
        CheckpointLoader.load_checkpoint('torchvision://resnet5000')
