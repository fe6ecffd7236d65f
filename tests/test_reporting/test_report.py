import base64
import os
import re

import cv2
import numpy as np
import pytest

from mmal.fileio import write_json
from mmal.pool import Pool, UnreadableImage
from mmal.reporting import Curve, Record, write_report
from mmal.reporting.report import summarise
from mmal.reporting.thumbnails import thumbnail
from mmal.reporting.work_folder import read_work_folder

CATEGORIES = [{'id': 7, 'name': 'cat & dog'}, {'id': 9, 'name': 'hen'}]


def info(i):
    return {'id': i, 'file_name': f'{i}.png', 'width': 60, 'height': 40}


def box(i, category=7, **more):
    return {
        'id': i,
        'image_id': i,
        'category_id': category,
        'bbox': [10, 10, 20, 20],
        **more
    }


@pytest.fixture
def run(tmp_path):
    """Two rounds: 1 and 2 labelled first, then 3 and 4 chosen, then 5."""
    images = tmp_path / 'images'
    images.mkdir()
    for i in (3, 4, 5):
        cv2.imwrite(str(images / f'{i}.png'), np.full((40, 60, 3), 200, 'u1'))
    work = tmp_path / 'work_dirs' / 'fcos_<isal>'
    for r, labelled in enumerate([(1, 2), (1, 2, 3, 4)]):
        write_json(
            f'{work}/round_0{r}/labelled.json', {
                'images': [info(i) for i in labelled],
                'annotations': [box(i) for i in labelled if i != 4] +
                [box(14, image_id=3, iscrowd=1)],
                'categories': CATEGORIES
            })
    write_json(f'{work}/round_00/selected.json', {
        'ids': [4, 3],
        'scores': [2.5, None],
        'boxes': 1,
        'note': ''
    })
    write_json(
        f'{work}/round_01/selected.json', {
            'ids': [5],
            'scores': [-1.25],
            'boxes': None,
            'file_names': ['5.png'],
            'note': 'the pool is exhausted: took the 1 image left'
        })
    pool = Pool(range(1, 7))
    pool.set_unreadable(
        [UnreadableImage(6, '6<b>.png', 'images/6<b>.png', 'truncated')])
    pool.save(f'{work}/state.json', config_hash='', seed=3)
    (work / 'config.py').write_text(
        "model = dict(type='FCOS', backbone=dict(type='ResNet'))\n"
        "train_cfg = dict(max_epochs=12)\n"
        "active_learning = dict(budget=dict(size=2, unit='images'), "
        "scorer=dict(type='mmal.RandomScorer'), target=None)\n")
    Curve([
        Record(0, 2, 2, {'coco/bbox_mAP': 0.1}, 5, 1),
        Record(1, 4, 3, {'coco/bbox_mAP': 0.2}, 5)
    ],
          stopped='exhausted',
          img_prefix=str(images)).save(str(work))
    return str(work)


def page(work, **kwargs):
    path = write_report(work, **kwargs)
    assert path == os.path.join(work, 'report.html')
    with open(path, encoding='utf-8') as f:
        return f.read()


def test_page_says_what_the_run_did(run):
    text = page(run)
    assert '2 rounds, 2 → 4 images, 2 → 3 boxes; AP 0.100 → 0.200; ' \
        'every image of the pool is labelled.' in text
    assert 'Round 1: the pool is exhausted: took the 1 image left' in text
    assert 'At the end of round 0: 2 images, 1 box<' in text
    assert 'cat &amp; dog 1' in text and 'score 2.5, 0 boxes' in text
    assert 'score –, 1 box<' in text and 'score -1.25, – boxes' in text
    assert 'truncated' in text and 'mmal.RandomScorer' in text
    assert '6 images' in text and 'size=2, unit=images' in text


def test_page_is_one_file_without_scripts_and_escapes_names(run):
    text = page(run)
    assert '6&lt;b&gt;.png' in text and '<b>' not in text
    assert 'fcos_&lt;isal&gt;' in text
    assert '<script' not in text and '<link' not in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert len(sources) == 4  # the curve and three images
    assert all(s.startswith('data:image/') for s in sources)
    assert 'http' not in re.sub(r'src="[^"]*"', '', text)


