"""How hard boxes and classes pull at the features that they share.

    python benchmarks/loss_balance.py [CONFIG] [--checkpoint FILE]

For each form of MDN-SSD's losses, and for plain SSD as the rival, on the same
training batches: the norm of the gradient by the neck's maps of the box loss,
of the class loss, and their ratio; mean and sample standard deviation over the
batches. Without a checkpoint the detectors are as a training starts. Last, the
share of hard negatives that two draws of eq. 4's noise have in common, beside
what chance gives.
"""
import argparse
import copy
import os.path as osp

import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import mmal  # noqa: F401
from mmal.compat.quiet import quiet_log

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', 'mdn', 'ssd300-lite0-mdn_bccd.py')
HEADS = {
    'smooth L1 and cross entropy': dict(box_components=0, cls_components=0),
    'smooth L1 and mixture': dict(box_components=0),
    'likelihood': dict(mean_weight=0.0, loss_bbox=dict()),
    "form='paper'": dict(mean_weight=0.0, loss_bbox=dict(form='paper')),
    "form='reference'": dict(
        mean_weight=0.0, loss_bbox=dict(form='reference')),
    'β-NLL, β = 0.5': dict(mean_weight=0.0, loss_bbox=dict(beta=0.5)),
    'β-NLL, β = 1': dict(mean_weight=0.0, loss_bbox=dict(beta=1.0)),
    'the default': dict(loss_bbox=dict(beta=0.5, loss_weight=0.3)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG)
    parser.add_argument('--checkpoint', help='of the detector of the config')
    parser.add_argument('--batches', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    register_all_modules()
    cfg = Config.fromfile(args.config)
    set_random_seed(args.seed)
    with quiet_log():
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
        batches = [batch for _, batch in zip(range(args.batches), loader)]

        table = Table('losses', 'boxes', 'classes', 'ratio')
        for name, head in HEADS.items():
            model = build(cfg, head, args)
            norms = torch.stack([gradients(model, b) for b in batches])
            ratio = norms[:, 0] / norms[:, 1]
            table.add_row(name, *(spread(x) for x in (*norms.T, ratio)))
        draws = shared_negatives(build(cfg, dict(mining_noise=True), args),
                                 batches[0])
    Console().print(table)
    print('hard negatives that two draws share: {:.0%}; by chance {:.0%}'
          .format(*draws))


def build(cfg: Config, head: dict, args: argparse.Namespace) -> nn.Module:
    """The detector with another head, its shared weights the same."""
    model = copy.deepcopy(cfg.model)
    loss = dict(type='mmal.MixtureNLLLoss', **head.get('loss_bbox', {}))
    model.bbox_head.update({**head, 'loss_bbox': loss})
    set_random_seed(args.seed)
    model = MODELS.build(model)
    model.init_weights()
    if args.checkpoint:
        load_checkpoint(model, args.checkpoint, map_location='cpu',
                        strict=False)
    return model.train()


def gradients(model: nn.Module, batch: dict) -> Tensor:
    """[2]: norms of the gradients of the box and the class loss."""
    batch = model.data_preprocessor(batch, training=True)
    with torch.no_grad():
        feats = model.extract_feat(batch['inputs'])
    feats = [x.detach().requires_grad_() for x in feats]
    losses = model.bbox_head.loss(feats, batch['data_samples'])
    norms = []
    classes = losses.pop('loss_cls')
    for loss in (losses, {'loss_cls': classes}):
        # SSD's own losses are lists with one of each image
        loss = sum(sum(x) if isinstance(x, list) else x
                   for x in loss.values())
        grads = torch.autograd.grad(loss, feats, retain_graph=True,
                                    allow_unused=True)
        norms.append(torch.cat([g.flatten() for g in grads
                                if g is not None]).norm())
    return torch.stack(norms)


@torch.no_grad()
def shared_negatives(model: nn.Module, batch: dict) -> tuple[float, float]:
    """What two draws of the mined negatives share, and two random choices."""
    batch = model.data_preprocessor(batch, training=True)
    feats = model.extract_feat(batch['inputs'])
    head, chosen = model.bbox_head, []
    mine = head._hard_negatives

    def keep(*args):
        chosen.append(mine(*args))
        return chosen[-1]

    head._hard_negatives = keep
    for _ in range(2):
        head.loss(feats, batch['data_samples'])
    first, second = chosen
    share = (first & second).sum() / first.sum()
    # of an image's anchors each draw takes a fixed share
    chance = (first.float().mean(1)**2).sum() / first.float().mean(1).sum()
    return share.item(), chance.item()


def spread(values: Tensor) -> str:
    return f'{values.mean():.3g} ± {values.std():.2g}'


if __name__ == '__main__':
    main()
