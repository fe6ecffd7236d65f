"""One process at a time in a work folder."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers.forks import Kill, fork_run, fork_together
from helpers.runs import TRAIN, make_config

from mmal.engine.lease import release_lease, take_lease
from mmal.pool.layout import WorkDir


@pytest.fixture
def work(tmp_path):
    work = WorkDir(str(tmp_path / 'work'))
    yield work
    release_lease(work)


def holder_of(work):
    with open(work.lease) as f:
        return json.load(f)


def test_taken_and_given_back(work):
    take_lease(work)
    take_lease(work)  # the same process
    assert holder_of(work)['pid'] == os.getpid()
    assert os.listdir(work.path) == ['in_use.json']
    release_lease(work)
    assert os.listdir(work.path) == []
    release_lease(work)
    take_lease(work)
    assert os.listdir(work.path) == ['in_use.json']


HOLD = ('import sys, time; from mmal.pool.layout import WorkDir; '
        'from mmal.engine.lease import take_lease; '
        'take_lease(WorkDir(sys.argv[1])); print("held", flush=True); '
        'time.sleep(60)')


def test_another_process_is_told_who_has_it_until_it_is_dead(work):
    other = subprocess.Popen([sys.executable, '-c', HOLD, work.path],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(ValueError) as e:
            take_lease(work)
        for part in (f'in use by process {other.pid} on ',
                     socket.gethostname(), '--work-dir', work.lease):
            assert part in str(e.value)
        # killed, but nobody has looked at its status yet
        other.send_signal(signal.SIGKILL)
        while open(f'/proc/{other.pid}/stat').read().split()[2] != 'Z':
            time.sleep(.01)
        take_lease(work)
        assert holder_of(work)['pid'] == os.getpid()
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize('change, is_dead', [
    (dict(), False), (dict(started='1'), True), (dict(boot='another'), True),
    (dict(pid=2**22 + 1), True), (dict(host='elsewhere'), False),
    (dict(host='elsewhere', pid=2**22 + 1), False)])
def test_who_is_known_to_be_dead(work, change, is_dead):
    """A process of this machine that ended, whose number may be another's
    now; of other machines nobody can tell."""
    take_lease(work)
    holder = dict(holder_of(work), **change)
    release_lease(work)
    with open(work.lease, 'w') as f:
        json.dump(holder, f)
    if is_dead:
        take_lease(work)
    else:
        with pytest.raises(ValueError, match='in use by process'):
            take_lease(work)
    os.unlink(work.lease)


def test_a_long_silence_is_told(work):
    os.makedirs(work.path)
    with open(work.lease, 'w') as f:
        json.dump(dict(host='elsewhere', pid=7, boot='', started='1',
                       since='2026-01-01 00:00:00'), f)
    os.utime(work.lease, (time.time() - 3600, ) * 2)
    with pytest.raises(ValueError, match='sign of life 60 minutes ago.*'
                       'If that process is dead, remove .*in_use.json'):
        take_lease(work)


@pytest.mark.parametrize('content', ['', '{', '[]', '{"pid": 3}'])
def test_a_damaged_lease_is_nobodys(work, content):
    os.makedirs(work.path)
    with open(work.lease, 'w') as f:
        f.write(content)
    take_lease(work)
    assert holder_of(work)['pid'] == os.getpid()


def leave_dead(work):
    with open(work.lease, 'w') as f:
        json.dump(dict(host=socket.gethostname(), pid=1, boot='another',
                       started='1', since=''), f)


@pytest.mark.parametrize('step', ['access', 'fstat'])
def test_a_slow_process_does_not_take_what_a_fast_one_has(
        work, step, monkeypatch):
    """Both have found the dead; the fast one is done before the slow one goes
    on. Nobody may find the folder free in between, not even for a moment."""
    os.makedirs(work.path)
    leave_dead(work)
    original = getattr(os, step)
    left = []

    def slow(*args):
        monkeypatch.setattr(os, step, original)
        other = subprocess.Popen([sys.executable, '-c', HOLD, work.path],
                                 stdout=subprocess.PIPE, text=True)
        left.append(other)
        if step == 'access':  # before the lock; after it, the other waits
            assert other.stdout.readline() == 'held\n'
        return original(*args)

    monkeypatch.setattr(os, step, slow)
    try:
        if step == 'access':
            with pytest.raises(ValueError, match='in use by process'):
                take_lease(work)
            assert holder_of(work)['pid'] == left[0].pid
        else:
            take_lease(work)
            assert left[0].wait(60) == 1  # it is refused
            assert holder_of(work)['pid'] == os.getpid()
    finally:
        left[0].kill()
        left[0].communicate()


@pytest.mark.parametrize('left', [None, 'dead'])
def test_one_of_many_gets_it(work, left):
    """All start at once, in an empty folder or after a crash."""
    os.makedirs(work.path)
    if left:
        leave_dead(work)
    start = time.time() + 1.

    def work_together():
        time.sleep(max(0, start - time.time()))
        try:
            take_lease(work)
            print('took it', flush=True)
        except ValueError as e:
            assert 'in use by process' in str(e)
        time.sleep(1.5)

    done = fork_together(work_together, number=8)
    assert [d.returncode for d in done] == [0] * 8, done
    assert sum('took it' in d.stdout for d in done) == 1


@pytest.mark.parametrize('kill', [
    Kill('os', 'link'), Kill('os', 'unlink'),
    Kill('os', 'replace', when='after')])
def test_killed_while_it_is_taken(work, kill):
    """The next start finds no lease of the dead and leaves no file."""
    os.makedirs(work.path)
    leave_dead(work)
    done = fork_run(lambda: take_lease(work), kill=kill)
    assert done.returncode == -9
    assert os.path.exists(work.lease)  # never a moment without one
    names = [f'in_use.json.elsewhere.{os.getpid()}',
             f'in_use.json.{socket.gethostname()}.{os.getppid()}']
    for name in names:  # of another machine, of a process that lives
        open(os.path.join(work.path, name), 'w').close()
    take_lease(work)
    assert sorted(os.listdir(work.path)) == sorted(['in_use.json', *names])
    assert holder_of(work)['pid'] == os.getpid()


@pytest.mark.run
def test_the_second_start_of_a_run_is_refused(tmp_path):
    config = make_config(str(tmp_path))
    work = WorkDir(str(tmp_path / 'work'))
    take_lease(work)
    other = subprocess.run(
        [sys.executable, TRAIN, config, '--work-dir', work.path],
        capture_output=True, text=True, timeout=300)
    assert other.returncode == 1
    assert f'in use by process {os.getpid()}' in other.stderr
    assert os.listdir(work.path) == ['in_use.json']
    release_lease(work)
    # a killed run leaves its lease, which does not stop the next start
    kill = Kill('mmal.engine.run_state', 'RunState.save')
    done = fork_run(TRAIN, config, '--work-dir', work.path, kill=kill)
    assert done.returncode == -9 and os.path.exists(work.lease)
    done = fork_run(TRAIN, config, '--work-dir', work.path, '--resume',
                    '--cfg-options', 'active_learning.rounds=1')
    assert done.returncode == 0, done.stderr
    assert not os.path.exists(work.lease)