def test_page_is_a_function_of_the_files(run):
    first = page(run)
    os.utime(os.path.join(run, 'curve.json'), (0, 0))
    assert page(run) == first


def test_a_note_that_the_curve_has_is_not_repeated(run):
    curve = Curve.load(run)
    curve.note = 'round 1: the pool is exhausted: took the 1 image left'
    curve.save(run)
    assert page(run).count('took the 1 image left') == 1


def test_curve_picture_lies_beside_the_page(run):
    text = page(run)
    with open(os.path.join(run, 'curve.png'), 'rb') as f:
        assert base64.b64encode(f.read()).decode() in text


def test_image_prefix_argument_wins_and_may_be_wrong(run):
    text = page(run, img_prefix='/nowhere')
    assert 'image/jpeg' not in text and '4.png' in text


def test_number_of_pictures_is_limited(run):
    assert page(run, thumbnails=1).count('image/jpeg') == 2


@pytest.mark.parametrize('name', [
    'curve.json', 'state.json', 'config.py', 'round_00/selected.json',
    'round_01/labelled.json'
])
def test_missing_and_broken_files_do_not_stop_it(run, name):
    path = os.path.join(run, name)
    with open(path, 'w') as f:
        f.write('{"cut off')
    assert f'Could not be read: {name}' in page(run)
    os.unlink(path)
    assert 'Could not be read' not in page(run)


@pytest.mark.parametrize('name', [
    'curve.json', 'state.json', 'round_00/selected.json',
    'round_01/labelled.json'
])
@pytest.mark.parametrize('content', ['', '[1, 2]', '{"rounds": 3, "ids": 3, '
                                     '"images": 3, "annotations": [3]}'])
def test_files_of_another_form_do_not_stop_it(run, name, content):
    with open(os.path.join(run, name), 'w') as f:
        f.write(content)
    assert f'Could not be read: {name}' in page(run)


