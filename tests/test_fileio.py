import errno
import os
import subprocess
import sys
import threading

import pytest

from mmal import fileio
from mmal.fileio import (
    atomic_write,
    discard_leftovers,
    read_json,
    write_bytes,
    write_json,
    write_text,
)

OLD = b'the old content'


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'a.json').write_bytes(OLD)
    return str(tmp_path / 'a.json')


def _content(path):
    with open(path, 'rb') as f:
        return f.read()


def _alone(path):
    return os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_round_trip(tmp_path):
    path = str(tmp_path / 'new' / 'folder' / 'a.json')
    obj = {'ids': [1, 'ü', '\ud800'], 'x': 0.1, 'none': None}
    write_json(path, obj)
    assert read_json(path) == obj
    write_json(path, [1], indent=2)
    assert read_json(path) == [1]
    write_text(path, 'ü\n')
    assert _content(path) == 'ü\n'.encode()
    write_bytes(path, b'\0')
    assert _content(path) == b'\0'
    assert _alone(path)


def test_a_bare_name_goes_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text('b.txt', 'b')
    assert (tmp_path / 'b.txt').read_text() == 'b'


def test_the_old_content_stays_until_the_end(path):
    with atomic_write(path) as f:
        f.write(b'new')
        f.flush()
        assert _content(path) == OLD
    assert _content(path) == b'new'


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_keeps_the_old_content(path, error):
    with pytest.raises(error, match='^half way$'):
        with atomic_write(path) as f:
            f.write(b'new')
            raise error('half way')
    assert _content(path) == OLD and _alone(path)


@pytest.mark.parametrize('obj, kind', [
    ({'a': float('nan')}, ValueError), ([float('inf')], ValueError),
    ({'a': object()}, TypeError), ({'a': {1}}, TypeError)])
def test_what_json_cannot_hold(path, obj, kind):
    with pytest.raises(kind, match=r'a\.json cannot be written as JSON'):
        write_json(path, obj)
    assert _content(path) == OLD and _alone(path)


@pytest.mark.parametrize('content', [b'', b'{"a": [1, 2', b'\xff\xfe', b'x'])
def test_broken_json(path, content):
    write_bytes(path, content)
    with pytest.raises(ValueError, match=r'a\.json is not valid JSON'):
        read_json(path)


def test_missing_json(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'b\.json'):
        read_json(str(tmp_path / 'b.json'))


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(str(tmp_path / 'a'), 'a')
        assert os.stat(tmp_path / 'a').st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027  # as it was
    finally:
        os.umask(before)


def test_a_file_where_a_folder_is_needed(path):
    with pytest.raises(OSError, match=r'a\.json'):
        write_text(os.path.join(path, 'b.json'), 'b')
    assert _content(path) == OLD


@pytest.mark.parametrize('code', [
    errno.EIO, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_an_error_of_the_disk_names_the_file(tmp_path, monkeypatch, code):
    path = str(tmp_path / 'a.json')
    write_json(path, 1)

    def fail(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr('os.fsync', fail)
        with pytest.raises(OSError, match='Nothing was lost.*--resume') as e:
            write_json(path, 2)
    assert e.value.errno == code and path in str(e.value)
    assert os.strerror(code) in str(e.value)
    assert read_json(path) == 1 and os.listdir(tmp_path) == ['a.json']


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    path = str(tmp_path / 'a.json')
    for other in ('/somewhere/b.json', str(tmp_path / 'b.json')):
        with pytest.raises(OSError) as e:
            with atomic_write(path):
                raise OSError(errno.EIO, 'Input/output error', other)
        assert e.value.filename == other and path not in str(e.value)


def test_a_read_that_fails_names_the_file(tmp_path, monkeypatch):
    path = str(tmp_path / 'a.json')
    write_json(path, 1)

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr('json.load', fail)
    with pytest.raises(OSError, match='Input/output error') as e:
        read_json(path)
    assert e.value.filename == path


@pytest.mark.parametrize('call', ['write', 'fsync', 'mkdir'])
@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_explained(path, monkeypatch, call, code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    target = path
    if call == 'mkdir':
        target = os.path.join(os.path.dirname(path), 'sub', 'a.json')
        monkeypatch.setattr(os, 'mkdir', fail)
    if call == 'fsync':
        monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='free some space.*--resume') as e:
        with atomic_write(target):
            if call == 'write':
                fail()
    assert e.value.errno == code and target in str(e.value)
    monkeypatch.undo()
    assert _content(path) == OLD and _alone(path)


FULL_DISK = '''
import importlib.util, resource, signal, sys
spec = importlib.util.spec_from_file_location('fileio', sys.argv[1])
fileio = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fileio)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
fileio.write_json(sys.argv[2], list(range(int(sys.argv[3]))))
'''


@pytest.mark.parametrize('numbers, fits', [(1000, True), (100000, False)])
def test_a_real_limit(path, numbers, fits):
    """The kernel refuses to write more, as on a full disk."""
    done = subprocess.run(
        [sys.executable, '-c', FULL_DISK, fileio.__file__, path,
         str(numbers)], capture_output=True, text=True)
    if fits:
        assert done.returncode == 0
        assert len(read_json(path)) == numbers
    else:
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert path in last and 'free some space' in last
        assert _content(path) == OLD
    assert _alone(path)


def test_a_reader_sees_one_or_the_other(path):
    texts = ['a' * 200000, 'b' * 300000]
    write_text(path, texts[0])
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            write_text(path, texts[n % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {_content(path).decode() for _ in range(300)}
    finally:
        stop.set()
        writer.join()
    assert seen <= set(texts)


def test_leftovers_of_killed_processes(path):
    folder = os.path.dirname(path)
    code = ('import os, sys\n' + FULL_DISK.split('signal.signal')[0] +
            'with fileio.atomic_write(sys.argv[2]) as f:\n'
            '    f.write(b"half"); f.flush(); os.kill(os.getpid(), 9)\n')
    subprocess.run([sys.executable, '-c', code, fileio.__file__, path])
    assert len(os.listdir(folder)) == 2
    with open(os.path.join(folder, '.mine.tmp'), 'w'):
        pass
    discard_leftovers(folder)
    assert sorted(os.listdir(folder)) == ['.mine.tmp', 'a.json']
    assert _content(path) == OLD
    discard_leftovers(os.path.join(folder, 'none'))
