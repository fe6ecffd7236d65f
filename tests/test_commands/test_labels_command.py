"""``mmal labels``: what a person types between two calls of ``mmal train``."""
import os

import pytest
from helpers import exports
from helpers.tiny import tiny_active_learning, tiny_coco, tiny_config

from mmal.commands import main
from mmal.fileio import read_json, write_json
from mmal.pool import State
from mmal.pool.layout import WorkDir

CHOSEN = 4


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return tiny_coco(str(tmp_path_factory.mktemp('data')))


@pytest.fixture
def run(data, tmp_path):
    """The folder of a run that waits, as round 0 has left it."""
    pool = read_json(f'{data}/pool.json')
    write_json(f'{data}/unlabelled.json', dict(pool, annotations=[]))
    work = WorkDir(str(tmp_path / 'work'))
    cfg = tiny_config(data)
    cfg.active_learning = tiny_active_learning(
        data=dict(ann_file='unlabelled.json'),
        oracle=dict(type='mmal.ManualOracle'))
    os.makedirs(work.path)
    cfg.dump(work.config)
    images = pool['images'][:CHOSEN]
    write_json(work.labels.request, dict(pool, images=images, annotations=[]))
    write_json(work.round(0).selected, dict(ids=[i['id'] for i in images]))
    # two boxes on each but the last, on which nothing was found
    write_json(work.round(0).predictions, [
        dict(image_id=i['id'], category_id=pool['categories'][n]['id'],
             bbox=[5 + n, 6, 20, 21.5], score=.9 - n / 2)
        for i in images[:-1] for n in (0, 1)])
    return work


def truth(data):
    """The boxes of the images asked for, as the exports of tests take
    them."""
    pool = read_json(f'{data}/pool.json')
    names = {c['id']: c['name'] for c in pool['categories']}
    return {i['file_name']: ((i['width'], i['height']), [
        (names[a['category_id']], tuple(a['bbox']))
        for a in pool['annotations'] if a['image_id'] == i['id']])
        for i in pool['images'][:CHOSEN]}


def test_a_session(run, data, tmp_path, capsys):
    assert main(['labels', 'status', run.path]) == 0
    said = capsys.readouterr().out
    assert 'waits for 4 images' in said and 'missing: 4' in said
    assert 'predicted boxes on them: 6' in said
    assert f'next: mmal labels export {run.path}' in said

    assert main(['labels', 'export', run.path, '--to', 'label-studio']) == 0
    said = capsys.readouterr().out
    assert '4 images to label, with 6 predicted boxes of score 0.3' in said
    assert f'mmal labels import {run.path} EXPORT' in said
    tasks = read_json(run.labels.exported('label_studio.json'))
    assert [len(t['predictions'][0]['result']) for t in tasks] == [2, 2, 2, 0]
    address = tasks[0]['data']['image']
    assert address.startswith('/data/local-files/?d=images/')

    # half of it comes back, once by a dry run
    photos = truth(data)
    half = dict(list(photos.items())[:2])
    path = exports.label_studio(str(tmp_path), half, lambda n: n)
    assert main(['labels', 'import', run.path, path, '--dry-run']) == 3
    assert '2 of 4 images still wait' in capsys.readouterr().err
    assert not os.path.exists(run.labels.labels)
    assert main(['labels', 'import', run.path, path]) == 3
    said = capsys.readouterr()
    assert '2 labelled' in said.out and '2 not in the export' in said.out
    assert '2 of 4 images still wait' in said.err
    assert main(['labels', 'status', run.path]) == 0
    assert 'missing: 2' in capsys.readouterr().out

    path = exports.label_studio(str(tmp_path), photos, lambda n: n)
    assert main(['labels', 'import', run.path, path, '--dry-run']) == 0
    assert '--resume' not in capsys.readouterr().out
    assert main(['labels', 'import', run.path, path]) == 0
    said = capsys.readouterr().out
    assert '4 labelled' in said and '--resume' in said
    assert main(['labels', 'status', run.path]) == 0
    assert 'missing: 0\nnext: mmal train' in capsys.readouterr().out
    labels = read_json(run.labels.labels)
    assert len(labels['annotations']) == sum(
        len(boxes) for _, boxes in photos.values())

    # as the run takes them over
    write_json(run.labels.accepted, labels)
    assert main(['labels', 'status', run.path]) == 0
    said = capsys.readouterr().out
    assert 'has those of 4' in said
    assert 'waits for nobody: go on with mmal train' in said
    State('hash', 0, 4, [], stopped='rounds').save(run.state)
    assert main(['labels', 'status', run.path]) == 0
    assert 'waits for nobody: all is done' in capsys.readouterr().out
    assert main(['labels', 'export', run.path, '--to', 'coco']) == 1
    assert 'waits for nobody' in capsys.readouterr().err


@pytest.mark.parametrize('options, boxes', [
    ((), 6), (('--score-thr', '.5'), 3), (('--classes', 'person'), 3),
    (('--no-predictions', ), 0)])
def test_which_boxes(run, options, boxes, capsys):
    pool = read_json(run.labels.request)
    second = pool['categories'][1]['name']
    options = [second if o == 'person' else o for o in options]
    out = f'{run.path}/a.json'
    assert main(['labels', 'export', run.path, '--to', 'coco', '--out', out,
                 *options]) == 0
    assert len(read_json(out)['annotations']) == boxes


