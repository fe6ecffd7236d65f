"""reduce_mean inside and outside of local_losses, with two processes."""
import threading

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from mmdet.models.dense_heads import fcos_head
from mmdet.utils import dist_utils, reduce_mean

from mmal.compat.losses import local_losses
from mmal.dist import close_dist


def in_process(rank, folder):
    dist.init_process_group('gloo', rank=rank, world_size=2,
                            init_method=f'file://{folder}/rendezvous')
    # The head's own reference to the function, and rank 1 with one more
    # call than rank 0: an all-reduce would hang or mix the values.
    value = torch.tensor(10. + rank)
    results = {'before': fcos_head.reduce_mean(value)}
    with local_losses():
        results['inside'] = fcos_head.reduce_mean(value)
        with local_losses():
            results['nested'] = reduce_mean(value)
        results['still inside'] = reduce_mean(value)
        if rank == 1:
            reduce_mean(value)
        results['world'] = torch.tensor(dist.get_world_size())
        other = threading.Thread(
            target=lambda: results.update(thread=reduce_mean(value)))
        other.start()
        other.join()
    try:
        with local_losses():
            raise KeyError
    except KeyError:
        results['after'] = reduce_mean(value)
    assert dist_utils.dist is dist
    torch.save(results, f'{folder}/{rank}.pth')
    close_dist()


def test_two_processes(tmp_path):
    # Forked: mmdet, imported once, takes seconds.
    multiprocessing.start_processes(in_process, (str(tmp_path), ), nprocs=2,
                                    start_method='fork')
    for rank in range(2):
        results = torch.load(tmp_path / f'{rank}.pth')
        assert results == {
            'before': 10.5, 'after': 10.5, 'inside': 10 + rank,
            'nested': 10 + rank, 'still inside': 10 + rank,
            'thread': 10.5, 'world': 2}


def test_nothing_is_left_behind():
    value = torch.ones(1)
    with local_losses():
        assert dist_utils.dist is not dist
        assert reduce_mean(value) is value
        assert dist_utils.dist.ReduceOp is dist.ReduceOp
        assert dist_utils.dist.is_available() == dist.is_available()
    assert dist_utils.dist is dist
    with pytest.raises(ValueError, match='kept'), local_losses():
        raise ValueError('kept')
    assert dist_utils.dist is dist


def test_many_threads_restore_it_once_all_have_left():
    barrier = threading.Barrier(4)
    seen = []

    def work(number):
        with local_losses():
            barrier.wait()
            seen.append(dist_utils.dist is not dist)
            barrier.wait()

    threads = [threading.Thread(target=work, args=(n, )) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4
    assert dist_utils.dist is dist
