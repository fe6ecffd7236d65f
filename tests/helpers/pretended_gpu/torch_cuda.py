"""What ``torch.cuda`` asks of the parts that a torch for CPUs lacks."""
from __future__ import annotations

import contextlib
import os
import types


class Event:
    """Of a device that has done everything when a call returns."""

    def __init__(self, *args, **kwargs) -> None:
        pass

    def _nothing(self, *args):
        pass

    record = synchronize = wait = _nothing

    def query(self) -> bool:
        return True

    def elapsed_time(self, other) -> float:
        return 0.


class Stream:
    """The only one there is."""
    cuda_stream = 0

    def __init__(self, *args, **kwargs) -> None:
        pass

    def _nothing(self, *args):
        pass

    synchronize = wait_stream = wait_event = _nothing

    def record_event(self, event=None):
        return event or Event()


def replace_torch_cuda(torch, extension) -> None:
    """Put functions of the pretended device into ``torch.cuda``.

    Args:
        torch (module): Just imported.
        extension (module): The compiled device.
    """
    count = extension.device_count()
    generators = tuple(extension.generator(i) for i in range(count))

    def index_of(device=None) -> int:
        if isinstance(device, int):
            return device
        index = None if device is None else torch.device(device).index
        return extension.current_device() if index is None else index

    def device_count() -> int:
        # a fork may have hidden them
        hidden = os.environ.get('CUDA_VISIBLE_DEVICES') == '-1'
        return 0 if hidden else count

    def exchange(index):
        old = extension.current_device()
        extension.set_device(index)
        return old if index >= 0 else -1

    def memory(device=None):
        return extension.memory(index_of(device))

    def peak(device=None):
        return extension.peak(index_of(device))

    properties = types.SimpleNamespace(
        name='pretended GPU', major=9, minor=0, total_memory=16 << 30,
        multi_processor_count=1)
    replacements = dict(
        is_available=lambda: device_count() > 0,
        _is_compiled=lambda: True,
        is_initialized=lambda: True,
        init=lambda: None,
        _lazy_init=lambda: None,
        _lazy_call=lambda call, **kwargs: call(),
        _is_in_bad_fork=lambda: False,
        device_count=device_count,
        current_device=lambda: extension.current_device(),
        set_device=lambda device: extension.set_device(index_of(device)),
        _exchange_device=exchange,
        _maybe_exchange_device=exchange,
        synchronize=lambda device=None: None,
        empty_cache=lambda: None,
        ipc_collect=lambda: None,
        memory_allocated=memory,
        memory_reserved=memory,
        max_memory_allocated=peak,
        max_memory_reserved=peak,
        reset_peak_memory_stats=lambda device=None: extension.reset_peak(
            index_of(device)),
        mem_get_info=lambda device=None: (8 << 30, 16 << 30),
        default_generators=generators,
        manual_seed=lambda seed: generators[index_of()].manual_seed(
            int(seed)),
        manual_seed_all=lambda seed: [
            g.manual_seed(int(seed)) for g in generators],
        seed=lambda: generators[index_of()].seed(),
        seed_all=lambda: [g.seed() for g in generators],
        initial_seed=lambda: generators[index_of()].initial_seed(),
        get_rng_state=lambda device='cuda': generators[
            index_of(device)].get_state(),
        set_rng_state=lambda new_state, device='cuda': generators[
            index_of(device)].set_state(new_state),
        get_rng_state_all=lambda: [g.get_state() for g in generators],
        set_rng_state_all=lambda new_states: [
            g.set_state(s) for g, s in zip(generators, new_states)],
        get_device_name=lambda device=None: properties.name,
        get_device_capability=lambda device=None: (9, 0),
        get_device_properties=lambda device=None: properties,
        get_arch_list=lambda: ['sm_90'],
        is_bf16_supported=lambda including_emulation=True: True,
        current_stream=lambda device=None: Stream(),
        default_stream=lambda device=None: Stream(),
        stream=lambda stream: contextlib.nullcontext(),
        Event=Event,
        Stream=Stream)
    for name, value in replacements.items():
        setattr(torch.cuda, name, value)
    torch._C._cuda_getCurrentRawStream = lambda index: 0
    _replace_storages(torch, index_of)

    def forked():
        # as after a fork of a process that has used CUDA
        extension.watch(None)
        extension.poison()
        torch.cuda._is_in_bad_fork = lambda: True

    os.register_at_fork(after_in_child=forked)


def _replace_storages(torch, index_of) -> None:
    """Bytes move between devices by tensors: for torch.save, load, deepcopy.

    torch's own way is a kernel in C++ that a torch for CPUs has not.
    """
    kind = torch.UntypedStorage
    clone = kind.clone

    def flat(storage):
        storage = getattr(storage, '_untyped_storage', storage)
        empty = torch.empty(0, dtype=torch.uint8, device=storage.device)
        return empty.set_(storage, 0, (storage.nbytes(), ), (1, ))

    def like(storage, device):
        made = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device)
        made.copy_(flat(storage))
        return made.untyped_storage()

    def copy_(self, source, non_blocking=None):
        flat(self).copy_(flat(source))
        return self

    def to(self, device=None, non_blocking=False):
        is_there = self.device == torch.device(device)
        return self if is_there else like(self, device)

    kind.copy_, kind.to = copy_, to
    kind.cuda = lambda self, device=None, non_blocking=False: to(
        self, torch.device('cuda', index_of(device)))
    kind.clone = lambda self: clone(
        self) if self.device.type == 'cpu' else like(self, self.device)