def test_empty_folder_and_no_folder(tmp_path):
    assert 'No round is finished yet.' in page(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no work folder'):
        write_report(str(tmp_path / 'none'))


def test_rounds_are_in_order_of_number_and_ids_may_be_text(tmp_path):
    for r in (9, 10, 100):
        write_json(f'{tmp_path}/round_{r:02d}/selected.json', {
            'ids': [f'img-{r}'],
            'scores': [0.0]
        })
    chosen = read_work_folder(str(tmp_path)).chosen
    assert [c.round for c in chosen] == [9, 10, 100]
    assert chosen[1].images[0].id == 'img-10'
    assert chosen[1].images[0].file_name is None


def test_summary_of_a_run_that_goes_on():
    assert summarise(Curve([Record(0, 1, 1)])) == (
        '1 round, 1 image, 1 box; not finished yet.')


def test_thumbnail_draws_the_box_where_it_is(tmp_path):
    path = str(tmp_path / 'ä.png')
    cv2.imencode('.png', np.full((300, 600, 3), 255, 'u1'))[1].tofile(path)
    plain, boxed = (decode(thumbnail(path, labels, quality=95))
                    for labels in ([], [('hen', [200, 100, 300, 150])]))
    assert plain.shape == boxed.shape == (150, 300, 3)
    changed = np.abs(plain.astype(int) - boxed).max(-1) > 60
    ys, xs = np.nonzero(changed)
    # scale 0.5: the box is 100..250 x 50..125, its label above its corner
    assert abs(xs.min() - 100) <= 2 and abs(xs.max() - 250) <= 2
    assert abs(ys.max() - 125) <= 2 and 30 <= ys.min() <= 52
    assert not changed[60:120, 110:240].any()


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_thumbnail_of_a_broken_image(tmp_path, content):
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    assert thumbnail(str(path), []) is None
    assert thumbnail(str(tmp_path / 'none.jpg'), []) is None


def decode(address):
    content = base64.b64decode(address.split(',')[1])
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_reselected_images_are_told_from_new_ones(run):
    before = page(run)
    assert 'reselected' not in before
    write_json(f'{run}/round_00/selected.json', {
        'ids': [4, 1, 3, 2], 'scores': [3., 2., 1., 0.], 'boxes': 1,
        'reselected': [1, 2]})
    record = Record(1, 4, 4, reselected=2)
    Curve([Record(0, 2, 2, reselected=0), record]).save(str(run))
    after = page(run)
    assert 'round 0: 2 images, 1 box, and 2 images reselected' in after
    assert '<td class="text">1.png (reselected)</td>' in after
    assert '<td class="text">3.png</td>' in after
    assert '<th>reselected</th>' in after
    assert 'cat &amp; dog 1<' in after  # boxes of new images alone
    assert '2 → 4 boxes, 2 reselected;' in after


def test_summary_with_and_without_reselected_images():
    none, some = (Curve([Record(0, 2, 2, reselected=n)]) for n in (0, 1))
    assert 'reselected' not in summarise(none)
    assert ', 1 reselected;' in summarise(some)


def test_a_state_of_another_version_is_named(run):
    write_json(f'{run}/state.json', dict(version=1, bad_images=[], rounds=[]))
    text = page(run)
    assert 'state.json was written by another version of mmal' in text
    assert 'Unreadable images' not in text and '6 images' not in text


def test_unreadable_images_have_their_heading(run):
    assert '<h2>Unreadable images</h2>' in page(run)


@pytest.fixture
def run_with_outside_images(run):
    """Queries chose an image beside the image folder, by two names, and one
    in a folder whose name only begins alike."""
    images = os.path.join(os.path.dirname(os.path.dirname(run)), 'images')
    secret = os.path.join(os.path.dirname(images), 'secret.png')
    alike = os.path.join(images + '_2', 'a.png')
    os.mkdir(os.path.dirname(alike))
    for path in (secret, alike):
        cv2.imwrite(path, np.full((40, 60, 3), 90, 'u1'))
    path = f'{run}/round_01/labelled.json'
    names = {1: '../secret.png', 2: secret, 3: '../images_2/a.png',
             4: os.path.join(images, '4.png')}
    write_json(path, {
        'images': [dict(info(i), file_name=name)
                   for i, name in names.items()],
        'annotations': [], 'categories': CATEGORIES})
    write_json(f'{run}/round_00/selected.json', {
        'ids': [1, 2, 3, 4], 'scores': [4, 3, 2, 1.], 'boxes': 0})
    return run


def test_images_outside_of_the_folder_are_shown_by_name(
        run_with_outside_images):
    text = page(run_with_outside_images)
    assert text.count('image/jpeg') == 2  # 4.png and that of round 1
    assert '../secret.png' in text
    assert '3 images not shown' in text
    everything = page(run_with_outside_images, outside_images=True)
    assert everything.count('image/jpeg') == 5
    assert 'not shown' not in everything


def test_a_linked_image_is_inside(run, tmp_path):
    path = tmp_path / 'images' / '4.png'
    path.rename(tmp_path / 'stored.png')
    path.symlink_to(tmp_path / 'stored.png')
    assert page(run).count('image/jpeg') == 3


@pytest.mark.parametrize('box', [
    [-1e12, -1e12, 3e12, 3e12], [0, 0, 2.**31, 2.**40], [1e308, 0, 1e308, 5],
    [float('nan'), 0, 5, 5], [float('-inf'), 0, float('inf'), 5],
    [1, 2, 3], ['a', 'b', 'c', 'd'], None])
def test_a_box_of_any_numbers_leaves_the_picture(tmp_path, box):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.full((60, 90, 3), 255, 'u1'))
    picture = decode(thumbnail(path, [('hen', box), ('cat', [9, 9, 20, 20])]))
    expected = decode(thumbnail(path, [('cat', [9, 9, 20, 20])]))
    # the lines of the other box are where they would be without this one
    drawn = np.abs(expected.astype(int) - 255).max(-1) > 60
    assert drawn.any()
    assert (np.abs(picture.astype(int) - 255).max(-1) > 60)[drawn].all()
