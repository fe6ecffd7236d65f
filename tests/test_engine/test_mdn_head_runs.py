"""Whole runs of RetinaNet and YOLOX with mixtures, by MDN's score."""
import os.path as osp

import numpy as np
import pytest
from helpers.mdn_runs import SCORER, learn
from helpers.runs import ids_of, make_config, metrics_of
from helpers.tiny_mdn_heads import TYPES, tiny_head_config

from mmal.fileio import read_json


@pytest.mark.run
@pytest.mark.parametrize('name', ['retina', 'yolox'])
def test_a_run_of_two_rounds(name, tmp_path):
    model = tiny_head_config(
        name, type=TYPES[name], box_components=2, cls_components=2)
    # two epochs teach too little to be sure of anything
    model['test_cfg'].update(score_thr=0.0)
    config = make_config(
        tmp_path,
        model=dict(model, _delete_=True),
        active_learning=dict(rounds=2, scorer=dict(SCORER, score_thr=0.0)))
    work_dir = learn(config, str(tmp_path / 'work'))
    scores = np.load(osp.join(work_dir, 'round_00', 'scores.npz'))
    ids, values = scores['ids'], scores['values']
    assert np.isfinite(values).all() and values.std() > 0
    best = ids[np.argsort(-values)[:3]]
    chosen = ids_of(work_dir)
    assert len(chosen[0]) == 4 and set(chosen[1]) == set(best.tolist())
    assert all(np.isfinite(list(m.values())).all()
               for m in metrics_of(work_dir))
    assert not read_json(osp.join(work_dir, 'state.json'))['meta'].get('notes')
