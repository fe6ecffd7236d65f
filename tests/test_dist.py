import os

import torch.distributed as dist
from helpers.forks import fork_run

from mmal.dist import close_dist


def test_a_fork_leaves_its_group_after_its_parent_left_another(tmp_path):
    """The fork has the group of its parent, but not that group's threads."""

    def join_and_leave(name):
        dist.init_process_group('gloo', init_method=f'file://{tmp_path}/{name}',
                                rank=0, world_size=1)
        dist.barrier()
        close_dist()

    def parent():
        join_and_leave('first')
        child = os.fork()
        if child == 0:
            join_and_leave('second')
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    done = fork_run(parent, timeout=60)
    assert done.returncode == 0, done.stderr
