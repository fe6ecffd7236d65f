"""Whether a model evidence head knows the class losses that it predicts.

A trained detector with an ``mmal.EvidentialRetinaHead`` looks at images of the
validation data, prepared and labelled as for training. Of each anchor that is
matched with an object the evidence head's prediction and the class loss are
compared, by Spearman's correlation over all levels and of each level alone,
and by their means.

    python benchmarks/evidence_head.py CONFIG CHECKPOINT [--images 36]
"""
import argparse
import logging
from collections.abc import Iterator

import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import load_checkpoint
from scipy.stats import spearmanr
from torch import Tensor, nn

from mmal.models import EvidentialRetinaHead
from mmal.models.utils import flatten_levels
from mmal.recorder import Recorder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--images', type=int, help='so many instead of all')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def labelled_images(cfg: Config, images: int) -> Iterator[dict]:
    """Batches of one image with its boxes at the size the network sees."""
    validation = cfg.val_dataloader.dataset
    dataset = DATASETS.build(dict(
        cfg.train_dataloader.dataset,
        data_root=validation.data_root,
        ann_file=validation.ann_file,
        data_prefix=validation.data_prefix))
    for index in range(min(images or len(dataset), len(dataset))):
        yield pseudo_collate([dataset[index]])


@torch.no_grad()
def losses_of_positives(model: nn.Module, batch: dict) -> list[Tensor]:
    """[2, n] of each level: predicted and true class losses."""
    head = model.bbox_head
    batch = model.data_preprocessor(batch, training=False)
    feats = model.extract_feat(batch['inputs'])
    with Recorder({'loss_cls': head.loss_cls}) as recorder:
        head.loss(feats, batch['data_samples'])
    levels = []
    for predicted, call in zip(head.predicted_losses(feats), recorder.calls):
        cls_score, labels, *_ = call.args
        loss = head.loss_cls(
            cls_score, labels, reduction_override='none').sum(-1)
        keep = (labels >= 0) & (labels < head.num_classes)
        both = torch.stack([flatten_levels([predicted], 1).flatten(), loss])
        levels.append(both[:, keep].cpu())
    return levels


def main() -> None:
    args = parse_args()
    logging.disable(logging.INFO)
    register_all_modules()
    cfg = Config.fromfile(args.config)
    cfg.model.backbone.init_cfg = None  # the checkpoint has all weights
    model = MODELS.build(cfg.model).to(args.device).eval()
    if not isinstance(model.bbox_head, EvidentialRetinaHead):
        raise SystemExit(f'{args.config} has no EvidentialRetinaHead.')
    load_checkpoint(model, args.checkpoint, map_location='cpu')

    levels = [torch.cat(of_level, 1) for of_level in zip(*(
        losses_of_positives(model, batch)
        for batch in labelled_images(cfg, args.images)))]
    print('| level | anchors | predicted, mean | true, mean | Spearman |')
    print('|---|---|---|---|---|')
    for name, (predicted, true) in [('all', torch.cat(levels, 1)),
                                    *enumerate(levels)]:
        if len(true) > 1:
            rank = spearmanr(predicted, true).statistic
            print(f'| {name} | {len(true)} | {predicted.mean():.3f} | '
                  f'{true.mean():.3f} | {rank:.3f} |')


if __name__ == '__main__':
    main()
