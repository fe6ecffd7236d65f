"""Runs: one task and one method each, and all in the table of the docs."""
import ast
import functools
import importlib.util
import os.path as osp

import pytest
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
CONFIGS = osp.join(ROOT, 'configs')
OF_A_METHOD = {'scorer', 'selector', 'committee', 'embedder', 'candidates'}


def _tool():
    spec = importlib.util.spec_from_file_location(
        'list_runs', osp.join(ROOT, 'tools', 'misc', 'list_runs.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


list_runs = _tool()
RUNS = list_runs.runs()
TASKS = list_runs.find('_base_/al_tasks/*.py')
METHODS = list_runs.find('_base_/al_methods/*.py')


@functools.cache
def load(path):
    return Config.fromfile(osp.join(CONFIGS, path))


def statements(path):
    with open(osp.join(CONFIGS, path), encoding='utf-8') as f:
        return [ast.unparse(node) for node in ast.parse(f.read()).body]


def test_the_table_of_the_docs_is_that_of_the_files():
    with open(list_runs.PAGE, encoding='utf-8') as f:
        _, _, text = f.read().partition(list_runs.MARK)
    assert text.strip() == list_runs.tables().strip(), (
        'python tools/misc/list_runs.py writes it anew')


@pytest.mark.parametrize('run', RUNS, ids=lambda run: run.path)
def test_a_run_is_one_task_and_one_method(run):
    assert len(run.tasks) == 1 and len(run.methods) == 1
    assert not run.others, f'{run.path} inherits more: {run.others}'
    _, *lines = statements(run.path)
    keys = [key for key in load(*run.methods) if key.startswith('al_method')]
    assert len(lines) <= 2 * len(keys)
    for key in keys:
        target = key.removeprefix('al_method_')
        target = 'active_learning' if target == 'al_method' else target
        assert [line for line in lines if f"_base_.pop('{key}')" in line
                and line.startswith(f'{target} = ')]


def test_every_run_is_in_the_table_once_and_has_a_place_of_its_own():
    text = list_runs.tables()
    for run in RUNS:
        assert text.count(f'(../configs/{run.path})') == 1
    places = [(run.tasks, run.methods) for run in RUNS]
    assert len(places) == len(set(places))
    folders = ('al', 'classification')
    assert {osp.dirname(run.path) for run in RUNS} == set(folders)
    others = set(list_runs.find('al/*.py')) - {r.path for r in RUNS}
    assert not others


@pytest.mark.parametrize('path', TASKS)
def test_a_task_leaves_the_method_open(path):
    cfg = load(path)
    assert not OF_A_METHOD & set(cfg.active_learning)
    assert {'data', 'initial', 'budget', 'rounds'} <= set(cfg.active_learning)
    assert {'model', 'train_dataloader', 'val_evaluator'} <= set(cfg)
    inherited = set(list_runs.with_inherited(path))
    assert not inherited & {run.path for run in RUNS}
    assert any(run.tasks == (path, ) for run in RUNS)


@pytest.mark.parametrize('path', METHODS)
def test_a_method_sets_nothing_of_a_task(path):
    cfg = load(path)
    assert all(key.startswith('al_method') for key in cfg)
    assert {'scorer', 'selector'} <= set(cfg.al_method)
    rest = set(cfg.al_method) - OF_A_METHOD
    # how reselected images are counted goes with candidates='all'
    assert not rest or (rest == {'budget'}
                        and set(cfg.al_method.budget) == {'repeats'})
    assert any(run.methods == (path, ) for run in RUNS)
