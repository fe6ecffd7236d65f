"""Telling whether a work folder was made by the same config."""
from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

# Keys that may change between a kill and --resume: where and how a run is
# made, and how long it goes on, but not what any round does.
VOLATILE = (
    'work_dir', 'resume', 'launcher', 'env_cfg', 'log_level',
    'log_processor', 'vis_backends', 'visualizer', 'default_hooks',
    'custom_imports', 'active_learning.rounds', 'active_learning.target',
    'active_learning.stop',
    'active_learning.on_bad_image', 'active_learning.on_new_environment',
    'active_learning.data.source',
    'active_learning.score_dataloader', 'active_learning.scorer.cache_gib',
    'active_learning.embedder.store', 'active_learning.selector.device',
    'val_dataloader.num_workers', 'val_dataloader.persistent_workers',
    'test_dataloader', 'test_evaluator', 'test_cfg')


def fingerprint(cfg: Config) -> dict[str, Any]:
    """Everything in a config that decides what a round does.

    Args:
        cfg (Config): The config of a run.

    Returns:
        dict: Dotted key -> value, without the keys in :data:`VOLATILE`.
    """
    # here, since comparing fingerprints needs neither torch nor mmdet
    from .round_config import test_pipeline

    content = copy.deepcopy(cfg.to_dict())
    # scoring reads the pool by the test pipeline, wherever it stands
    if cfg.get('test_dataloader') or cfg.get('val_dataloader'):
        content['scoring_pipeline'] = test_pipeline(cfg)
    for key in VOLATILE:
        *parents, last = key.split('.')
        parent = content
        for name in parents:
            parent = parent.get(name) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            parent.pop(last, None)
    # Keys that some runs are older than, where they change nothing: a run
    # without them is the same as one that has their default.
    block = content.get('active_learning') or {}
    if block.get('candidates') == 'unlabelled':
        del block['candidates']
    if block.get('score_precision') == 'fp32':
        del block['score_precision']
    if (block.get('budget') or {}).get('repeats') == 'free':
        del block['budget']['repeats']
    budget = block.get('budget') or {}
    if budget.get('per_image') == 0 and budget.get('unit') == 'boxes':
        del budget['per_image']
    # seconds count hours alone where something else is spent, and are no
    # choice of images then
    hours_alone = dict(
        images=('per_image', 'per_box', 'per_class'),
        boxes=('per_box', 'per_class'))
    for key in hours_alone.get(budget.get('unit', 'images'), ()):
        budget.pop(key, None)
    flat = {}
    _flatten(content, '', flat)
    return flat


def digest(fingerprint: dict[str, Any]) -> str:
    """A short hash of :func:`fingerprint`."""
    text = json.dumps(fingerprint, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: dict, new: dict) -> list[str]:
    """The keys that differ between two fingerprints, with both values."""
    keys = sorted(k for k in old.keys() | new.keys()
                  if old.get(k) != new.get(k))
    return [
        f'{k}: {old.get(k, "(none)")} -> {new.get(k, "(none)")}' for k in keys
    ]


def _flatten(value: Any, key: str, out: dict) -> None:
    if isinstance(value, dict) and value:
        for k, v in value.items():
            _flatten(v, f'{key}.{k}' if key else str(k), out)
    elif isinstance(value, (list, tuple)) and value:
        for i, v in enumerate(value):
            _flatten(v, f'{key}[{i}]', out)
    else:
        out[key] = value if isinstance(
            value, (int, float, str, bool, type(None))) else str(value)
