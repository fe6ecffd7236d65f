"""Milliseconds, waits and memory of scoring, with random weights.

Each row: kernels are warm, the median of several calls, two images a batch.
On a pretended GPU images and heads are small, as only memory and waits mean
something there; --full takes those of a real one, with one call a row.
"""
import argparse
import contextlib
import statistics
import time
import warnings

import torch
from common import PRETENDED, Batches, detector, finish, random_batch, row

from mmal.compat import nms as nms_module
from mmal.compat import roi_align as roi_align_module
from mmal.compat.torchvision_ops import torchvision_ops
from mmal.models.committees import DropoutCommittee
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.random_tensors import TensorStreams
from mmal.scoring import (
    DetectionEntropyScorer,
    EntropyScorer,
    GradScorer,
    InfluenceScorer,
    LocalizationStabilityScorer,
    MutualInformationScorer,
)

IMAGES = 2
SECONDS = 0. if PRETENDED else 1.
SCORERS = (EntropyScorer, DetectionEntropyScorer, GradScorer,
           LocalizationStabilityScorer)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--full', action='store_true', default=not PRETENDED,
                        help='800 x 1333 and whole heads')
    return parser.parse_args()


def measure(values, call, images=IMAGES):
    """Fill a row: images a second, waits and peak memory of a call."""
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times, end = [], time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    values['ms_an_image'] = round(
        1e3 * statistics.median(times) / images, 3)
    values['peak_mib'] = round(
        (torch.cuda.max_memory_allocated() - before) / 2**20, 1)
    with waits() as count:
        call()
    values.update({k: n / images for k, n in count().items()})


@contextlib.contextmanager
def waits():
    """Counts what keeps the CPU waiting for the GPU, and kernels where the
    GPU is a pretended one."""
    if PRETENDED:
        from helpers.pretended_gpu import Watch
        with Watch() as watch:
            yield lambda: dict(
                waits_an_image=watch.kinds['wait'] + watch.kinds['d2h'],
                kernels_an_image=watch.kinds['kernel'])
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            yield lambda: dict(waits_an_image=sum(
                'synchronizing' in str(w.message) for w in caught))
        finally:
            torch.cuda.set_sync_debug_mode('default')


def main():
    """All rows."""
    args = parse_args()
    size = (800, 1333) if args.full else (128, 160)
    for name, config in (('FCOS-R50', 'fcos_isal_coco.py'),
                         ('RetinaNet-R50', 'retinanet_entropy-avg_coco.py'),
                         ('Faster R-CNN-R50', 'faster-rcnn_isal_coco.py')):
        model = detector(config, small=not args.full)
        batch = random_batch(model, IMAGES, size)
        data = Batches(batch)
        with evaluation_mode(model):
            plain(name, model, batch)
            for kind in SCORERS:
                # gradients of dense heads alone
                if kind is not GradScorer or 'R-CNN' not in name:
                    with row(f'{name}, {kind.__name__}') as values:
                        score(values, kind(), model, batch, data)
            influence(name, model, batch, data)
        del model
        torch.cuda.empty_cache()
    dropout(size)
    noise_and_masks(size)
    stand_ins(size)
    finish()


def plain(name, model, batch):
    """What any scorer costs at least."""
    with torch.no_grad():
        with row(f'{name}, features') as values:
            measure(values, lambda: model.extract_feat(batch.inputs))
        with row(f'{name}, predict') as values:
            measure(values, lambda: model.predict(
                batch.inputs, [s.new() for s in batch.samples],
                rescale=False))


def score(values, scorer, model, batch, data):
    """Any scorer on one batch."""
    scorer.check(model, data)
    scorer.prepare(model, data)
    measure(values, lambda: scorer.process(model, batch))


def influence(name, model, batch, data):
    """ISAL: s_test on two images, and the scores."""
    with row(f'{name}, s_test of InfluenceScorer') as values:
        scorer = InfluenceScorer(empty='background')
        scorer.check(model, data)
        measure(values, lambda: scorer.prepare(model, data))
    with row(f'{name}, InfluenceScorer') as values:
        measure(values, lambda: scorer.process(model, batch))


def dropout(size):
    """MC-dropout: the price of a pass."""
    model = detector('retinanet_mc-dropout_coco.py')
    batch = random_batch(model, IMAGES, size)
    committee = DropoutCommittee(passes=2 if PRETENDED else 10)
    data = Batches(batch, committee=committee)
    committee.prepare(model)
    with evaluation_mode(model), \
            row(f'RetinaNet-R50, {committee.passes} x dropout') as values:
        score(values, MutualInformationScorer(), model, batch, data)


def noise_and_masks(size):
    """Random tensors for one image: ours, and copied from the CPU."""
    device = torch.device('cuda')
    image, maps = (3, *size), (256, size[0] // 8, size[1] // 8)
    generator = torch.Generator().manual_seed(0)
    for name, call in (
            ('noise by position',
             lambda: TensorStreams([1], 0).normal(image, device)),
            ('noise from the CPU',
             lambda: torch.randn(image, generator=generator).cuda()),
            ('masks by position',
             lambda: TensorStreams([1], 0).bernoulli(0.5, maps, device)),
            ('masks from the CPU',
             lambda: (torch.rand(maps, generator=generator) < 0.5).cuda())):
        with row(name) as values:
            measure(values, call, 1)


def stand_ins(size):
    """NMS and RoIAlign without torchvision, and with it."""
    boxes = torch.rand(1000, 4, device='cuda') * size[0] / 2
    boxes[:, 2:] = boxes[:, :2] + 16 + boxes[:, 2:] / 4
    scores = torch.rand(1000, device='cuda')
    features = torch.randn(1, 256, size[0] // 4, size[1] // 4, device='cuda')
    rois = torch.cat([torch.zeros(1000, 1, device='cuda'), boxes], 1)
    pooled = torch.zeros(1000, 256, 7, 7, device='cuda')
    none = torch.zeros(0, device='cuda')
    gradient = torch.zeros_like(features)
    options = (7, 7, 0.25, 0, 1, True)
    calls = {
        'NMS': lambda: nms_module.nms(boxes, scores, 0.5),
        'RoIAlign': lambda: roi_align_module.roi_align_forward(
            features, rois, pooled, none, none, *options),
        'RoIAlign backward': lambda: roi_align_module.roi_align_backward(
            pooled, rois, none, none, gradient, *options)}
    if torchvision_ops('cuda') is not None:
        for name, call in calls.items():
            with row(f'{name} of 1,000 boxes, torchvision') as values:
                measure(values, call, 1)
    with without(nms_module), without(roi_align_module):
        for name, call in calls.items():
            with row(f'{name} of 1,000 boxes, stand-in') as values:
                measure(values, call, 1)


@contextlib.contextmanager
def without(module):
    """A module that does not find torchvision."""
    found = module.torchvision_ops
    module.torchvision_ops = lambda device: None
    try:
        yield
    finally:
        module.torchvision_ops = found


if __name__ == '__main__':
    main()
