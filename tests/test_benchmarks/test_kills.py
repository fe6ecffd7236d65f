"""The kill test finds what differs, and nothing else."""
import json
import shutil

import kills
import numpy as np
import pytest
import torch


def save_weights(path, value, at=0.0):
    torch.save(
        dict(state_dict=dict(weight=torch.tensor([1.0, value])),
             optimizer=dict(state={0: dict(step=3)}),
             message_hub=dict(time=at)), path)


@pytest.fixture
def whole(tmp_path):
    """The folder of a run, as far as the comparison looks."""
    folder = tmp_path / 'whole'
    logs = folder / 'round_00' / '20260102_030405'
    logs.mkdir(parents=True)
    (logs / 'scalars.json').write_text('no json')
    (folder / 'state.json').write_text(json.dumps(dict(rounds=[1, 2])))
    (folder / 'curve.json').write_text(json.dumps(dict(
        rounds=[dict(metrics=dict(AP=.5), train_seconds=2.5)])))
    (folder / 'report.html').write_text('drawn at noon')
    np.savez(folder / 'round_00' / 'scores.npz', values=np.array([.1, .2]))
    save_weights(folder / 'round_00' / 'epoch_1.pth', 1.0)
    return folder


def copied(whole):
    return shutil.copytree(whole, whole.parent / 'killed')


def test_times_logs_and_drawings_do_not_count(whole):
    work = copied(whole)
    (work / 'curve.json').write_text(json.dumps(dict(
        rounds=[dict(metrics=dict(AP=.5), train_seconds=None)])))
    (work / 'report.html').write_text('drawn at night')
    shutil.rmtree(work / 'round_00' / '20260102_030405')
    save_weights(work / 'round_00' / 'epoch_1.pth', 1.0, at=7.0)
    assert kills.differences(work, whole) == []


@pytest.mark.parametrize('path, change, column', [
    ('state.json', lambda p: p.write_text('{"rounds": [2, 1]}'), 'state'),
    ('curve.json', lambda p: p.write_text(
        '{"rounds": [{"metrics": {"AP": 0.51}}]}'), 'curve'),
    ('round_00/scores.npz', lambda p: np.savez(
        p, values=np.array([.1, np.nextafter(.2, 1)])), 'scores'),
    ('round_00/epoch_1.pth', lambda p: save_weights(
        p, 1 + torch.finfo(torch.float32).eps), 'weights'),
    ('report.html', lambda p: p.unlink(), 'others'),
    ('round_00/selected.json', lambda p: p.write_text('{}'), 'selected'),
    ('round_00/labelled.json', lambda p: p.write_text('{}'), 'labelled'),
    ('.state.json.1.mmal.tmp', lambda p: p.write_text('{'), 'others'),
])
def test_any_other_difference_counts(whole, path, change, column):
    work = copied(whole)
    change(work / path)
    assert kills.differences(work, whole) == [path]
    assert kills.column_of(path) == column
    row = kills.table({'isal': [
        kills.Outcome(3, 2, differences=[path]), kills.Outcome(1, 1)]})
    kind, *numbers = row.splitlines()[-1].split()
    assert [kind, *map(int, numbers)] == [
        'isal', 2, 4, 3, *(int(c == column) for c in kills.COLUMNS), 0]


@pytest.mark.run
def test_a_run_that_people_label_is_killed(monkeypatch, tmp_path, capsys):
    """It is done all the same, and a status of 1 tells a difference."""
    changes = kills.KINDS['people']
    changes = dict(
        changes,
        active_learning=dict(changes['active_learning'], rounds=2),
        train_cfg=dict(changes['train_cfg'], max_iters=2, val_interval=2),
        default_hooks=dict(checkpoint=dict(interval=1, by_epoch=False)))
    monkeypatch.setitem(kills.KINDS, 'people', changes)
    command = ['--kills', '1', '--kinds', 'people', '--folder', str(tmp_path)]
    assert kills.main(command) == 0
    kind, runs, number, *others = capsys.readouterr().out.splitlines()[
        -1].split()
    assert kind == 'people' and int(number) == 1 and int(runs) >= 1
    assert not any(map(int, others[1:]))
    # with each round the boxes labelled before are a pixel narrower
    work = tmp_path / 'people' / 'killed_01'
    state = json.loads((work / 'state.json').read_text())
    truth = json.loads((tmp_path / 'people' / 'data' / 'pool.json')
                       .read_text())
    assert truth['annotations'] == []
    widths = []
    for number in range(2):
        labelled = json.loads(
            (work / f'round_{number:02d}' / 'labelled.json').read_text())
        widths.append([
            a['bbox'][2] for a in labelled['annotations']
            if a['image_id'] in state['rounds'][0]['ids']])
    assert widths[0] and widths[1] == [w - 1 for w in widths[0]]
