"""What the steps share: figures of the report, models and images."""
from __future__ import annotations

import contextlib
import json
import os
import os.path as osp
import types
import warnings

import torch

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
PRETENDED = bool(os.environ.get('MMAL_PRETEND_GPU'))


def figure(name: str, **values) -> None:
    """A row of the report: a line that check.py takes."""
    print('## ' + json.dumps(dict(name=name, **values), default=float),
          flush=True)


@contextlib.contextmanager
def row(name: str):
    """What goes wrong inside is a row, and the next one is tried.

    Yields:
        dict: Takes the values of the row.
    """
    values: dict = {}
    try:
        yield values
    except Exception as e:
        values['error'] = f'{type(e).__name__}: {e}'[:500]
        failed.append(name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    figure(name, **values)


failed: list[str] = []


def finish() -> None:
    """End a step: with 1 where a row has failed."""
    raise SystemExit(f'failed: {", ".join(failed)}' if failed else 0)


def detector(config: str, seed: int = 0,
             small: bool = PRETENDED) -> torch.nn.Module:
    """The detector of a config in configs/al, with random weights.

    The last layers are drawn wide, so that their outputs differ and there are
    many detections, as early in training.
    """
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmal  # noqa: F401
    init_default_scope('mmdet')
    warnings.filterwarnings('ignore', message='.*meshgrid')
    cfg = Config.fromfile(osp.join(ROOT, 'configs', 'al', config)).model
    cfg.backbone.init_cfg = None
    if small and 'bbox_head' in cfg:  # a CPU has to invert its curvature
        cfg.bbox_head.feat_channels = 32 if 'Retina' in cfg.bbox_head.type \
            else 64
    elif small:
        cfg.test_cfg.rpn.max_per_img = 100
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    head = getattr(model, 'bbox_head', None) or model.roi_head.bbox_head
    with torch.no_grad():
        for layer in head.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                layer.weight.normal_(std=layer.weight[0].numel()**-0.5)
    return model.eval().cuda()


def random_batch(model: torch.nn.Module, images: int, size: tuple[int, int],
                 seed: int = 0):
    """Random images with five boxes each.

    Args:
        model (nn.Module): Gives the device.
        images (int): B.
        size (tuple[int, int]): Height and width.
        seed (int): Of images and boxes.

    Returns:
        Batch: Ids from ``1000 * seed`` on.
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from mmal.scoring.batch import Batch
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    height, width = size
    padded = [-(-x // 32) * 32 for x in size]
    inputs = torch.zeros(images, 3, *padded)
    # of a few pixels each, so that the convolutions see something
    coarse = torch.randn(images, 3, height // 8 + 1, width // 8 + 1,
                         generator=generator)
    inputs[..., :height, :width] = torch.nn.functional.interpolate(
        coarse, scale_factor=8)[..., :height, :width]
    samples = []
    for n in range(images):
        sample = DetDataSample(metainfo=dict(
            img_id=1000 * seed + n, img_path=f'{n}.jpg', img_shape=size,
            ori_shape=size, pad_shape=tuple(padded), scale_factor=(1., 1.),
            batch_input_shape=tuple(padded)))
        corners = torch.rand(5, 2, generator=generator) * torch.tensor(
            [width * 0.6, height * 0.6])
        sides = (0.05 + 0.3 * torch.rand(5, 2, generator=generator)) * \
            torch.tensor([width, height])
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + sides], 1).to(device),
            labels=torch.arange(5, device=device))
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4, device=device),
            labels=torch.zeros(0, dtype=torch.long, device=device))
        samples.append(sample)
    ids = [s.img_id for s in samples]
    return Batch(ids, inputs.to(device), samples)


class Batches:
    """Stands for ScoringData: a scorer's images are the given batches."""
    seed = round = 0
    embedder = None

    def __init__(self, *batches, committee=None) -> None:
        self.all = batches
        self.committee = committee
        self.splits = dict(val=1, labelled=1, unlabelled=1)
        self.unreadable = dict(val={}, labelled={})

    def batches(self, *args, **kwargs):
        """All batches."""
        yield from self.all

    def batch(self, split, model, index, ids=None):
        """One batch."""
        return self.all[index]

    def ids(self, *args):
        """All ids."""
        return [i for batch in self.all for i in batch.ids]

    trained_ids = ids

    def num_batches(self, *args):
        """How many batches there are."""
        return len(self.all)

    def bar(self, *args, **kwargs):
        """No bar."""
        return contextlib.nullcontext(types.SimpleNamespace(
            total=0, n=0, update=lambda *a: None))
