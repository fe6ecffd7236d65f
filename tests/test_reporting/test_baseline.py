"""The runs of a baseline on the page of another run."""
import os
import shutil
import sys
import types

import numpy as np
import pytest
from helpers.work_folders import make_work_folder

from mmal.commands import main
from mmal.fileio import read_json, write_json, write_text
from mmal.pool import DataRecord, ImageTable, Pool
from mmal.pool.data_record import _IMAGES
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, Record, report, write_report
from mmal.reporting.baseline import data_differences, read_baseline


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """What draws the charts, which takes seconds to bundle."""
    monkeypatch.setattr(report, 'vega_scripts', lambda: '/* Vega */')


def table(keys, entry=0):
    rows = np.zeros(len(keys), _IMAGES)
    rows['key'], rows['entry'] = keys, entry
    return ImageTable(rows)


def write_data(path, classes=('cat', 'hen'), pool=(1, 2, 3), val=(8, 9),
               photos=0):
    tables = dict(pool=table(pool, photos))
    if val:
        tables['validation'] = table(val)
    DataRecord(list(classes), tables).save(WorkDir(path).data)


def write_run(path, values, first=(1, 2), seed=0, iterations=100, **data):
    """A work folder of a run with a round of each value."""
    Curve([Record(r, 10 + 10 * r, 30 + 30 * r + seed,
                  {'coco/bbox_mAP': v, 'coco/bbox_mAP_50': 2 * v},
                  hours=0.5 + r) for r, v in enumerate(values)],
          'rounds').save(path)
    pool = Pool(range(1, 9))
    pool.commit(first)
    pool.save(WorkDir(path).state, config_hash='', seed=seed)
    write_json(WorkDir(path).identity, {
        'active_learning.scorer.type': os.path.basename(path),
        'active_learning.seed': seed, 'train_cfg.max_iters': iterations})
    write_data(path, **data)
    return path


@pytest.fixture
def runs(tmp_path):
    """A run and three of its baseline."""
    return [write_run(str(tmp_path / name), values, seed=seed)
            for name, values, seed in (
                ('isal', [.1, .3], 0), ('random_0', [.1, .2], 0),
                ('random_1', [.2, .3], 1), ('random_2', [.3, .1, .4], 2))]


def test_a_baseline_is_the_mean_of_its_runs(runs):
    ours, *others = runs
    baseline = read_baseline(WorkDir(ours), others, ('AP', 'AP50', 'AP75'))
    assert [run.name for run in baseline.runs] == [
        'random_0', 'random_1', 'random_2']
    assert list(baseline.curves) == ['AP', 'AP50']
    first, second = baseline.curves['AP'].rounds
    assert first.value.mean == pytest.approx(.2)
    assert second.value.std == pytest.approx(np.std([.2, .3, .1], ddof=1))
    assert first.boxes.mean == 31 and first.hours.mean == .5
    # AP75 has no values, and round 2 not all runs
    assert [n for n in baseline.notes if 'AP75' in n]
    assert [n for n in baseline.notes if 'round 2 left out' in n]
    assert len(baseline.notes) == 2


@pytest.mark.parametrize('other, expected', [
    (dict(), []),
    (dict(seed=4), []),
    (dict(val=(8, 10)), ['other validation data']),
    (dict(val=()), ['same validation data is not known']),
    (dict(pool=(1, 2, 4)), ['another pool']),
    (dict(pool=(1, 2)), ['another pool']),
    (dict(photos=7), ['another pool']),  # that counts from 1 as well
    (dict(classes=('hen', 'cat')), ['other classes']),
    (dict(first=(2, 3)), ['another first labelled set']),
    (dict(first=(2, 1)), []),
    (dict(iterations=7),
     ['other settings: train_cfg.max_iters is 7 and not 100']),
    (dict(iterations=7, first=(3, ), val=(1, )),
     ['other validation', 'another first', 'other settings'])])
def test_what_is_not_shared_is_said(tmp_path, other, expected):
    ours = write_run(str(tmp_path / 'isal'), [.1])
    theirs = write_run(str(tmp_path / 'random'), [.1], **other)
    found = data_differences(WorkDir(ours), WorkDir(theirs))
    assert len(found) == len(expected)
    for text, part in zip(found, expected):
        assert part in text


@pytest.mark.parametrize('name, part', [
    ('data.npz', 'a data.npz cannot be read'),
    ('state.json', 'first labelled set is not known'),
    ('identity.json', 'settings of training is not known')])
@pytest.mark.parametrize('content', [None, '', '[]', '{"a": 1'])
def test_what_cannot_be_read_is_not_known(runs, name, part, content):
    path = os.path.join(runs[1], name)
    os.unlink(path)
    if content is not None:
        write_text(path, content)
    (found, ) = data_differences(WorkDir(runs[0]), WorkDir(runs[1]))
    assert part in found


def page_of(run):
    with open(os.path.join(run, 'report.html'), encoding='utf-8') as f:
        return f.read()


def test_the_page_draws_it_and_says_what_differs(tmp_path):
    ours = write_run(str(tmp_path / 'isal'), [.1, .3])
    same, other = (write_run(str(tmp_path / f'random_{n}'), [.1, .2],
                             first=first, seed=n)
                   for n, first in enumerate([(1, 2), (3, 4)]))
    write_report(ours, baseline=[same, other])
    page = page_of(ours)
    assert ('Dotted is the baseline, the mean of 2 runs (random_0, random_1) '
            'with a band' in page)
    assert 'Baseline, random_1: another first labelled set.' in page
    assert page.count('"strokeDash":[2,4]') == 3  # images, boxes, hours
    write_report(ours, baseline=[same])
    assert 'random_0, a single run.' in page_of(ours)
    assert 'another first labelled set' not in page_of(ours)


