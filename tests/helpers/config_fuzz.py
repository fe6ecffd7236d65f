"""Puts mistakes into configs and sees what is made of them."""
from __future__ import annotations

import contextlib
import copy
import io
import os
from collections import Counter
from collections.abc import Iterable

from mmengine.registry import DefaultScope

from helpers.config_mutations import as_config, mutate
from helpers.tiny import tiny_active_learning, tiny_config
from mmal.commands.errors import EXPECTED
from mmal.engine.plan import plan_run

LONGEST = 1500
# Valid blocks of many kinds of parts: every one of them is planned without
# an error by the tiny detector.
BLOCKS = (
    dict(),
    dict(scorer=dict(type='mmal.InfluenceScorer', score_thr=0.1,
                     layers=['bbox_head.conv_cls'],
                     solver=dict(type='mmal.LiSSA', repeats=2, scale=10.)),
         target=dict(metric='coco/bbox_mAP', value=0.5), seed=3),
    dict(scorer=dict(type='mmal.EntropyScorer', aggregation='max'),
         selector=dict(type='mmal.CoreSet', start='random', distance='cosine'),
         embedder=dict(type='mmal.LayerEmbedder',
                       layers=['bbox_head.cls_convs.0']),
         oracle=dict(type='mmal.ManualOracle', folder='labels')),
    dict(scorer=dict(type='mmal.MutualInformationScorer', aggregation='max'),
         committee=dict(type='mmal.EnsembleCommittee', size=2),
         selector=dict(type='mmal.RoundRobin', classes=[0, 1],
                       selector=dict(type='mmal.TopN')),
         candidates='all', budget=dict(size=3, unit='boxes',
                                       repeats='counted')),
    dict(scorer=dict(type='mmal.DetectionEntropyScorer', score_thr=0.2,
                     class_weights=[1, 2, 1]),
         selector=dict(type='mmal.RandomSubset', size=5,
                       selector=dict(type='mmal.TopN')),
         data=dict(ann_file='pool.json', data_prefix=dict(img='images/'),
                   source='somewhere'),
         initial=dict(size=4), on_bad_image='skip', candidates='unlabelled',
         on_new_environment='refuse', score_precision='bf16'),
    dict(budget=dict(size=9, unit='seconds', per_image=1., per_box=2,
                     per_class=dict(class_1=.5), targets=dict(class_0=2)),
         spacing=dict(min_distance=.1,
                      max_per_group=dict(k=2, by='folder')),
         scorer=dict(type='mmal.PerCostScorer',
                     scorer=dict(type='mmal.EntropyScorer'))),
)
# what a run reads of the rest of a config
READ = ('train_dataloader', 'val_dataloader', 'test_dataloader',
        'val_evaluator', 'train_cfg', 'val_cfg', 'model', 'optim_wrapper',
        'default_scope', 'load_from', 'default_hooks', 'randomness',
        'visualizer', 'custom_hooks')


def fuzz(root: str,
         seeds: Iterable[int]) -> tuple[Counter, list[tuple]]:
    """Plan configs with mistakes in their block, and elsewhere.

    Args:
        root (str): Folder for the tiny data set.
        seeds (iterable[int]): One config each; an odd one has its mistakes
            outside of the ``active_learning`` block.

    Returns:
        tuple[Counter, list[tuple]]: How many ended how: 'success', 'error',
        and what must not be: 'traceback', 'vague' (too long, or no key named).
        The latter two are listed, as (outcome, seed, exception).
    """
    plain = tiny_config(os.path.join(root, 'data')).to_dict()
    outcomes, failures = Counter(), []
    for seed in seeds:
        tree = copy.deepcopy(plain)
        block = tiny_active_learning(**BLOCKS[seed // 2 % len(BLOCKS)])
        if seed % 2:
            rest = mutate({k: tree.pop(k) for k in READ if k in tree}, seed)
            tree.update(rest)
            tree['active_learning'] = block
        else:
            tree.update(mutate(dict(active_learning=block), seed))
        tree['work_dir'] = os.path.join(root, 'work')
        outcome, error = outcome_of(tree, plain)
        outcomes[outcome] += 1
        if outcome in ('traceback', 'vague'):
            failures.append((outcome, seed, error))
    return outcomes, failures


def outcome_of(tree: dict, plain: dict) -> tuple:
    """How planning a config ends, see :func:`fuzz`, and the error."""
    cfg = as_config(tree)
    cfg._filename = 'tiny.py'
    scopes = dict(DefaultScope._instance_dict)
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), \
                contextlib.redirect_stderr(silence):
            plan_run(cfg)
    except EXPECTED as e:
        text = str(e).lower()
        names = any(k in text for k in (*plain, *READ, 'active_learning',
                                        'ann_file'))
        ok = names and len(text) < LONGEST
        return ('error' if ok else 'vague'), e
    except Exception as e:
        return 'traceback', e
    finally:
        DefaultScope._instance_dict.clear()
        DefaultScope._instance_dict.update(scopes)
    return 'success', None
