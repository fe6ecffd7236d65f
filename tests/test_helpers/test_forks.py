"""Programs in forks behave as programs of their own."""
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.forks import Kill, fork_run, fork_two

from mmal.dist import close_dist, setup_dist
from mmal.fileio import write_text


def program(tmp_path, text):
    path = tmp_path / 'program.py'
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize('end, status, said', [
    ('', 0, ''), ('sys.exit(3)', 3, ''), ('sys.exit("no")', 1, 'no\n'),
    ('1 / 0', 1, 'ZeroDivisionError')])
def test_a_file_runs_as_python_would_run_it(tmp_path, end, status, said):
    path = program(tmp_path, 'import sys\n'
                   f'print(__name__, *sys.argv[1:])\n{end}\n')
    before = sys.argv
    done = fork_run(path, 'a', 5)
    assert done.returncode == status
    assert done.stdout == '__main__ a 5\n' and said in done.stderr
    assert sys.argv == before


def test_what_a_child_changes_is_its_own():
    def child():
        os.environ['CHANGED'] = 'yes'
        print(os.environ['GIVEN'])
        return 4

    done = fork_run(child, env=dict(GIVEN='here'))
    assert (done.returncode, done.stdout) == (4, 'here\n')
    assert not {'CHANGED', 'GIVEN'} & set(os.environ)


@pytest.mark.parametrize('when, left', [('before', 'one'), ('after', 'two')])
def test_a_kill_is_at_the_call_that_is_meant(tmp_path, when, left):
    path = str(tmp_path / 'file.txt')

    def child():
        for text in ('one', 'two', 'three'):
            write_text(path, text)
            write_text(path + '.other', text)

    done = fork_run(child, kill=Kill('os', 'replace', 2, when, 'file.txt'))
    assert done.returncode == -signal.SIGKILL
    with open(path) as f:
        assert f.read() == left


def test_no_process_is_left_when_the_time_is_up(tmp_path):
    def child():
        if os.fork() == 0:
            time.sleep(2)
            write_text(str(tmp_path / 'late'), '')
        time.sleep(60)

    with pytest.raises(subprocess.TimeoutExpired):
        fork_run(child, timeout=.5)
    time.sleep(2)
    assert os.listdir(tmp_path) == []


def test_two_processes_find_each_other():
    def child():
        import torch.distributed as dist
        setup_dist('pytorch')
        ranks = [None, None]
        dist.all_gather_object(ranks, dist.get_rank())
        print(ranks)
        close_dist()

    for done in fork_two(child):
        assert (done.returncode, done.stdout) == (0, '[0, 1]\n'), done.stderr


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch):
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ValueError, match='process 3 on a machine with 2 vis'):
        setup_dist('pytorch')
