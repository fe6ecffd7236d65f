"""A run of a tiny MDN-SSD, made in this process."""
import importlib.util
import os

from mmengine.registry import DefaultScope

from helpers.runs import ROOT, make_config
from helpers.tiny_ssd import tiny_ssd_config
from mmal.engine import ActiveLearner

SCORER = dict(type='mmal.MixtureUncertaintyScorer', score_thr=0.1)


def mdn_config(folder, **active_learning):
    """Write the config of two rounds; returns its path."""
    model = tiny_ssd_config(
        type='mmal.MDNSSDHead', box_components=2, cls_components=2)
    block = dict(rounds=2, scorer=SCORER)
    return make_config(
        folder,
        model=dict(model, _delete_=True),
        active_learning={**block, **active_learning})


def learn(config, work_dir):
    """Run a config to its end; returns the work folder."""
    from mmengine.config import Config
    cfg = Config.fromfile(config)
    cfg.work_dir = work_dir
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(cfg).run()
    return work_dir


def tool(*path):
    """A tool of the folder ``tools`` as a module."""
    file = os.path.join(ROOT, 'tools', *path)
    name = os.path.splitext(path[-1])[0]
    spec = importlib.util.spec_from_file_location(f'tool_{name}', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
