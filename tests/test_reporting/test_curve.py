import json

import numpy as np
import pytest

from mmal.reporting import Curve, Record

AP, AP50 = 'coco/bbox_mAP', 'coco/bbox_mAP_50'


def make(n=3, **kwargs):
    return Curve([
        Record(r, 40 * (r + 1), 120 * (r + 1), {
            AP: 0.1 * (r + 1),
            AP50: 0.2 * (r + 1)
        }) for r in range(n)
    ], **kwargs)


def test_file_has_the_agreed_form(tmp_path):
    curve = make(1, stopped='rounds', img_prefix='images/')
    path = curve.save(str(tmp_path))
    assert path == str(tmp_path / 'curve.json')
    assert json.loads((tmp_path / 'curve.json').read_text()) == {
        'rounds': [{
            'round': 0,
            'images': 40,
            'boxes': 120,
            'metrics': {
                AP: 0.1,
                AP50: 0.2
            },
            'efficiency': pytest.approx(8.3333, abs=1e-4),
            'train_seconds': None,
            'query_seconds': None
        }],
        'stopped': 'rounds',
        'note': '',
        'img_prefix': 'images/'
    }


def test_round_trip(tmp_path):
    curve = make(stopped='exhausted', note='took the 7 left')
    curve.save(str(tmp_path))
    assert Curve.load(str(tmp_path)) == curve
    assert Curve.load(str(tmp_path / 'curve.json')) == curve


def test_efficiency_is_the_papers():
    # table 9, ISAL, step 1; table 8, ISAL, step 6
    first = Record(0, 5000, 36603.6667, {AP: 0.12833333})
    assert first.efficiency == pytest.approx(0.03506024, abs=1e-8)
    sixth = Record(5, 3000, 7190.33333, {AP: 0.47166667})
    assert sixth.efficiency == pytest.approx(0.65597330, abs=1e-7)


@pytest.mark.parametrize('record', [
    Record(0, 5, 0, {AP: 0.1}),
    Record(0, 5, 9, {}),
    Record(0, 5, 9, {AP: float('nan')})
])
def test_efficiency_without_boxes_or_ap(record):
    assert record.efficiency is None


def test_a_round_reported_twice_is_one_record():
    curve = make(3)
    curve.add(Record(1, 80, 99))
    assert [r.round for r in curve.records] == [0, 1, 2]
    assert curve.records[1].boxes == 99
    curve.add(Record(3, 160, 480))
    curve.add(Record(3, 160, 480))
    assert len(curve) == 4


def test_metrics_that_are_no_number_become_none(tmp_path):
    curve = Curve([
        Record(0, 1, 1, {
            'a': np.float32(0.5),
            'b': float('inf'),
            'c': '12',
            'd': -1
        })
    ])
    curve.save(str(tmp_path))
    metrics = Curve.load(str(tmp_path)).records[0].metrics
    assert metrics == {'a': 0.5, 'b': None, 'c': None, 'd': -1.0}


def test_series_skips_rounds_without_the_metric():
    curve = make(3)
    curve.records[1].metrics.clear()
    assert curve.series('images', 'AP50') == ([40, 120],
                                              pytest.approx([0.2, 0.6]))
    assert curve.series('boxes', 'no/such') == ([], [])
    with pytest.raises(ValueError, match="by must be .*'pixels'"):
        curve.series('pixels')


def test_statistics():
    curve = make(3)
    assert curve.area() == pytest.approx(0.2)
    assert curve.area('images', 'AP50', high=80) == pytest.approx(0.3)
    assert curve.boxes_needed(0.15) == pytest.approx(180)
    assert curve.boxes_needed(0.9) is None
    assert Curve().area() is None and Curve().boxes_needed(0.1) is None


def test_missing_file(tmp_path):
    assert Curve.load(str(tmp_path), missing_ok=True) == Curve()
    with pytest.raises(FileNotFoundError):
        Curve.load(str(tmp_path))


@pytest.mark.parametrize('text', [
    '{"rounds": [{"round": 0, "ima', '[]', '{}', '{"rounds": [{"round": 0}]}',
    '{"rounds": [], "stopped": "lunch"}'
])
def test_broken_file_is_named(tmp_path, text):
    (tmp_path / 'curve.json').write_text(text)
    with pytest.raises(ValueError, match='curve.json'):
        Curve.load(str(tmp_path))


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    make(1).save(str(tmp_path))

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError, match='curve.json'):
        make(2).save(str(tmp_path))
    assert len(Curve.load(str(tmp_path))) == 1
    assert [p.name for p in tmp_path.iterdir()] == ['curve.json']


def test_repetitions_are_written_where_there_may_be_some():
    assert 'reselected' not in Record(0, 4, 9).to_dict()
    entry = Record(1, 4, 9, reselected=0).to_dict()
    assert entry['reselected'] == 0
    assert Record.from_dict(entry).reselected == 0
    assert Record.from_dict(Record(0, 4, 9).to_dict()).reselected is None
