"""Labels of a finished run, judged by its detectors and by what they wrote."""
import csv
import json
import shutil

import pytest
from helpers.tiny import tiny_active_learning, tiny_config
from mmengine.registry import DefaultScope

from mmal.analysis.label_errors import find_label_errors, save_suspects
from mmal.analysis.label_influence import InfluentialBox, rank_by_influence
from mmal.commands import main
from mmal.engine import ActiveLearner


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """A run of two rounds, 4 + 3 images."""
    folder = tmp_path_factory.mktemp('label_errors')
    cfg = tiny_config(str(folder / 'data'))
    cfg.work_dir = str(folder / 'work')
    cfg.active_learning = tiny_active_learning()
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(cfg).run()
    return folder / 'work'


@pytest.fixture
def predictions(work):
    """What round 0 would have written: every box of the images it chose where
    it is, but one of another class, and one too many."""
    ids = json.loads((work / 'round_00' / 'selected.json').read_text())['ids']
    labels = json.loads((work / 'round_01' / 'labelled.json').read_text())
    names = {c['id']: c['name'] for c in labels['categories']}
    own = [a for a in labels['annotations'] if a['image_id'] in ids]
    rows = [dict(image_id=a['image_id'], category_id=a['category_id'],
                 bbox=a['bbox'], score=0.9) for a in own]
    rows[0]['category_id'] = next(
        c for c in names if c != rows[0]['category_id'])
    rows.append(dict(image_id=ids[0], category_id=rows[0]['category_id'],
                     bbox=[0, 0, 1.5, 1.5], score=0.8))
    path = work / 'round_00' / 'predictions.json'
    path.write_text(json.dumps(rows))
    yield own[0], names
    path.unlink()


@pytest.mark.run
def test_each_image_is_judged_by_a_detector_that_was_new_to_it(work):
    first, second = (content['ids'] for content in json.loads(
        (work / 'state.json').read_text())['rounds'])
    suspects, note = find_label_errors(str(work), progress=False)
    assert note == ('Images judged: 4 by the detector of round 1, which was '
                    'trained on them; 3 by the detector of round 0.')
    for suspect in suspects:
        assert suspect.seen is (suspect.image_id in first)
        assert suspect.detector == (1 if suspect.seen else 0)
        assert suspect.image_id in {*first, *second}
    _, note = find_label_errors(str(work), detector='last', progress=False)
    assert note.startswith('Images judged: 7 by the detector of round 1')
    suspects, _ = find_label_errors(str(work), 'val', progress=False)
    assert not any(s.seen for s in suspects)


@pytest.mark.run
def test_written_predictions_are_taken_and_files_written(
        work, predictions, tmp_path, capsys):
    label, names = predictions
    files = [str(tmp_path / n) for n in ('s.csv', 's.json', 'coco.json')]
    for path in files[:2]:
        assert main(['analysis', 'label-errors', str(work), '--out', path,
                     '--coco', files[2], '--top', '5']) == 0
    shown = capsys.readouterr().out
    assert 'contradictions between labels and detectors' in shown
    rows = json.loads((tmp_path / 's.json').read_text())
    of_round_0 = [r for r in rows if r['detector'] == 0]
    wrong, = [r for r in of_round_0 if r['kind'] == 'class']
    assert wrong['annotation_id'] == label['id'] and wrong['iou'] == 1
    assert wrong['given_class'] == names[label['category_id']]
    assert wrong['predicted_class'] != wrong['given_class']
    missing, = [r for r in of_round_0 if r['kind'] == 'overlooked']
    assert missing['predicted_box'] == [0, 0, 1.5, 1.5]
    assert missing['given_box'] is None and missing['score'] == 0.8
    assert [r['value'] for r in rows] == sorted(
        (r['value'] for r in rows), reverse=True)
    with open(files[0], encoding='utf-8') as f:
        table = list(csv.DictReader(f))
    assert [r['file_name'] for r in table] == [r['file_name'] for r in rows]
    coco = json.loads((tmp_path / 'coco.json').read_text())
    assert len(coco['annotations']) == len(rows)
    assert {a['image_id'] for a in coco['annotations']} == {
        i['id'] for i in coco['images']}


