"""The pretended GPU itself: what it refuses, counts and gives."""
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from helpers import pretended_gpu
from helpers.pretended_gpu import start

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def pretended(device):
    if not pretended_gpu.is_on():
        pytest.skip('the GPU is a real one')


REFUSED = {
    'sum': lambda x, y: x + y,
    'matrix product': lambda x, y: x @ y.T,
    'cat': lambda x, y: torch.cat([x, y]),
    'in place': lambda x, y: y.add_(x),
    'CPU indexed by GPU': lambda x, y: y[torch.zeros(1).long().to(x.device)],
    'convolution': lambda x, y: F.conv2d(x[None, None], y[None, None]),
    'numpy': lambda x, y: x.numpy(),
    'generator': lambda x, y: torch.randn(
        2, device=x.device, generator=torch.Generator()),
    'generator in place': lambda x, y: y.normal_(
        generator=torch.Generator('cuda')),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_cuda_refuses_is_refused(device, name):
    x, y = torch.randn(3, 4, device=device), torch.ones(3, 4)
    with pytest.raises((RuntimeError, TypeError),
                       match='device|generator|cuda'):
        REFUSED[name](x, y)


def test_what_cuda_takes_of_the_cpu_is_taken(device):
    x = torch.arange(4., device=device)
    assert (x * torch.tensor(2.)).is_cuda
    assert x[torch.tensor([0])].device == x.device
    assert torch.where(x > 1, x, torch.tensor(0.)).tolist() == [0, 0, 2, 3]
    x[x > 1] = torch.tensor(7.)
    assert x.tolist() == [0, 1, 7, 7]


def test_derivatives_of_a_convolution_are_those_of_the_cpu(device):
    def second(where):
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(1, 2, 3).to(where)
        out = F.group_norm(conv(torch.randn(2, 1, 8, 8).to(where)), 1)
        grad, = torch.autograd.grad(out.pow(3).mean(), conv.weight,
                                    create_graph=True)
        return torch.autograd.grad(grad.square().sum(), conv.weight)[0]

    assert second(device).is_cuda
    torch.testing.assert_close(second(device).cpu(), second('cpu'),
                               rtol=1e-4, atol=1e-5)


def test_memory_is_counted(device):
    before = torch.cuda.memory_allocated()
    x = torch.empty(1 << 20, device=device)
    y = x[::2]  # a view
    z = x + 1
    assert torch.cuda.memory_allocated() - before == 8 << 20
    del x, z
    assert torch.cuda.memory_allocated() - before == 4 << 20
    del y
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before >= 8 << 20


def test_watch_tells_kernels_waits_and_copies_apart(device, watch):
    x = torch.arange(4., device=device)
    watch.roots = (__file__, )
    with watch:
        y = x[x > 0].sum()  # nonzero waits
        y.item()
        y.cpu()
        torch.ones(2).to(device)
    assert watch.kinds == dict(kernel=3, wait=2, d2h=1, h2d=1)
    assert watch.waits == 3
    x + 1
    assert watch.kinds['kernel'] == 3
    assert 'wait item                     ' in watch.report()
    assert f'{__file__}:' in watch.report()


def test_generators_of_the_device_repeat(device):
    torch.cuda.manual_seed(3)
    first = torch.rand(5, device=device)
    torch.rand(5)  # another generator
    torch.cuda.manual_seed(3)
    assert torch.rand(5, device=device).equal(first)
    generator = torch.Generator(device)
    generator.manual_seed(3)
    assert torch.rand(5, device=device, generator=generator).equal(first)


def test_files_and_copies_keep_the_device(device, tmp_path):
    import copy
    x = torch.arange(3., device=device)
    torch.save(dict(x=x), tmp_path / 'x.pth')
    loaded = torch.load(tmp_path / 'x.pth')['x']
    on_cpu = torch.load(tmp_path / 'x.pth', map_location='cpu')['x']
    for y in (loaded, copy.deepcopy(x), x.clone()):
        assert y.is_cuda and y.tolist() == [0, 1, 2]
    assert not on_cpu.is_cuda and on_cpu.tolist() == [0, 1, 2]


def test_pinned_memory_comes_to_the_device(device):
    x = torch.arange(3.).pin_memory()
    assert x.is_pinned() and not torch.zeros(3).is_pinned()
    assert x.to(device, non_blocking=True).tolist() == [0, 1, 2]


def test_cublas_wants_its_workspace_to_be_deterministic(device, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    x = torch.ones(2, 2, device=device)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match='CUBLAS_WORKSPACE_CONFIG'):
            x @ x
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        assert (x @ x).tolist() == [[2, 2], [2, 2]]
    finally:
        torch.use_deterministic_algorithms(False)


def python(code, **env):
    return subprocess.run([sys.executable, '-c', code], env=env, text=True,
                          capture_output=True)


def test_a_program_gets_as_many_as_it_is_given(tmp_path):
    code = '''import torch
print(torch.cuda.device_count(), torch.ones(2, device='cuda:1').device)
torch.cuda.set_device(1)
print(torch.ones(2).cuda().device)
torch.ones(2, device='cuda:1') + torch.ones(2, device='cuda:0')'''
    done = python(code, **pretended_gpu.environment(2))
    assert done.stdout == '2 cuda:1\ncuda:1\n', done.stderr
    assert 'two devices, cuda:1 and cuda:0' in done.stderr


def test_a_fork_cannot_use_the_gpu(device):
    from helpers.forks import fork_run

    def child():
        torch.ones(2, device=device)

    assert 're-initialize CUDA in forked' in fork_run(child).stderr


@pytest.mark.parametrize('hidden', [
    dict(CUDA_VISIBLE_DEVICES='-1'), dict(MMAL_PRETEND_GPU='0')])
def test_a_program_can_be_without(hidden):
    code = 'import torch; print(torch.cuda.is_available())'
    env = {**pretended_gpu.environment(), **hidden}
    assert python(code, **env).stdout == 'False\n'


def test_a_machine_without_a_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setenv('MMAL_PRETEND_CACHE', str(tmp_path))
    folder = torch.__path__[0]
    with pytest.raises(pretended_gpu.Unavailable, match='no-such-compiler'):
        start.build(folder)


def test_what_does_not_compile_is_quoted(tmp_path, monkeypatch):
    (tmp_path / 'compiler').write_text(
        '#!/bin/sh\necho notes >&2\necho "x.h:1: fatal error: none" >&2\n'
        'exit 1\n')
    (tmp_path / 'compiler').chmod(0o755)
    monkeypatch.setenv('CXX', str(tmp_path / 'compiler'))
    monkeypatch.setenv('MMAL_PRETEND_CACHE', str(tmp_path))
    with pytest.raises(pretended_gpu.Unavailable,
                       match='compiled: x.h:1: fatal error: none$'):
        start.build(torch.__path__[0])


def test_nccl_takes_tensors_of_its_own_gpu_alone(tmp_path):
    code = f'''import torch, torch.distributed as dist
dist.init_process_group('nccl', rank=0, world_size=1,
                        init_method='file://{tmp_path}/store')
x = torch.arange(3., device='cuda')
dist.all_reduce(x)
both = [torch.zeros_like(x)]
dist.all_gather(both, x)
print(dist.get_backend(), both[0].device, both[0].tolist())
for other in (x.cpu(), x.to('cuda:1'), torch.ones(4, device='cuda')[::2]):
    try:
        dist.all_reduce(other)
    except (RuntimeError, ValueError) as e:
        print(e)
dist.destroy_process_group()'''
    done = python(code, **pretended_gpu.environment(2, nccl=True))
    assert done.stdout.splitlines() == [
        'nccl cuda:0 [0.0, 1.0, 2.0]',
        'No backend type associated with device type cpu',
        'NCCL: a tensor on cuda:1 in the process of GPU 0',
        'Tensors must be contiguous'], done.stderr