def test_the_run_makes_its_page_again_alike(runs, tmp_path):
    """Whatever folder it is started in, and wherever all have moved to."""
    ours, *others = runs
    assert main(['report', ours, '--baseline', *others]) == 0
    before = page_of(ours)
    assert 'the mean of 3 runs' in before
    write_report(ours)
    assert page_of(ours) == before
    moved = tmp_path / 'elsewhere'
    moved.mkdir()
    for run in runs:
        shutil.move(run, moved)
    write_report(str(moved / 'isal'))
    assert 'the mean of 3 runs' in page_of(str(moved / 'isal'))
    # one that is gone stops nothing
    shutil.rmtree(moved / 'random_0')
    write_report(str(moved / 'isal'))
    assert 'the mean of 2 runs' in page_of(str(moved / 'isal'))
    assert 'Baseline without' in page_of(str(moved / 'isal'))
    assert main(['report', str(moved / 'isal'), '--baseline']) == 0
    write_report(str(moved / 'isal'))
    assert 'Dotted' not in page_of(str(moved / 'isal'))
    assert 'Baseline' not in page_of(str(moved / 'isal'))


def test_no_run_is_its_own_baseline(runs):
    assert main(['report', *runs[:2], '--baseline', *runs[1:]]) == 0
    assert 'the mean of 3 runs' in page_of(runs[0])
    assert 'the mean of 2 runs (random_1, random_2)' in page_of(runs[1])


def test_runs_stand_before_their_baseline(runs, capsys):
    assert main(['report', '--baseline', *runs[1:], runs[0]])
    assert 'name them before --baseline' in capsys.readouterr().err


def test_a_baseline_that_is_none_is_refused(runs, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert main(['report', runs[0], '--baseline', str(tmp_path / 'empty')])
    assert 'no curve.json' in capsys.readouterr().err
    assert not os.path.exists(WorkDir(runs[0]).report_options)


def test_the_page_does_not_say_where_runs_lie(tmp_path):
    """It may be sent to others: paths are from the work folder."""
    ours = write_run(str(tmp_path / 'isal'), [.1, .3])
    one, two, gone, unfinished, odd = (
        write_run(str(tmp_path / name / 'random'), [.1, .2])
        for name in ('one', 'two', 'gone', 'unfinished', 'odd'))
    for path, root in ((ours, '/home/me/data/'), (one, '/home/you/data/')):
        write_json(WorkDir(path).identity, {
            'train_dataloader.dataset.data_root': root,
            'train_cfg.max_iters': len(root)})
    Curve().save(unfinished)
    write_text(WorkDir(odd).curve, '5')
    write_text(WorkDir(ours).state, '5')
    write_report(ours, baseline=[one, two, gone, unfinished, odd])
    shutil.rmtree(gone)
    write_report(ours)
    page = page_of(ours)
    assert '(../one/random, ../two/random)' in page
    for name in ('gone', 'unfinished', 'odd'):
        assert f'Baseline without ../{name}/random: ' in page
    assert ('other settings: train_cfg.max_iters is 15 and not 14, '
            'train_dataloader.dataset.data_root.' in page)
    assert 'Could not be read: state.json' in page
    assert str(tmp_path) not in page and '/home/' not in page


@pytest.mark.parametrize('content', [
    '', '[]', '{"map": "globe"}', '{"baseline": [3]}', '{"colour": "red"}',
    '{"baseline": "random_0"}', '{"baseline": null}'])
def test_options_that_cannot_be_read_are_named(runs, content):
    write_text(WorkDir(runs[0]).report_options, content)
    write_report(runs[0])
    assert 'Could not be read: report.json' in page_of(runs[0])
    assert os.path.dirname(runs[0]) not in page_of(runs[0])
    write_report(runs[0], baseline=[runs[1]])
    assert 'Could not be read' not in page_of(runs[0])


def test_the_map_is_remembered_and_never_missing(tmp_path, monkeypatch):
    """Without umap-learn the page has principal components, and says so."""
    monkeypatch.setitem(sys.modules, 'umap', None)
    work = make_work_folder(str(tmp_path), real_photos=False)
    write_report(work, map_kind='umap')
    assert read_json(WorkDir(work).report_options) == dict(
        baseline=[], map='umap')
    write_report(work)
    assert "pip install 'mmdet-al[umap]'" in page_of(work).replace(
        '&#39;', "'")
    assert 'component 1 (' in page_of(work)
    write_report(work, map_kind='pca')
    assert 'mmdet-al[umap]' not in page_of(work).replace('&#39;', "'")
    with pytest.raises(ValueError, match='no map'):
        write_report(work, map_kind='globe')


def test_a_umap_that_cannot_be_imported_leaves_a_map(tmp_path, monkeypatch):
    """Another package of this name, or one that numba does not fit."""
    monkeypatch.setitem(sys.modules, 'umap', types.ModuleType('umap'))
    work = make_work_folder(str(tmp_path), real_photos=False)
    write_report(work, map_kind='umap')
    page = page_of(work)
    assert 'component 1 (' in page and 'Could not be read' not in page
    assert 'The map is of principal components: UMAP cannot be imported' in \
        page


@pytest.mark.parametrize('kind, module, name', [
    ('umap', 'umap', 'UMAP'), ('tsne', 'sklearn', 't-SNE')])
def test_the_map_is_the_one_that_is_asked_for(tmp_path, kind, module, name):
    pytest.importorskip(module)
    work = make_work_folder(str(tmp_path), images=40, real_photos=False)
    assert main(['report', work, '--map', kind]) == 0
    assert f'by {name}' in page_of(work) and f'"{name} 1"' in page_of(work)
