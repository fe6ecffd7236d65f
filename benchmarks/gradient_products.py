"""Gradient products of a batch at once against one image at a time.

Both sides give, for each image of a batch, the product of the gradient of its
loss over the last layers of FCOS with one vector. The table splits the time
into the pass through the detector with the losses, which happens once a batch
or once an image, and the products after it; the last rows tell how far the
numbers differ. The middle way shares the pass but not the backward.

    python benchmarks/gradient_products.py --size 256 --batch 8
"""
import argparse
import os.path as osp
import statistics
import time

import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmal  # noqa: F401
from mmal.compat.malloc import keep_freed_memory
from mmal.influence import LayerRecorder, image_products
from mmal.influence.vectors import dot
from mmal.models.utils.per_image import head_outputs, image_losses

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', '_base_', 'models',
    'fcos_efficientnet-lite0_fpn.py')
LAYERS = ['bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default=CONFIG,
                        help='file with an FCOS model')
    parser.add_argument('--batch', type=int, default=8, help='images a batch')
    parser.add_argument('--size', type=int, default=256,
                        help='height and width in pixels')
    parser.add_argument('--boxes', type=int, default=5,
                        help='boxes an image')
    parser.add_argument('--runs', type=int, default=7,
                        help='the median of so many runs is shown')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--default-malloc', action='store_true',
                        help="keep glibc's settings, unlike the tools")
    return parser.parse_args()


def build(path: str) -> torch.nn.Module:
    """The config's detector, untrained, with outputs of a trained one's size.
    """
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(path).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    with torch.no_grad():
        for layer, bias in ((model.bbox_head.conv_cls, -2.),
                            (model.bbox_head.conv_reg, 1.),
                            (model.bbox_head.conv_centerness, 0.)):
            layer.weight.normal_(std=0.03)
            layer.bias.fill_(bias)
    return model.eval()


class Sample:
    """As much of a data sample as the losses need."""

    def __init__(self, size: int) -> None:
        shape = (size, size)
        self.metainfo = {'img_shape': shape, 'ori_shape': shape,
                         'pad_shape': shape, 'scale_factor': (1., 1.)}


def random_labels(args: argparse.Namespace, classes: int) -> list:
    """Boxes with sides between an eighth and a half of the image."""
    labels = []
    for _ in range(args.batch):
        sides = args.size * (torch.rand(args.boxes, 2) * 3 / 8 + 1 / 8)
        corner = torch.rand(args.boxes, 2) * (args.size - sides)
        labels.append(
            InstanceData(
                bboxes=torch.cat([corner, corner + sides],
                                 1).to(args.device),
                labels=torch.randint(0, classes,
                                     (args.boxes, )).to(args.device)))
    return labels


class Comparison:
    """The two ways, each in two timed parts."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model = build(args.config).to(args.device)
        self.images = torch.randn(
            args.batch, 3, args.size, args.size).to(args.device)
        self.samples = [Sample(args.size)] * args.batch
        self.labels = random_labels(args, self.model.bbox_head.num_classes)
        self.recorder = LayerRecorder(self.model, LAYERS)
        self.vector = [
            torch.randn_like(p, requires_grad=False)
            for p in self.recorder.params
        ]

    def losses(self, part: slice) -> torch.Tensor:
        with self.recorder:
            outputs = head_outputs(self.model, self.images[part])
            return image_losses(self.model, outputs, self.samples[part],
                                self.labels[part])

    def batched(self) -> tuple:
        start = self.now()
        losses = self.losses(slice(None))
        middle = self.now()
        found = image_products(losses, self.recorder, self.vector)
        return found, middle - start, self.now() - middle

    def backward_each(self) -> tuple:
        start = self.now()
        losses = self.losses(slice(None))
        middle = self.now()
        found = []
        with self.recorder.unfrozen():
            for loss in losses:
                grads = torch.autograd.grad(
                    loss, self.recorder.params, retain_graph=True)
                found.append(dot(grads, self.vector))
        return torch.stack(found), middle - start, self.now() - middle

    def one_at_a_time(self) -> tuple:
        found, times = [], [0., 0.]
        for i in range(self.args.batch):
            start = self.now()
            loss = self.losses(slice(i, i + 1))
            middle = self.now()
            with self.recorder.unfrozen():
                grads = torch.autograd.grad(loss[0], self.recorder.params)
            found.append(dot(grads, self.vector))
            times[0] += middle - start
            times[1] += self.now() - middle
        return torch.stack(found), *times

    def now(self) -> float:
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    args = parse_args()
    if not args.default_malloc:
        keep_freed_memory()
    comparison = Comparison(args)
    ways = {
        'one at a time': comparison.one_at_a_time,
        'one pass, B backwards': comparison.backward_each,
        'batched': comparison.batched
    }
    times = {name: [] for name in ways}
    results = {}
    for _ in range(args.runs + 1):
        for name, way in ways.items():
            results[name], *parts = way()
            times[name].append(parts)
    print(f'{args.batch} images of {args.size} x {args.size}, '
          f'{comparison.recorder.num_params:,} parameters, '
          f'{torch.get_num_threads()} threads, {args.device}, '
          f'median of {args.runs} runs, ms an image\n')
    print(f'{"":24}{"pass + losses":>14}{"products":>10}{"total":>10}'
          f'{"ratio":>8}{"ratio of products":>19}')
    base = None
    for name, rows in times.items():
        columns = [[a, b, a + b] for a, b in rows[1:]]
        row = [statistics.median(c) * 1e3 / args.batch for c in zip(*columns)]
        base = base or row
        print(f'{name:24}{row[0]:14.2f}{row[1]:10.2f}{row[2]:10.2f}'
              f'{row[2] / base[2]:8.2f}{row[1] / base[1]:19.2f}')
    print()
    truth = results['one at a time']
    for name in list(ways)[1:]:
        error = (results[name] - truth).abs().max() / truth.abs().max()
        print(f'largest difference of "{name}", relative to the largest '
              f'product: {float(error):.1e}')


if __name__ == '__main__':
    main()
