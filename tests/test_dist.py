"""Groups of processes are left without waiting for what is not there."""
import os

import torch.distributed as torch_dist
from helpers.forks import fork_run

from mmal.dist import close_dist


def test_a_fork_of_who_left_a_group_can_leave_another_one(tmp_path):
    """The threads of gloo of the first group are not there in the fork."""
    def join_and_leave(name):
        torch_dist.init_process_group(
            'gloo', init_method=f'file://{tmp_path}/{name}', rank=0,
            world_size=1)
        torch_dist.barrier()
        close_dist()

    def run():
        join_and_leave('first')
        pid = os.fork()
        if pid:
            return os.waitpid(pid, 0)[1]
        join_and_leave('second')
        os._exit(0)

    done = fork_run(run, timeout=30)
    assert (done.returncode, done.stderr) == (0, '')