@pytest.mark.run
def test_one_kind_is_shown(work, predictions, capsys):
    assert main(['analysis', 'label-errors', str(work), '--kind',
                 'class', '--top', '1000']) == 0
    shown = capsys.readouterr().out
    assert 'class' in shown and 'overlooked' not in shown


@pytest.mark.run
def test_a_damaged_file_and_a_wrong_name_are_named(work, predictions, capsys):
    (work / 'round_00' / 'predictions.json').write_text('{"a": 1}')
    assert main(['analysis', 'label-errors', str(work)]) == 1
    assert 'predictions.json is no list' in capsys.readouterr().err
    assert main(['analysis', 'label-errors', str(work), '--out', 'a.xls']) == 1
    assert 'must end in .csv or .json' in capsys.readouterr().err


@pytest.mark.run
def test_labels_are_ranked_by_influence(work, tmp_path, capsys):
    path = str(tmp_path / 's.csv')
    assert main(['analysis', 'label-errors', str(work), '--by', 'influence',
                 '--top', '3', '--out', path]) == 0
    labels = json.loads((work / 'round_01' / 'labelled.json').read_text())
    number = len(labels['annotations'])
    assert f'3 of {number} labels' in capsys.readouterr().out
    with open(path, encoding='utf-8') as f:
        rows = list(csv.DictReader(f))
    values = [float(r['value']) for r in rows]
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    by_id = {str(a['id']): a for a in labels['annotations']}
    names = {c['id']: c['name'] for c in labels['categories']}
    assert {r['annotation_id'] for r in rows} == set(by_id)
    for row in rows:
        label = by_id[row['annotation_id']]
        assert row['image_id'] == str(label['image_id'])
        assert row['given_class'] == names[label['category_id']]
        assert [float(v) for v in row['given_box'].split()] == pytest.approx(
            label['bbox'], abs=0.01)


@pytest.mark.run
def test_boxes_that_reach_out_of_the_image_are_ranked(work, tmp_path):
    """mmdet cuts them when it resizes the image."""
    copy = tmp_path / 'copy'
    shutil.copytree(work, copy)
    path = copy / 'round_01' / 'labelled.json'
    labels = json.loads(path.read_text())
    widest = labels['annotations'][0]
    image = next(i for i in labels['images']
                 if i['id'] == widest['image_id'])
    widest['bbox'] = [-2., -3., image['width'] + 5., image['height'] + 9.]
    path.write_text(json.dumps(labels))
    boxes = rank_by_influence(str(copy), progress=False)
    assert {b.annotation_id: b.given_box for b in boxes} == {
        a['id']: a['bbox'] for a in labels['annotations']}


@pytest.mark.run
@pytest.mark.parametrize('option', ['--split=val', '--detector=last',
                                    '--kind=class', '--coco=a.json'])
def test_what_influence_does_not_know_is_refused(work, option, capsys):
    assert main(['analysis', 'label-errors', str(work), '--by=influence',
                 option]) == 1
    assert 'leave out --split val' in capsys.readouterr().err


def test_a_file_without_suspects_has_the_columns_of_its_kind(tmp_path):
    columns = []
    for kind in ((), (InfluentialBox, )):
        save_suspects([], str(tmp_path / 's.csv'), *kind)
        columns.append((tmp_path / 's.csv').read_text().strip().split(','))
    assert columns[0][0] == 'kind' and 'detector' in columns[0]
    assert columns[1] == ['value', 'image_id', 'file_name', 'annotation_id',
                          'given_class', 'given_box']


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert main(['analysis', 'label-errors', str(tmp_path)]) == 1
    assert 'is no work folder of a run' in capsys.readouterr().err