@pytest.mark.parametrize('options, message', [
    (('--to', 'coco', '--classes', 'cart'), "'cart'"),
    (('--to', 'cvat', '--images', 'upload'), 'is of Label Studio'),
    (('--to', 'yolo', '--prefix', 'http://a/'), '--prefix makes no sense'),
    (('--to', 'label-studio', '--root', '/nowhere'), '--images upload'),
])
def test_what_export_refuses(run, options, message, capsys):
    assert main(['labels', 'export', run.path, *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('tool, out, beside', [
    ('coco', 'a.json', 'a.json'), ('label-studio', 'a.json', 'a.xml'),
    ('cvat', 'a.xml', 'a_labels.json'), ('fiftyone', 'a', 'a/labels.json'),
    ('yolo', 'a', 'a/labels/1.txt')])
def test_export_overwrites_nothing_that_is_named(tool, out, beside, run,
                                                 tmp_path, capsys):
    path = exports.write(f'{tmp_path}/{beside}', 'drawn')
    assert main(['labels', 'export', run.path, '--to', tool, '--out',
                 f'{tmp_path}/{out}']) == 1
    assert 'people have drawn' in capsys.readouterr().err
    assert open(path).read() == 'drawn'
    assert not os.path.exists(run.labels.starting_boxes)


def test_each_round_has_a_folder_of_yolo(run, capsys):
    command = ['labels', 'export', run.path, '--to', 'yolo']
    assert main(command) == 0
    assert os.path.isdir(run.labels.exported('yolo_round_00'))
    assert main(command) == 1
    os.makedirs(run.round(1).path)
    assert main(command) == 0
    assert os.path.isdir(run.labels.exported('yolo_round_01/labels'))


def test_photos_inside_the_file(run, data):
    assert main(['labels', 'export', run.path, '--to', 'label-studio',
                 '--images', 'upload', '--out', f'{run.path}/a.json']) == 0
    import base64
    task = read_json(f'{run.path}/a.json')[0]
    kind, _, content = task['data']['image'].partition(';base64,')
    assert kind == 'data:image/png'
    with open(f'{data}/images/{task["data"]["file_name"]}', 'rb') as f:
        assert base64.b64decode(content) == f.read()


def change_config(run, old, new):
    with open(run.config, encoding='utf-8') as f:
        text = f.read()
    assert old in text
    with open(run.config, 'w', encoding='utf-8') as f:
        f.write(text.replace(old, new))


def test_an_oracle_of_ones_own_asks_people(run, capsys):
    change_config(run, 'mmal.ManualOracle', 'mine.AskMyColleagues')
    assert main(['labels', 'status', run.path]) == 0
    assert 'waits for 4 images' in capsys.readouterr().out
    os.unlink(run.labels.request)
    assert main(['labels', 'status', run.path]) == 1
    assert 'asks nobody for labels' in capsys.readouterr().err


def test_images_are_read_as_the_run_reads_them(run, data, capsys):
    """A pool whose images are fetched."""
    pool = read_json(f'{data}/unlabelled.json')
    for image in pool['images']:
        image['file_name'] = f'https://images.example.org/{image["id"]}.png'
    write_json(f'{data}/fetched.json', pool)
    change_config(run, 'unlabelled.json', 'fetched.json')
    assert main(['labels', 'status', run.path]) == 1
    assert 'backend_args' in capsys.readouterr().err
    change_config(run, "type='LoadImageFromFile'",
                  "backend_args=dict(backend='http'), "
                  "type='LoadImageFromFile'")
    assert main(['labels', 'status', run.path]) == 0
    assert 'waits for 4 images' in capsys.readouterr().out


def test_a_decoder_that_a_module_of_the_config_starts(run, tmp_path,
                                                      monkeypatch, capsys):
    from mmcv.image import io
    exports.write(f'{tmp_path}/starts_a_decoder.py',
                  'from mmcv.image import io\nio.jpeg = object()\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(io, 'TurboJPEG', object)
    monkeypatch.setattr(io, 'jpeg', None)
    change_config(run, "type='LoadImageFromFile'",
                  "imdecode_backend='turbojpeg', type='LoadImageFromFile'")
    with open(run.config, 'a', encoding='utf-8') as f:
        f.write("\ncustom_imports = dict(imports=['starts_a_decoder'])\n")
    assert main(['labels', 'status', run.path]) == 0
    assert 'waits for 4 images' in capsys.readouterr().out


def test_serve_says_how_label_studio_must_be_started(capsys):
    with pytest.raises(SystemExit):
        main(['serve', '--help'])
    said = capsys.readouterr().out
    assert 'USE_DEFAULT_BANNED_SUBNETS=false' in said
    assert 'ML_BLOCK_LOCAL_IP' not in said


def test_commands_to_paste_are_quoted(run, tmp_path, capsys):
    folder = tmp_path / 'my run'
    os.rename(run.path, folder)
    assert main(['labels', 'status', str(folder)]) == 0
    assert f"mmal labels export '{folder}'" in capsys.readouterr().out
    assert main(['labels', 'export', str(folder), '--to', 'cvat']) == 0
    assert f"mmal labels import '{folder}' EXPORT" in capsys.readouterr().out


def test_other_folders(run, tmp_path, capsys):
    assert main(['labels', 'status', str(tmp_path / 'nowhere')]) == 1
    assert 'there is no run in' in capsys.readouterr().err
    text = open(run.config).read()
    with open(run.config, 'w') as f:
        f.write(text.replace('mmal.ManualOracle', 'mmal.CocoOracle'))
    assert main(['labels', 'status', run.path]) == 1
    said = capsys.readouterr().err
    assert 'waits for nobody' in said and 'another work folder' in said
    with open(run.config, 'w') as f:
        f.write(text)
    os.unlink(run.labels.request)
    assert main(['labels', 'status', run.path]) == 1
    assert 'to_label.json' in capsys.readouterr().err
