"""Two selections compared by what models learn from them."""
import json
import os
import shutil

import pytest
import torch
from helpers.mdn_runs import tool
from helpers.runs import make_config
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmal.analysis import ab
from mmal.analysis.ab import SIDES, TESTS, ABTest, ab_tables, key
from mmal.analysis.ab_data import joined, load_selection
from mmal.fileio import read_json, write_json
from mmal.pool import load_coco


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A config, and the pool cut into a reference and two selections."""
    folder = str(tmp_path_factory.mktemp('ab'))
    config = make_config(folder, train_cfg=dict(max_epochs=1))
    pool = load_coco(os.path.join(folder, 'data', 'pool.json'))
    ids = pool.ids
    parts = dict(reference=ids[:4], a=ids[4:8], b=ids[7:11])
    paths = {}
    for name, part in parts.items():
        paths[name] = os.path.join(folder, f'{name}.json')
        write_json(paths[name], pool.subset(part, pool.annotations_of(part)))
    return dict(config=config, pool=pool, **paths)


def load(data, work_dir, **changes):
    cfg = Config.fromfile(data['config'])
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict(changes)
    return cfg


def make(data, work_dir, splits=1, **kwargs):
    options = dict(fraction=.25, splits=splits, **kwargs)
    return ABTest(load(data, work_dir), data['reference'],
                  [data['a'], data['b']], **options)


def weights(*path):
    return torch.load(os.path.join(*map(str, path)),
                      weights_only=True)['state_dict']


def names(path):
    return {i['file_name'] for i in read_json(str(path))['images']}


@pytest.fixture(scope='module')
def done(data, tmp_path_factory):
    """The work folder of a test by the command line, and what it printed."""
    import contextlib
    import io
    work = str(tmp_path_factory.mktemp('done') / 'work')
    command = [data['config'], data['reference'], data['a'], data['b'],
               '--splits', '1', '--fraction', '.25', '--work-dir', work]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), \
            DefaultScope.overwrite_default_scope('mmdet'):
        assert tool('analysis', 'ab.py').main(
            [*command, '--names', 'manual', 'AL', '--out', work + '.md']) == 0
    return work, command, out.getvalue()


@pytest.mark.run
def test_files_are_of_the_split(data, done):
    work, _, _ = done
    test = make(data, work)
    split, = test.splits
    folder = os.path.join(work, 'split_01')
    base = names(data['reference'])
    assert names(os.path.join(work, 'reference', 'labelled.json')) == base
    both = set().union(*split.test)
    for side, train, tested in zip(SIDES, split.train, split.test):
        assert names(os.path.join(folder, side, 'labelled.json')) == \
            base | set(train)
        assert names(os.path.join(folder, f'test_{side}.json')) == set(tested)
        assert not set(train) & both
    assert names(os.path.join(folder, 'test_both.json')) == both


@pytest.mark.run
def test_every_model_has_metrics_on_every_test_set(done):
    work, _, printed = done
    results = read_json(os.path.join(work, 'results.json'))
    assert set(results) == {
        key(m, 0, t) for m in ('reference', *SIDES) for t in TESTS}
    for found in results.values():
        for metric in ('AP', 'wMAP'):
            values = found[metric]
            assert list(values['classes']) == [
                'class_0', 'class_1', 'class_2']
            assert values['overall'] is None or 0 <= values['overall'] <= 1
    assert printed.count('class_2') == len(TESTS)
    assert 'AP, change over the reference in percent, test images of ' \
        'manual and AL (1 splits)' in printed
    with open(work + '.md', encoding='utf-8') as f:
        assert '| class_0 | ' in f.read()


@pytest.mark.run
def test_the_boxes_of_both_selections_are_shown(data, done):
    work, _, printed = done
    sizes = [(len(c['images']), sum(
        not a.get('iscrowd') for a in c['annotations']))
        for c in map(read_json, (data['a'], data['b']))]
    assert make(data, work).sizes == sizes
    lines = printed.splitlines()
    start = lines.index('the selections')
    header, _, *rows = lines[start + 1:start + 5]
    assert header.split() == ['images', 'boxes']
    assert [r.split() for r in rows] == [
        [name, str(images), str(boxes)]
        for name, (images, boxes) in zip(('manual', 'AL'), sizes)]


@pytest.mark.run
def test_finished_work_is_not_repeated(done, capsys, monkeypatch):
    work, command, printed = done
    before = os.path.getmtime(os.path.join(work, 'results.json'))
    monkeypatch.setattr(ab, 'train_to_weights', lambda *args: None)
    monkeypatch.setattr(ab, 'evaluate', None)
    main = tool('analysis', 'ab.py').main
    assert main(command) == 1
    assert '--resume' in capsys.readouterr().err
    assert main([*command, '--resume', '--tests', 'val']) == 0
    shown = capsys.readouterr().out.strip()
    assert 'validation set' in shown and 'alone' not in shown
    assert os.path.getmtime(os.path.join(work, 'results.json')) == before
    assert main([*command, '--resume', '--seed', '1']) == 1
    assert 'seed: 0 -> 1' in capsys.readouterr().err


@pytest.mark.run
def test_interrupted_and_resumed_is_the_same(data, done, tmp_path,
                                             monkeypatch):
    """Stopped in the middle of the evaluation of A."""
    work = tmp_path / 'work'
    original, calls = ab.evaluate, []

    def broken(*args):
        calls.append(args)
        if len(calls) == 6:
            raise OSError('the disk is gone')
        return original(*args)

    monkeypatch.setattr(ab, 'evaluate', broken)
    with pytest.raises(OSError, match='disk'):
        make(data, work).run()
    assert len(read_json(str(work / 'results.json'))) == 5
    assert make(data, work, resume=True).run() == read_json(
        os.path.join(done[0], 'results.json'))
    assert len(calls) == 6 + 7
    for side in SIDES:
        place = ('split_01', side, 'model', 'weights.pth')
        ours, theirs = weights(work, *place), weights(done[0], *place)
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.run
def test_a_given_reference_model_is_only_tested(data, done, tmp_path,
                                                monkeypatch):
    given = os.path.join(done[0], 'reference', 'model', 'weights.pth')
    trained = []

    def train(cfg, settings, round, files):
        trained.append(cfg.work_dir)
        os.makedirs(files.path, exist_ok=True)
        shutil.copy(given, files.weights)

    monkeypatch.setattr(ab, 'train_to_weights', train)
    test = make(data, tmp_path / 'work', checkpoint=given)
    results = test.run()
    assert [os.path.basename(t) for t in trained] == list(SIDES)
    theirs = read_json(os.path.join(done[0], 'results.json'))
    for place in TESTS:
        name = key('reference', 0, place)
        assert results[name] == theirs[name]


class Oracle(torch.nn.Module):
    """Finds every object but those of class 1, wherever the file is."""

    def __init__(self, root):
        super().__init__()
        self.truth = {}
        for name in ('pool', 'val'):
            coco = load_coco(os.path.join(root, f'{name}.json'))
            for i, image in coco.images.items():
                self.truth[image['file_name']] = [
                    a for a in coco.annotations.get(i, ())
                    if a['category_id'] != 2]

    def test_step(self, batch):
        from mmengine.structures import InstanceData
        for sample in batch['data_samples']:
            rows = self.truth[os.path.basename(sample.img_path)]
            boxes = torch.tensor([a['bbox'] for a in rows]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            sample.pred_instances = InstanceData(
                bboxes=boxes.float(), scores=torch.ones(len(rows)),
                labels=torch.tensor([a['category_id'] - 1 for a in rows]))
        return [s.to_dict() for s in batch['data_samples']]


@pytest.fixture(scope='module')
def seen(data, tmp_path_factory):
    """A test whose models all see what :class:`Oracle` sees; its results."""
    here = make(data, tmp_path_factory.mktemp('seen') / 'work')
    with pytest.MonkeyPatch.context() as m, \
            DefaultScope.overwrite_default_scope('mmdet'):
        m.setattr(ab, 'train_to_weights', lambda *args: None)
        m.setattr(ab, 'load_detector',
                  lambda *args: Oracle(here.dataset.data_root))
        return here, here.run()


@pytest.mark.parametrize('test', TESTS)
def test_each_test_set_is_evaluated(seen, test):
    """A detector that sees all but class 1, on images of known classes."""
    here, results = seen
    found = results[key('a', 0, test)]
    path = here.cfg.val_dataloader.dataset.ann_file if test == 'val' else \
        os.path.join(here.work.path, 'split_01', f'test_{test}.json')
    coco = load_coco(os.path.join(here.dataset.data_root, path))
    there = {a['category_id'] for a in coco.annotations_of(coco.ids)}
    expected = {f'class_{c}': float(c != 1) if c + 1 in there else None
                for c in range(3)}
    known = [v for v in expected.values() if v is not None]
    for metric in ('AP', 'wMAP'):
        assert found[metric]['classes'] == pytest.approx(expected)
    assert found['AP']['overall'] == pytest.approx(
        sum(known) / len(known) if known else None)


def test_tables_hold_mean_and_deviation_of_the_changes():
    def found(value):
        return dict(AP=dict(overall=value, classes=dict(cat=None, dog=value)))

    values = dict(reference=[.2, .4], a=[.3, .5], b=[.2, .4])
    results = {key(m, n, t): found(v) for m, pair in values.items()
               for n, v in enumerate(pair) for t in ('both', 'a', 'b')}
    results[key('reference', 0, 'val')] = found(.5)
    for n in range(2):
        results[key('a', n, 'val')] = found(.5 + .1 * n)
        results[key('b', n, 'val')] = found(0.)
    both, *_, val = ab_tables(results, 2, ('manual', 'AL'))
    assert both.header == ('', 'reference', 'manual', '±', 'AL', '±')
    # +50% and +25%: mean 37.5, deviation 12.5 * sqrt(2)
    assert both.rows == (
        ('all classes', '0.3000', '+37.50', '17.68', '+0.00', '0.00'),
        ('cat', '–', '–', '–', '–', '–'),
        ('dog', '0.3000', '+37.50', '17.68', '+0.00', '0.00'))
    assert val.rows[0][2:] == ('+10.00', '14.14', '-100.00', '0.00')
    one, = ab_tables(results, 1, classes=['dog'], tests=['a'])
    assert [row[0] for row in one.rows] == ['all classes', 'dog']
    assert one.rows[1][2:4] == ('+50.00', '–')


def test_joined_files_keep_images_and_boxes(data):
    pool = data['pool']
    selection = load_coco(data['b'])
    # other ids for images and categories, in another order
    content = read_json(data['b'])
    for image in content['images']:
        image['id'] += 3
    for a in content['annotations']:
        a['image_id'] += 3
        a['category_id'] = 4 - a['category_id']
    for c in content['categories']:
        c['id'] = 4 - c['id']
    path = data['b'] + '.other.json'
    write_json(path, content)
    reference = load_coco(data['reference'])
    wanted = sorted(names(data['b']))[:2]
    whole = joined([(reference, ()), (reference, names(data['reference'])),
                    (load_coco(path), wanted), (selection, wanted)])
    assert [i['id'] for i in whole['images']] == list(range(1, 7))
    assert [a['id'] for a in whole['annotations']] == list(
        range(1, 1 + len(whole['annotations'])))

    def boxes(raw, keep):
        files = {i['id']: i['file_name'] for i in raw['images']}
        classes = {c['id']: c['name'] for c in raw['categories']}
        return sorted((files[a['image_id']], classes[a['category_id']],
                       a['bbox']) for a in raw['annotations']
                      if files[a['image_id']] in keep)

    kept = names(data['reference']) | set(wanted)
    original = pool.subset(pool.ids, pool.annotations_of(pool.ids))
    assert boxes(whole, kept) == boxes(original, kept)
    assert len(whole['images']) == len(kept)


def test_selected_json_is_read_with_its_pool(data, tmp_path):
    path = str(tmp_path / 'selected.json')
    ids = data['pool'].ids[4:8]
    write_json(path, dict(ids=ids, scores=[0.] * 4))
    found = load_selection(path, data['pool'])
    theirs = load_coco(data['a'])
    assert found.images == theirs.images
    assert found.annotations == theirs.annotations
    known = data['pool'].ids[0]  # reselected: nothing new
    write_json(path, dict(ids=[known, *ids], reselected=[known]))
    assert load_selection(path, data['pool']).images == theirs.images
    with pytest.raises(ValueError, match='with --pool'):
        load_selection(path)
    write_json(path, dict(ids=[-5]))
    with pytest.raises(ValueError, match='no images with the ids -5'):
        load_selection(path, data['pool'])


def smaller(data, folder):
    content = load_coco(data['b'])
    ids = content.ids[:-1]
    path = str(folder / 'smaller.json')
    write_json(path, content.subset(ids, content.annotations_of(ids)))
    return dict(b=path)


def renamed(data, folder):
    content = read_json(data['b'])
    content['images'][0]['file_name'] = 'gone.png'
    path = str(folder / 'renamed.json')
    with open(path, 'w') as f:
        json.dump(content, f)
    return dict(b=path)


@pytest.mark.parametrize('change, error, message', [
    (smaller, ValueError, '4 and 3 images: they are compared at equal size'),
    (renamed, FileNotFoundError, 'gone.png'),
    (lambda data, _: dict(reference=data['a']), ValueError,
     'has images of .*a.json')])
def test_mistakes_are_found_before_training(data, tmp_path, change, error,
                                            message):
    changed = {**data, **change(data, tmp_path)}
    with pytest.raises(error, match=message):
        make(changed, tmp_path / 'work').run()
    assert not (tmp_path / 'work').exists()


def test_unknown_classes_and_formats_are_named(data, tmp_path, capsys):
    command = [data['config'], data['reference'], data['a'], data['b'],
               '--work-dir', str(tmp_path / 'work')]
    main = tool('analysis', 'ab.py').main
    for options, message in (
            (['--classes', 'dog'], "no class 'dog'"),
            (['--out', 'table.txt'], '.csv or .md'),
            (['--splits', '0'], "--splits: '0' is no whole number"),
            (['--fraction', '1.5'], '1.5')):
        try:
            status = main([*command, *options])
        except SystemExit as e:  # what the arguments alone tell
            status = e.code
        assert status in (1, 2)
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()
