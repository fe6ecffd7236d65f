"""Real trackers on the disk; those that are not installed are left out."""
import json
import logging
import os
import shutil
import struct
import time
from glob import glob

import pytest
from mmengine.config import Config

from mmal.engine.round_tracking import track_round
from mmal.fileio import read_json
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, Record

LOGGER = logging.getLogger('test_round_tracking')


def config(*backends):
    return Config(dict(visualizer=dict(
        type='DetLocalVisualizer', vis_backends=[
            dict(type='LocalVisBackend'), *backends])))


@pytest.fixture
def rounds(caplog):
    """Sends two rounds one after the other, as a run does; nothing may be
    warned of."""

    def send(cfg, work, pause=0):
        curve = Curve()
        for number in range(2):
            time.sleep(number * pause)
            curve.add(Record(
                number, 10 * number + 20, 90 * number + 70,
                {'coco/bbox_mAP': 0.25 + number / 4, 'coco/a & b_AP': None,
                 'coco/c (d)_precision': 0.5}, 60.0, 3.0))
            track_round(cfg, work, curve, number, LOGGER)
        assert not [r for r in caplog.records if r.name == LOGGER.name], \
            caplog.text

    return send


def test_tensorboard_has_metrics_curve_and_table(rounds, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )
    work = WorkDir(str(tmp_path / 'work'))
    rounds(config(dict(type='TensorboardVisBackend')), work)
    events = EventAccumulator(work.tracking, size_guidance=dict(images=0))
    events.Reload()
    for by, steps in (('images', [20, 30]), ('boxes', [70, 160])):
        points = events.Scalars(f'by_{by}/coco/bbox_mAP')
        assert [(p.step, p.value) for p in points] == list(
            zip(steps, (0.25, 0.5)))
    assert 'by_images/coco/a _ b_AP' not in events.Tags()['scalars']
    pictures = events.Images('learning_curve.png')
    assert [p.step for p in pictures] == [0, 1] and pictures[0].width > 500
    table = events.Tensors('rounds/text_summary')[-1]
    text = table.tensor_proto.string_val[0].decode()
    assert '| round | images | boxes | AP |' in text and '| 160 |' in text


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow with a store in ``tmp_path``."""
    mlflow = pytest.importorskip('mlflow')
    # newer versions ask not to keep runs in plain files
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    monkeypatch.chdir(tmp_path)
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


def mlflow_backend(tmp_path, **more):
    return dict(type='mmengine.MLflowVisBackend', exp_name='bccd',
                tracking_uri=f'file://{tmp_path}/store', **more)


def runs_of(mlflow, tmp_path):
    client = mlflow.MlflowClient(f'file://{tmp_path}/store')
    experiment = client.get_experiment_by_name('bccd')
    return client, client.search_runs([experiment.experiment_id])


def test_mlflow_has_one_run_of_all_rounds(rounds, tmp_path, mlflow):
    cfg = config(mlflow_backend(tmp_path, run_name='isal', tags=dict(who='me'),
                                params=dict(lr='0.1')))
    before = cfg.to_dict()
    rounds(cfg, WorkDir(str(tmp_path / 'work')))
    assert cfg.to_dict() == before and mlflow.active_run() is None
    client, (run, ) = runs_of(mlflow, tmp_path)
    assert run.info.run_name == 'isal' and run.info.status == 'FINISHED'
    assert run.data.tags['who'] == 'me' and run.data.params == {'lr': '0.1'}
    for by, steps in (('images', [20, 30]), ('boxes', [70, 160])):
        points = client.get_metric_history(
            run.info.run_id, f'by_{by}/coco/bbox_mAP')
        assert sorted((p.step, p.value) for p in points) == list(
            zip(steps, (0.25, 0.5)))
    # names that MLflow does not know are written with others
    assert run.data.metrics['by_images/coco/c _d__precision'] == 0.5
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert artifacts == {'learning_curve.png', 'rounds.md'}


def test_a_run_of_the_users_own_stays_open_and_as_it_is(
        rounds, tmp_path, mlflow):
    mlflow.set_tracking_uri(f'file://{tmp_path}/store')
    mlflow.create_experiment('bccd')
    mlflow.set_experiment('bccd')
    own = mlflow.start_run(run_name='own').info.run_id
    rounds(config(mlflow_backend(tmp_path, tags=dict(who='me'))),
           WorkDir(str(tmp_path / 'work')))
    assert mlflow.active_run().info.run_id == own
    _, runs = runs_of(mlflow, tmp_path)
    assert {run.info.run_name for run in runs} == {'own', 'work'}
    (run, ) = [run for run in runs if run.info.run_id == own]
    assert run.info.status == 'RUNNING' and not run.data.metrics
    assert 'who' not in run.data.tags


def test_after_a_failure_no_run_of_mlflow_is_left_open(
        tmp_path, mlflow, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OSError('the disk is full')
    monkeypatch.setattr(mlflow.MlflowClient, 'log_image', fail)
    track_round(config(mlflow_backend(tmp_path)),
                WorkDir(str(tmp_path / 'work')),
                Curve([Record(0, 1, 2, {'coco/bbox_mAP': 0.5})]), 0, LOGGER)
    assert 'MLflowVisBackend: OSError: the disk is full' in caplog.text
    assert mlflow.active_run() is None
    _, (run, ) = runs_of(mlflow, tmp_path)
    assert run.info.status == 'FINISHED'


def test_a_run_of_mlflow_that_is_gone_is_not_replaced_unasked(
        rounds, tmp_path, mlflow, caplog):
    work, cfg = WorkDir(str(tmp_path / 'work')), config(
        mlflow_backend(tmp_path))
    rounds(cfg, work)
    client, (run, ) = runs_of(mlflow, tmp_path)
    client.delete_run(run.info.run_id)
    curve = Curve([Record(2, 40, 200, {'coco/bbox_mAP': 0.5})])
    track_round(cfg, work, curve, 2, LOGGER)
    shutil.rmtree(tmp_path / 'store' / run.info.experiment_id /
                  run.info.run_id)
    track_round(cfg, work, curve, 2, LOGGER)
    path = work.tracked_run('mlflow')
    for record in caplog.records:
        assert (f'the run {run.info.run_id} of {path} is not at '
                in record.message)
        assert 'Delete that file to begin a new run.' in record.message
    assert len(caplog.records) == 2
    os.remove(path)
    track_round(cfg, work, curve, 2, LOGGER)
    assert len(caplog.records) == 2
    assert len(runs_of(mlflow, tmp_path)[1]) == 1


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """Weights & Biases that keeps runs on the disk and calls nobody."""
    for name, value in (('MODE', 'offline'), ('SILENT', 'true'),
                        ('CACHE_DIR', str(tmp_path / 'cache')),
                        ('CONFIG_DIR', str(tmp_path / 'config')),
                        ('DATA_DIR', str(tmp_path / 'data'))):
        monkeypatch.setenv(f'WANDB_{name}', value)
    wandb = pytest.importorskip('wandb')
    yield wandb
    wandb.teardown()


def test_wandb_has_one_run_of_all_rounds(rounds, tmp_path, wandb):
    own = wandb.init(project='own', dir=str(tmp_path))
    cfg = config(dict(type='WandbVisBackend', init_kwargs=dict(
        project='bccd', id='of-the-trainings')))
    before = cfg.to_dict()
    work = WorkDir(str(tmp_path / 'work'))
    rounds(cfg, work, pause=1)  # its folders are called by the second
    assert cfg.to_dict() == before
    # a run of the user's own stays open and gets nothing of this
    assert wandb.run is own
    wandb.teardown()  # its other process has written everything then
    (records, ) = wandb_records(tmp_path / 'wandb')
    assert not any(r.HasField('history') for r in records)

    # one file each time that it was opened, all of the same run
    first, second = wandb_records(tmp_path / 'work' / 'tracking' / 'wandb')
    run_id = read_json(work.tracked_run('wandb'))['run_id']
    for number, records in enumerate((first, second)):
        (run, ) = {(r.run.run_id, r.run.project, r.run.display_name)
                   for r in records if r.HasField('run')}
        assert run == (run_id, 'bccd', 'work')
        axes = {r.metric.glob_name: r.metric.step_metric for r in records
                if r.HasField('metric') and r.metric.glob_name}
        assert axes == {'by_images/*': 'images', 'by_boxes/*': 'boxes'}
        (row, ) = [{'/'.join(i.nested_key) or i.key: json.loads(i.value_json)
                    for i in r.history.item}
                   for r in records if r.HasField('history')]
        assert row['_step'] == number
        assert (row['images'], row['boxes']) == ((20, 70), (30, 160))[number]
        for by in ('images', 'boxes'):
            assert row[f'by_{by}/coco/bbox_mAP'] == (0.25, 0.5)[number]
            assert f'by_{by}/coco/a _ b_AP' not in row
        assert row['learning_curve/width'] > 500
        assert row['rounds/nrows'] == number + 1
    assert run_id != 'of-the-trainings'
    *_, table = sorted(glob(
        f'{work.tracking}/wandb/offline-run-*/files/media/table/*.json'))
    with open(table) as f:
        table = json.load(f)
    assert table['columns'][:3] == ['round', 'images', 'boxes']
    assert [row[:3] for row in table['data']] == [
        ['0', '20', '70'], ['1', '30', '160']]


def wandb_records(folder):
    """What wandb has written of each run, in the order of time.

    Its files are logs in LevelDB's form: blocks of 32 KiB, in them records
    whose header has a checksum (4 bytes), the length (2) and the kind (1:
    whole, 2: first part, 3: middle, 4: last).
    """
    from wandb.proto.wandb_internal_pb2 import Record as WandbRecord
    runs = []
    for path in sorted(glob(f'{folder}/offline-run-*/*.wandb')):
        with open(path, 'rb') as f:
            content = f.read()
        records, parts, at = [], b'', 7  # behind the name of the form
        while at + 7 <= len(content):
            _, length, kind = struct.unpack('<IHB', content[at:at + 7])
            if kind:
                parts += content[at + 7:at + 7 + length]
                at += 7 + length
                if kind in (1, 4):
                    records.append(WandbRecord.FromString(parts))
                    parts = b''
            if not kind or at % 2**15 > 2**15 - 7:  # the rest is zeros
                at += -at % 2**15
        assert records
        runs.append(records)
    return runs


def test_a_tracker_that_fails_stops_no_run(tmp_path, caplog):
    curve = Curve([Record(0, 1, 2, {'coco/bbox_mAP': 0.5})])
    track_round(config(dict(type='NoSuchBackend')),
                WorkDir(str(tmp_path / 'work')), curve, 0, LOGGER)
    assert 'Round 0 was not sent to NoSuchBackend: ' in caplog.text


@pytest.mark.parametrize('cfg', [
    config(), Config(dict(visualizer=None)), Config(dict())])
def test_without_a_tracker_nothing_is_written(cfg, tmp_path):
    track_round(cfg, WorkDir(str(tmp_path / 'work')),
                Curve([Record(0, 1, 2)]), 0, LOGGER)
    assert not list(tmp_path.iterdir())
