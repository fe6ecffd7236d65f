"""Masks of MC-dropout and noise: by position, or by torch's CPU generator.

Prints for FPN maps of 800 x 1333 pixels and for the image itself what one
image takes on a device: by ``mmal.random_tensors.TensorStreams``, whose
numbers are the same on every device, and by the two rivals: a generator of
the CPU with a copy to the device, which are too, and the device's own
generator, which are not.

    python benchmarks/random_tensors.py
    python benchmarks/random_tensors.py --device cuda
"""
import argparse
import time

import torch

from mmal.random_tensors import TensorStreams

FPN = [(256, 100, 168), (256, 50, 84), (256, 25, 42), (256, 13, 21),
       (256, 7, 11)]


def seconds(call, device, repeats):
    """The best of several."""
    best = float('inf')
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    own = torch.Generator(device)

    def cpu_generator():
        return torch.Generator().manual_seed(7)

    def masks_ours():
        streams = TensorStreams([7], 0)
        for shape in FPN:
            streams.bernoulli(0.5, shape, device)

    def masks_cpu():
        generator = cpu_generator()
        for shape in FPN:
            (torch.rand(shape, generator=generator) >= 0.5).to(device)

    def masks_own():
        for shape in FPN:
            torch.rand(shape, generator=own, device=device) >= 0.5  # noqa: B015

    image = (3, 800, 1333)
    rows = [
        ('masks', masks_ours, masks_cpu, masks_own),
        ('noise', lambda: TensorStreams([7], 0).normal(image, device),
         lambda: torch.randn(image, generator=cpu_generator()).to(device),
         lambda: torch.randn(image, generator=own, device=device)),
    ]
    print(f'{device}, {torch.get_num_threads()} threads; ms an image')
    print(f'{"":6} {"by position":>12} {"CPU generator":>14} '
          f'{"own generator":>14} {"ratio to CPU":>13}')
    for name, *calls in rows:
        ours, cpu, own_time = (
            1e3 * seconds(call, device, args.repeats) for call in calls)
        print(f'{name:6} {ours:12.2f} {cpu:14.2f} {own_time:14.2f} '
              f'{cpu / ours:13.2f}')


if __name__ == '__main__':
    main()
