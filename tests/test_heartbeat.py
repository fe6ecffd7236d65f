"""Who waits for whom is told, and nobody waits for one that never comes."""
import ctypes
import os
import signal
import time

import pytest
import torch
import torch.distributed as torch_dist
from helpers.forks import fork_world

from mmal.commands.errors import run_or_explain
from mmal.dist import close_dist, on_main, setup_dist

PATIENCE = 1.5


def processes(work, number=2):
    """Finished processes of a function of their rank."""

    def run():
        setup_dist('pytorch', interval=.1, patience=PATIENCE)
        rank = torch_dist.get_rank()
        return run_or_explain(lambda: work(rank), 'test')

    return fork_world(number, run)


def write_reports():
    time.sleep(3.2 * PATIENCE)
    return 'written'


def test_who_is_waited_for_is_told_and_the_run_goes_on():
    def work(rank):
        print(on_main(write_reports))

    both = processes(work, 3)
    assert [done.returncode for done in both] == [0, 0, 0]
    assert [done.stdout for done in both] == ['written\n'] * 3
    assert both[0].stderr == both[2].stderr == ''
    lines = both[1].stderr.splitlines()
    assert 2 <= len(lines) <= 3  # not at every sign
    for line in lines:
        assert line.startswith(
            'mmal: process 1 has been waiting for process 0 on ')
        assert line.endswith('(test_heartbeat.write_reports).')


def test_a_collective_of_torch_is_waited_for_as_well():
    """What DistributedDataParallel and mmengine do."""
    def work(rank):
        for _ in range(3):
            torch_dist.all_reduce(torch.ones(1))
        if rank == 1:
            write_reports()
        torch_dist.all_reduce(torch.ones(1))

    both = processes(work)
    assert [done.returncode for done in both] == [0, 0]
    assert 'process 0 has been waiting for process 1' in both[0].stderr
    assert both[1].stderr == ''


def test_short_waits_are_not_worth_a_word():
    def work(rank):
        for _ in range(8):  # longer than the patience, all together
            on_main(lambda: time.sleep(PATIENCE / 5))

    both = processes(work)
    assert [(done.returncode, done.stderr) for done in both] == [(0, '')] * 2


def test_working_apart_is_no_waiting():
    def work(rank):
        torch_dist.barrier()
        write_reports()
        torch_dist.barrier()

    both = processes(work)
    assert [(done.returncode, done.stderr) for done in both] == [(0, '')] * 2


@pytest.mark.parametrize('silent, speaks', [(0, 1), (1, 0)])
def test_a_process_without_a_sign_of_life_ends_the_others(silent, speaks):
    def work(rank):
        if rank == silent:  # holds the lock of the interpreter
            ctypes.PyDLL(None).usleep(int(4 * PATIENCE * 1e6))
            os.kill(os.getpid(), signal.SIGKILL)
        torch_dist.all_reduce(torch.ones(1))

    done = processes(work, 3)
    assert [d.returncode for d in done[:silent] + done[silent + 1:]] == [1, 1]
    line, = [line for line in done[speaks].stderr.splitlines()
             if line.startswith('mmal: ')]
    assert line.startswith(f'mmal: error: process {silent} on ')
    assert 'has given no sign of life for 2 seconds' in line
    assert '--resume' in line
    # one message; whoever was the slower one learns it from the connection
    everything = ''.join(d.stderr for d in done)
    assert everything.count('no sign of life') == 1
    assert 'Traceback' not in everything


def test_a_process_that_has_left_is_not_missed():
    def work(rank):
        torch_dist.barrier()
        if rank == 0:
            write_reports()

    both = processes(work)
    assert [(done.returncode, done.stderr) for done in both] == [(0, '')] * 2


def test_a_process_that_was_killed_is_told_at_once():
    def work(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        torch_dist.all_reduce(torch.ones(1))

    first, second = processes(work)
    assert first.returncode == 1 and second.returncode == -signal.SIGKILL
    assert first.stderr.count('another process of the group is gone') == 1


def test_one_process_needs_no_heartbeat():
    def run():
        setup_dist('none')
        close_dist()

    (done, ) = fork_world(1, run)
    assert (done.returncode, done.stderr) == (0, '')
