"""Checkpoints of real runs load; anything that could run code does not."""
import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import pretended_gpu
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmal.compat import checkpoints
from mmal.compat.checkpoints import (
    CheckpointError,
    CorruptCheckpointError,
    UnsafeCheckpointError,
    check_exists,
    is_readable_checkpoint,
    load_checkpoint,
    load_file,
)


class Line(BaseModel):
    """One weight per input."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, *inputs, mode='tensor'):
        return dict(loss=self.layer(torch.stack(inputs)).pow(2).mean())


class Points(Dataset):
    metainfo = dict(
        classes=('a', 'b'), palette=[(1, 2, 3)], mean=np.float32(3),
        ids=np.arange(3), names=np.array(['x']),
        nested=ConfigDict(colour=ConfigDict(red=1)))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.ones(2) * index


def runner(folder, epochs, name, **options):
    return Runner(
        Line(), str(folder),
        train_dataloader=dict(
            batch_size=2, dataset=Points(),
            sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=.1, by_epoch=False, end=3),
            dict(type='CosineAnnealingLR', T_max=4)],
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1)),
        log_level='WARNING', randomness=dict(seed=0),
        experiment_name=f'checkpoints_{name}_{os.path.basename(folder)}',
        **options)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Work folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp('run')
    runner(folder, 2, 'first').train()
    return folder


@pytest.fixture
def checkpoint(trained):
    return trained / 'epoch_2.pth'


@pytest.fixture(params=['torch', 'restricted'])
def way(request, monkeypatch):
    """torch's own weights_only, and ours for torch before 2.6."""
    if request.param == 'restricted':
        monkeypatch.setattr(checkpoints, 'NATIVE', False)
    elif not checkpoints.NATIVE:
        pytest.skip('torch < 2.6 only has the restricted way')


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target, )


