"""What is here: GPU, driver, versions; ends with 1 where nothing can run."""
import importlib.metadata
import shutil
import subprocess
import sys

import torch
from common import PRETENDED, figure

import mmal

if not torch.cuda.is_available():
    sys.exit(
        f'torch {torch.__version__} sees no GPU. It must be a build for CUDA '
        '(torch.version.cuda is '
        f'{torch.version.cuda}) and fit the driver: see nvidia-smi.')


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


figure('versions', mmal=mmal.__version__, python=sys.version.split()[0],
       cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(), **{
           n.replace('-', '_'): version(n) for n in (
               'torch', 'torchvision', 'mmcv', 'mmcv-lite', 'mmengine',
               'mmdet', 'numpy')})
figure('gpus', count=torch.cuda.device_count(),
       model=torch.cuda.get_device_name(0),
       memory_gib=round(
           torch.cuda.get_device_properties(0).total_memory / 2**30, 1))
if shutil.which('nvidia-smi') and not PRETENDED:
    done = subprocess.run(
        ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'],
        capture_output=True, text=True)
    figure('driver', version=done.stdout.split('\n')[0])

import mmcv.ops  # noqa: E402, F401  with the stand-ins, where they are needed

from mmal.compat.ops import has_compiled_ops  # noqa: E402
from mmal.compat.torchvision_ops import torchvision_ops  # noqa: E402

figure('operators', compiled_mmcv=has_compiled_ops(),
       torchvision=torchvision_ops('cuda') is not None)
x = torch.rand(64, 64, device='cuda')
assert torch.allclose((x @ x).cpu(), x.cpu() @ x.cpu(), rtol=1e-2)
