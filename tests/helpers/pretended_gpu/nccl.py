"""Collectives of pretended GPUs, by gloo, with the rules of NCCL."""
from __future__ import annotations


def replace_collectives(dist) -> None:
    """Let ``torch.distributed`` pretend the backend 'nccl'.

    Only contiguous tensors of the process' own GPU are let through; copies of
    them on the CPU go through gloo.

    Args:
        dist (module): ``torch.distributed``.
    """
    import torch
    plain = {
        name: getattr(dist, name)
        for name in ('init_process_group', 'all_reduce', 'broadcast',
                     'all_gather')
    }

    def check(tensor):
        if not tensor.is_cuda:
            raise RuntimeError(
                'No backend type associated with device type cpu')
        if tensor.device.index != torch.cuda.current_device():
            raise RuntimeError(f'NCCL: a tensor on {tensor.device} in the '
                               f'process of GPU {torch.cuda.current_device()}')
        if not tensor.is_contiguous():
            raise ValueError('Tensors must be contiguous')

    def init_process_group(backend=None, *args, **kwargs):
        is_nccl = backend == 'nccl'
        kwargs.pop('device_id', None)
        plain['init_process_group']('gloo' if is_nccl else backend, *args,
                                    **kwargs)
        if is_nccl:
            dist.get_backend = lambda group=None: 'nccl'

    def in_place(name):

        def collective(tensor, *args, **kwargs):
            if dist.get_backend() != 'nccl':
                return plain[name](tensor, *args, **kwargs)
            check(tensor)
            moved = tensor.cpu()
            plain[name](moved, *args, **kwargs)
            tensor.copy_(moved)

        return collective

    def all_gather(tensor_list, tensor, *args, **kwargs):
        if dist.get_backend() != 'nccl':
            return plain['all_gather'](tensor_list, tensor, *args, **kwargs)
        for x in (*tensor_list, tensor):
            check(x)
        moved = [x.cpu() for x in tensor_list]
        plain['all_gather'](moved, tensor.cpu(), *args, **kwargs)
        for x, y in zip(tensor_list, moved):
            x.copy_(y)

    dist.init_process_group = init_process_group
    dist.all_reduce = in_place('all_reduce')
    dist.broadcast = in_place('broadcast')
    dist.all_gather = all_gather