class Build:
    """Runs a function of an attribute of an allowed class."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_checkpoint_of_a_run(checkpoint, way):
    loaded = load_checkpoint(checkpoint)
    assert set(loaded) == {'meta', 'state_dict', 'message_hub', 'optimizer',
                           'param_schedulers', 'ema_state_dict'}
    assert loaded['meta']['epoch'] == 2
    meta = loaded['meta']['dataset_meta']
    assert meta['nested'].colour.red == 1 and meta['mean'] == 3
    assert meta['ids'].tolist() == [0, 1, 2] and meta['names'][0] == 'x'
    losses = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(losses, HistoryBuffer)
    assert len(losses.data[0]) == 8 and losses.statistics('mean') > 0
    assert is_readable_checkpoint(str(checkpoint))


def test_same_tensors_as_without_restriction(checkpoint, way):
    ours = load_checkpoint(checkpoint)['state_dict']
    theirs = torch.load(checkpoint, 'cpu', weights_only=False)['state_dict']
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_may_stay_in_the_file(tmp_path, monkeypatch, zipped, way):
    original, options = torch.load, []
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: (
        options.append(kwargs), original(*args, **kwargs))[1])
    weights = dict(x=torch.randn(1000))
    path = tmp_path / 'weights.pth'
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(path, mmap=True)
    assert torch.equal(loaded['x'], weights['x'])
    assert bool(options[0].get('mmap')) == (zipped and checkpoints.NATIVE)


@pytest.mark.parametrize('auto', [True, False])
def test_runner_resumes_at_the_next_epoch(trained, tmp_path, auto):
    for name in ('epoch_2.pth', 'last_checkpoint'):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    where = {} if auto else {'load_from': str(tmp_path / 'epoch_2.pth')}
    resumed = runner(tmp_path, 4, f'resumed_{auto}', resume=True, **where)
    resumed.train()
    assert resumed.epoch == 4 and resumed.iter == 16
    assert not (tmp_path / 'epoch_1.pth').exists()
    names = sorted(path.name for path in tmp_path.glob('epoch_*'))
    assert names == ['epoch_2.pth', 'epoch_3.pth', 'epoch_4.pth']
    history = load_checkpoint(tmp_path / 'epoch_3.pth')['message_hub']
    assert len(history['log_scalars']['train/loss'].data[0]) == 12


@pytest.mark.parametrize('numpy_core', ['numpy.core', 'numpy._core'])
def test_values_pickled_by_numpy_1_and_2(tmp_path, numpy_core, way):
    values = dict(scalar=np.float64(2.5), flag=np.bool_(True),
                  array=np.arange(4, dtype=np.int32).reshape(2, 2),
                  empty=np.zeros((0, 3), np.float16), text=np.array(['ab']))
    path = tmp_path / 'values.pth'
    torch.save(values, path)
    here = np.arange(1).__reduce__()[0].__module__.rsplit('.', 1)[0]
    content = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content[name] = archive.read(name)
            if name.endswith('data.pkl'):
                content[name] = content[name].replace(
                    f'c{here}.'.encode(), f'c{numpy_core}.'.encode())
                assert f'c{numpy_core}.multi'.encode() in content[name]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    loaded = load_checkpoint(path)
    for name, value in values.items():
        assert loaded[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded[name], value)


@pytest.mark.parametrize('form', ['zip', 'legacy', 'plain'])
def test_malicious_pickles_are_refused_unrun(tmp_path, form, way):
    path, target = tmp_path / 'evil.pth', tmp_path / 'created'
    content = dict(state_dict={}, extra=Payload(target))
    if form == 'plain':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path,
                   _use_new_zipfile_serialization=form == 'zip')
    with pytest.raises(CheckpointError) as info:
        load_checkpoint(path)
    assert not target.exists()
    assert not is_readable_checkpoint(path)
    assert not target.exists()
    assert str(path) in str(info.value) and '\n' not in str(info.value)
    assert isinstance(info.value, UnsafeCheckpointError)
    assert 'mkdir' in str(info.value)
    assert 'Nothing of it was run' in str(info.value)
    torch.load(path, weights_only=False) if form != 'plain' else \
        pickle.loads(path.read_bytes())
    assert target.exists()  # so it would have been


@pytest.mark.parametrize('size', [(10**12, ), ('text', 'ascii')])
def test_bytes_are_only_ever_empty(tmp_path, size, way):
    class Huge:

        def __reduce__(self):
            return bytes, size

    path = tmp_path / 'bytes.pth'
    torch.save(dict(a=Huge()), path)
    with pytest.raises(UnsafeCheckpointError, match='bytes'):
        load_checkpoint(path)


def test_getattr_leads_nowhere_else(tmp_path, way):
    path = tmp_path / 'getattr.pth'
    torch.save(dict(a=Build()), path)
    with pytest.raises(UnsafeCheckpointError,
                       match='getattr.HistoryBuffer,__init__'):
        load_checkpoint(path)


def test_every_refused_class_is_named(tmp_path):
    if not checkpoints.NATIVE:
        pytest.skip('torch < 2.6 names the first only')
    path = tmp_path / 'objects.pth'
    torch.save(dict(a=Fraction(1, 2), b=torch.nn.Linear(1, 1)), path)
    with pytest.raises(UnsafeCheckpointError) as info:
        load_checkpoint(path)
    assert 'fractions.Fraction' in str(info.value)
    assert 'torch.nn.modules.linear.Linear' in str(info.value)
    assert str(info.value).count('Fraction') == 1
    assert 'add_safe_globals' in str(info.value)


def test_the_runner_refuses_with_the_same_error(tmp_path):
    path, target = tmp_path / 'evil.pth', tmp_path / 'created'
    torch.save(dict(state_dict={}, extra=Payload(target)), path)
    loading = runner(tmp_path, 1, 'refusing', load_from=str(path))
    with pytest.raises(UnsafeCheckpointError, match='evil.pth: refused'):
        loading.load_or_resume()
    assert not target.exists()


def test_mmengine_loads_models_that_are_plain_weights(tmp_path):
    from mmengine.runner import load_checkpoint as load_into
    model, other = Line(), Line()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    load_into(other, str(tmp_path / 'weights.pth'), map_location='cpu')
    assert torch.equal(model.layer.weight, other.layer.weight)
    with pytest.raises(FileNotFoundError, match='none.pth'):
        load_into(other, str(tmp_path / 'none.pth'))


@pytest.mark.parametrize('share', [0., 0.001, 0.3, 0.9, 0.999])
def test_truncated_files(checkpoint, tmp_path, share, way):
    content = checkpoint.read_bytes()
    path = tmp_path / 'cut.pth'
    path.write_bytes(content[:int(len(content) * share)])
    with pytest.raises(CorruptCheckpointError) as info:
        load_checkpoint(path)
    assert str(info.value).startswith(f'{path}: cannot be read')
    assert '\n' not in str(info.value)
    assert not is_readable_checkpoint(path)


@pytest.mark.parametrize('content', [b'x' * 100, b'\x80\x02}q\x00.',
                                     b'PK\x03\x04' + b'\0' * 50])
def test_files_that_are_no_checkpoints(tmp_path, content, way):
    path = tmp_path / 'other.pth'
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match='cannot be read'):
        load_checkpoint(path)
    assert not is_readable_checkpoint(path)


def test_other_archives_and_other_content(tmp_path):
    path = tmp_path / 'archive.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'no tensors')
    with pytest.raises(CorruptCheckpointError, match='archive.pth'):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CorruptCheckpointError, match='holds a list'):
        load_checkpoint(path)
    assert not is_readable_checkpoint(path)


def test_flipped_bits_are_seen_before_a_resume(tmp_path):
    path = tmp_path / 'flipped.pth'
    torch.save(dict(weight=torch.full((1000, ), 3.)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not is_readable_checkpoint(path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth: no such'):
        load_checkpoint(tmp_path / 'none.pth')
    assert not is_readable_checkpoint(tmp_path / 'none.pth')
    assert not is_readable_checkpoint(tmp_path)


def test_errors_of_the_surroundings_pass_unchanged(checkpoint):
    with pytest.raises(RuntimeError) as info:
        load_checkpoint(checkpoint, map_location='no-such-device')
    assert not isinstance(info.value, CheckpointError)


def test_what_a_user_allows_is_loaded(tmp_path):
    if not checkpoints.NATIVE:
        pytest.skip('torch < 2.6 has no list that users extend')
    path = tmp_path / 'counter.pth'
    torch.save(dict(a=Fraction(1, 2), b=Counter('aa')), path)
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(path)
    with torch.serialization.safe_globals([Fraction]):
        assert load_checkpoint(path)['a'] == Fraction(1, 2)


def test_torch_load_itself_accepts_them_after_import_mmal(checkpoint):
    if not checkpoints.NATIVE:
        pytest.skip('torch < 2.6 does not restrict by default')
    code = ('import sys, torch\n{}\n'
            'print(sorted(torch.load(sys.argv[1]))[0])')
    for line, works in (('', False), ('import mmal', True)):
        result = subprocess.run(
            [sys.executable, '-c', code.format(line), str(checkpoint)],
            capture_output=True, text=True,
            env={**os.environ, **pretended_gpu.environment()})
        assert (result.returncode == 0) is works, result.stderr
        assert works or 'Weights only load failed' in result.stderr


@pytest.mark.parametrize('content', ['file', 'bytes'])
def test_programs_of_torch_jit_are_refused(tmp_path, content, way):
    path = tmp_path / 'program.pt'
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    file = path if content == 'file' else io.BytesIO(path.read_bytes())
    with pytest.raises(UnsafeCheckpointError,
                       match=r'TorchScript.*Save its weights') as info:
        load_file(file, name='program.pt')
    assert str(info.value).startswith('program.pt: refused')
    assert not is_readable_checkpoint(path)


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_must_have_its_sha256(tmp_path, way):
    path = tmp_path / 'weights.pth'
    torch.save(dict(w=torch.ones(1)), path)
    right = sha256_of(path)
    for digits in (right, right.upper()):
        content = load_checkpoint(f'{path}#sha256={digits}')
        assert content['w'].tolist() == [1]
    wrong = '0' * 64
    with pytest.raises(CheckpointError) as info:
        load_checkpoint(f'{path}#sha256={wrong}')
    for part in (f'{path}: its SHA-256', wrong, right):
        assert part in str(info.value)
    # a file that was right before is compared again when it is another
    torch.save(dict(w=torch.zeros(1)), path)
    os.utime(path, (1, 1))
    with pytest.raises(CheckpointError, match=sha256_of(path)):
        load_checkpoint(f'{path}#sha256={right}')


def test_nothing_of_a_file_with_another_sha256_is_unpickled(tmp_path, way):
    path, target = tmp_path / 'evil.pth', tmp_path / 'created'
    torch.save(dict(extra=Payload(target)), path)
    with pytest.raises(CheckpointError, match='nothing of it was read'):
        load_checkpoint(f'{path}#sha256={"0" * 64}')
    with pytest.raises(UnsafeCheckpointError, match='mkdir'):
        load_checkpoint(f'{path}#sha256={sha256_of(path)}')
    assert not target.exists()


@pytest.mark.parametrize('digits', ['', 'abc', '0' * 63, '0' * 65, 'g' * 64])
def test_digits_that_are_no_sha256(tmp_path, digits):
    torch.save({}, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='needs the 64 hexadecimal'):
        load_checkpoint(f'{tmp_path}/weights.pth#sha256={digits}')


def test_what_is_no_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError,
                       match='http://x/y.pth. Only files.*download it first'):
        check_exists('http://x/y.pth')
    torch.save({}, tmp_path / 'weights.pth')
    check_exists(f'{tmp_path}/weights.pth#sha256={"0" * 64}')
