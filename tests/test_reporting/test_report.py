import base64
import json
import os
import re

import cv2
import numpy as np
import pytest
from helpers.work_folders import make_work_folder

from mmal.fileio import read_json, write_json, write_text
from mmal.pool import Pool, UnreadableImage
from mmal.reporting import Curve, Record, report, write_report
from mmal.reporting.report import summarise
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


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """What draws the charts: it takes seconds to bundle, and the tests of the
    page in a browser use it as it is."""
    monkeypatch.setattr(report, 'vega_scripts', lambda: '/* Vega */')


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
    pool.commit([1, 2])
    pool.commit([4, 3])
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


def data_of(text):
    """What the scripts of a page read."""
    (content, ) = re.findall(
        r'<script type="application/json" id="report-data">(.*?)</script>',
        text, re.DOTALL)
    return json.loads(content)


def images_of(work, **kwargs):
    """The images of the gallery, by id."""
    return {image['id']: image
            for image in data_of(page(work, **kwargs))['images']}


def words_of(text):
    """A page without tags, scripts and styles, as one line."""
    text = re.sub(r'(?s)<(script|style).*?</\1>', '', text)
    return ' '.join(re.sub('<[^>]*>', ' ', text).split())


def test_page_says_what_the_run_did(run):
    text = page(run)
    assert '2 rounds, 2 → 4 images, 2 → 3 boxes; AP 0.100 → 0.200; ' \
        'every image of the pool is labelled.' in text
    assert 'Round 1: the pool is exhausted: took the 1 image left' in text
    # after round, candidates, chosen, by score, at random, reselected, boxes
    assert '0 – 2 – 2 – 1 cat &amp; dog 1' in words_of(text)
    assert 'truncated' in text and 'mmal.RandomScorer' in text
    assert '6 images' in text and 'size=2, unit=images' in text


def test_the_gallery_has_every_chosen_image_with_its_labels(run):
    images = images_of(run)
    assert list(images) == [4, 3, 5]
    assert images[4]['score'] == 2.5 and images[4]['truth'] == []
    assert 'score' not in images[3]
    # the crowd region is no box
    assert images[3]['truth'] == [[0, 10, 10, 20, 20]]
    assert images[5]['score'] == -1.25 and 'truth' not in images[5]
    assert [images[i]['pick'] for i in (4, 3, 5)] == [1, 2, 1]
    assert [images[i]['round'] for i in (4, 3, 5)] == [0, 0, 1]
    assert images[4]['size'] == [60, 40]


def test_page_loads_nothing_and_escapes_names(run):
    text = page(run)
    assert '6&lt;b&gt;.png' in text and 'fcos_&lt;isal&gt;' in text
    assert '<b>' not in text and '<link' not in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "default-src 'none'" in text
    assert 'http' not in text.replace('http-equiv', '').replace(
        'http://www.w3.org/2000/svg', '')


HOSTILE = '</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>'


def test_names_that_are_html_stay_texts(run):
    """Names of files and classes, and a note, are somebody else's."""
    for r in (0, 1):
        path = f'{run}/round_0{r}/labelled.json'
        coco = read_json(path)
        coco['categories'][0]['name'] = HOSTILE
        for image in coco['images']:
            image['file_name'] = f'{image["id"]}{HOSTILE}.png'
        write_json(path, coco)
    content = dict(ids=[4, 3], scores=[2.5, None], boxes=1, note=HOSTILE)
    write_json(f'{run}/round_00/selected.json', content)
    text = page(run)
    assert HOSTILE not in text and '<img src=x' not in text
    # the data, what draws the charts, and the page's own
    assert text.count('<script') == text.count('</script') == 3
    data = data_of(text)
    assert data['classes'][0]['name'] == HOSTILE
    assert data['images'][0]['name'] == f'4{HOSTILE}.png'


def test_page_is_a_function_of_the_files(run):
    first = page(run)
    os.utime(os.path.join(run, 'curve.json'), (0, 0))
    assert page(run) == first


def test_a_note_that_the_curve_has_is_not_repeated(run):
    curve = Curve.load(run)
    curve.note = 'round 1: the pool is exhausted: took the 1 image left'
    curve.save(run)
    assert page(run).count('took the 1 image left') == 1


def test_without_the_charts_package_there_is_a_picture(run, monkeypatch):
    monkeypatch.setattr(report, 'vega_scripts', lambda: None)
    text = page(run)
    with open(os.path.join(run, 'curve.png'), 'rb') as f:
        assert base64.b64encode(f.read()).decode() in text
    assert 'pip install vl-convert-python' in text
    assert data_of(text)['charts'] == {} and len(images_of(run)) == 3


def test_image_prefix_argument_wins_and_may_be_wrong(run):
    assert all('small' in image for image in images_of(run).values())
    images = images_of(run, img_prefix='/nowhere')
    assert not any('small' in image for image in images.values())
    assert images[4]['name'] == '4.png'


def test_the_way_to_the_image_is_from_the_page(run):
    image = images_of(run)[4]
    assert image['full'] == '../../images/4.png'
    assert image['small'].startswith('data:image/webp;base64,')


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


def test_reselected_images_are_told_from_new_ones(run):
    assert '<th>reselected</th><th' not in page(run).split('<tbody>')[0]
    write_json(f'{run}/round_00/selected.json', {
        'ids': [4, 1, 3, 2], 'scores': [3., 2., 1., 0.], 'boxes': 1,
        'reselected': [1, 2]})
    record = Record(1, 4, 4, reselected=2)
    Curve([Record(0, 2, 2, reselected=0), record]).save(str(run))
    after = page(run)
    assert [image['how'] for image in images_of(run).values()] == [
        'random', 'reselected', 'random', 'reselected', 'random']
    assert '<th>reselected</th>' in after
    # boxes of new images alone
    assert '0 – 4 – 2 2 1 cat &amp; dog 1' in words_of(after)
    assert '2 → 4 boxes, 2 reselected;' in after


def test_summary_with_and_without_reselected_images():
    none, some = (Curve([Record(0, 2, 2, reselected=n)]) for n in (0, 1))
    assert 'reselected' not in summarise(none)
    assert ', 1 reselected;' in summarise(some)


def test_boxes_of_a_labelled_image_that_became_unreadable_are_counted(run):
    """Round 0 was trained on image 2, round 1 no more."""
    assert read_work_folder(run).boxes_of_rounds == [[2, 0], [3, 0]]
    path = f'{run}/round_01/labelled.json'
    coco = read_json(path)
    for key, name in (('images', 'id'), ('annotations', 'image_id')):
        coco[key] = [entry for entry in coco[key] if entry[name] != 2]
    write_json(path, coco)
    pool = Pool(range(1, 7))
    pool.commit([1, 2])
    pool.commit([4, 3])
    pool.save(f'{run}/state.json', config_hash='', seed=3)
    state = read_json(f'{run}/state.json')
    state['unreadable'] = [dict(id=2, file_name='2.png', path='2.png',
                                reason='truncated', from_round=1)]
    write_json(f'{run}/state.json', state)
    assert read_work_folder(run).boxes_of_rounds == [[2, 0], [2, 0]]


def test_a_class_whose_name_is_a_number_keeps_its_boxes(run):
    for r in (0, 1):
        path = f'{run}/round_0{r}/labelled.json'
        coco = read_json(path)
        coco['categories'][0]['name'] = 7
        write_json(path, coco)
    write_json(f'{run}/round_00/predictions.json', [
        dict(image_id=3, category_id=7, bbox=[1, 2, 3, 4], score=0.5)])
    data = data_of(page(run))
    assert [entry['name'] for entry in data['classes']] == ['7', 'hen']
    image = data['images'][1]
    assert image['truth'] == [[0, 10, 10, 20, 20]]
    assert image['seen'] == [[0, 1, 2, 3, 4, 0.5]]


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
    images = images_of(run_with_outside_images)
    assert [i for i, image in images.items() if 'small' in image] == [4, 5]
    assert not any('full' in images[i] for i in (1, 2, 3))
    text = page(run_with_outside_images)
    assert '../secret.png' in text
    assert '3 images not shown: by name they are outside of the image folder '\
        in text and 'mmal report --outside-images shows them.' in text
    everything = images_of(run_with_outside_images, outside_images=True)
    assert all('small' in image for image in everything.values())
    assert 'not shown' not in page(run_with_outside_images,
                                   outside_images=True)


def test_a_linked_image_is_inside(run, tmp_path):
    path = tmp_path / 'images' / '4.png'
    path.rename(tmp_path / 'stored.png')
    path.symlink_to(tmp_path / 'stored.png')
    assert all('small' in image for image in images_of(run).values())


@pytest.mark.parametrize('box', [
    [-1e12, -1e12, 3e12, 3e12], [0, 0, 2.**31, 2.**40], [1, 2, 3],
    ['a', 'b', 'c', 'd'], None])
def test_a_box_of_any_numbers_is_left_out(run, box):
    path = f'{run}/round_01/labelled.json'
    coco = read_json(path)
    coco['annotations'].append(dict(
        id=99, image_id=4, category_id=7, bbox=box, iscrowd=0))
    write_json(path, coco)
    images = images_of(run)
    assert images[4]['truth'] == [] and len(images[3]['truth']) == 1


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The work folder of a whole run, with all that a query leaves."""
    return make_work_folder(str(tmp_path_factory.mktemp('made')))


def test_predictions_stand_beside_the_labels(made):
    images = images_of(made)
    seen = read_json(f'{made}/round_00/predictions.json')
    for image in (i for i in images.values() if i['round'] == 0):
        own = [p for p in seen if p['image_id'] == image['id']]
        assert len(image['seen']) == len(own)
        assert [box[5] for box in image['seen']] == sorted(
            (p['score'] for p in own), reverse=True)
        assert image['seen'][-1][:6] == [0, 2.2, 3.5, 20, 20, 0.4]
        assert len(image['truth']) >= len(own) - 1
    assert any(box[6:] == [[1.5, 2, 1, 0.5]] for image in images.values()
               for box in image['seen'])


def test_parts_and_reasons_are_of_the_scores(made):
    images = list(images_of(made).values())
    assert [i['why'] for i in images[:2]] == [
        'Highest influence of 18 candidates.',
        '2nd highest influence of 18 candidates.']
    (again, ) = [i for i in images if i['how'] == 'reselected']
    assert again['why'].startswith('Labelled already and chosen once more.')
    for image in images[:6]:
        parts = dict(image['parts'])
        assert parts['pseudo labels'] in range(9)
        of_classes = [v for name, v in parts.items() if 'class scores' in name]
        assert len(of_classes) == 3 and of_classes == sorted(
            of_classes, reverse=True)


def test_settings_are_those_of_the_user(made):
    text = words_of(page(made))
    assert 'scorer mmal.InfluenceScorer' in text and '_scope_' not in text


@pytest.mark.parametrize('settings, sentence', [
    ("scorer=dict(type='mmal.RandomScorer')",
     'Drawn at random: every candidate had the same chance.'),
    ("scorer=dict(type='mmal.RandomScorer'), "
     "budget=dict(size=2, targets=dict(hen=5))", 'Drawn at random.'),
    ("scorer=dict(type='mmal.RandomScorer'), spacing=dict(min_distance=.5)",
     'Drawn at random.'),
    ("scorer=dict(type='mmal.PerCostScorer', scorer=dict("
     "type='mmal.EntropyScorer'))", '1st pick of the query; entropy per cost '
     '2.5.')])
def test_the_reason_is_that_of_the_config(run, settings, sentence):
    write_text(f'{run}/config.py', f'active_learning = dict({settings})\n')
    assert images_of(run)[4]['why'] == sentence


def test_a_config_is_read_and_never_executed(run, tmp_path):
    write_text(f'{run}/config.py', f'''
import os
os.mkdir({str(tmp_path / 'executed')!r})
model = dict(type='FCOS', backbone=dict(type='ResNet', depth=eval('50')))
train_cfg = {{'max_epochs': -(-12)}}
active_learning = dict(
    scorer=dict(type='mmal.EntropyScorer', classes=[1, (2, 'a')],
                by=os.mkdir), rounds=3)
''')
    text = words_of(page(run))
    assert 'FCOS, ResNet' in text and 'Could not be read' not in text
    assert 'mmal.EntropyScorer, classes=[1, [2, &#39;a&#39;]], by=os.mkdir' \
        in text
    assert not (tmp_path / 'executed').exists()


def test_charts_are_there_for_what_is_known(made):
    charts = data_of(page(made))['charts']
    assert set(charts) == {'curve', 'class_ap', 'class_boxes', 'balance',
                           'scores', 'map', 'time'}
    assert list(charts['curve']) == ['images', 'boxes']
    assert list(charts['scores']) == ['round 1', 'round 0']
    groups = {p['group'] for p in charts['map']['']['data']['values']}
    assert groups == {'not chosen', 'chosen after round 1'}
    # of each round what the queries before it labelled
    boxes = charts['class_boxes']['']['data']['values']
    curve = Curve.load(made)
    assert [sum(b['y'] for b in boxes if b['round'] == r.round)
            for r in curve.records] == [r.boxes for r in curve.records]


def test_broken_predictions_are_named(tmp_path):
    work = make_work_folder(str(tmp_path), real_photos=False)
    write_json(f'{work}/round_00/predictions.json', [
        dict(image_id=100, category_id=1, bbox=[1, 2, 3], score=0.5)])
    text = page(work)
    assert 'Could not be read: round_00/predictions.json: a prediction has ' \
        'the bbox [1, 2, 3]' in text.replace('&#39;', "'")
    os.unlink(f'{work}/round_00/predictions.json')
    assert 'Could not be read' not in page(work)


def test_a_run_that_waits_shows_its_request(tmp_path):
    work = make_work_folder(str(tmp_path), images=30, waiting=True)
    text = page(work)
    assert 'Waits for the labels of 6 images' in text
    assert 'labels/to_label.json' in text and '--resume' in text
    assert 'labelling tool with the predicted boxes,' in text
    waiting = [i for i in images_of(work).values() if i.get('waits')]
    assert len(waiting) == 6
    for image in waiting:
        assert 'truth' not in image and image['seen'] and image['small']
        assert 'highest influence' in image['why'].lower()
    # once the next round has its labels, nothing waits any more
    write_json(f'{work}/round_03/labelled.json', dict(
        images=[], annotations=[], categories=[]))
    assert 'Waits for' not in page(work)


def test_the_request_of_an_earlier_round_is_not_shown(tmp_path):
    work = make_work_folder(str(tmp_path), images=30, waiting=True)
    earlier = read_json(f'{work}/round_00/selected.json')['ids']
    write_json(f'{work}/labels/to_label.json', dict(
        images=[info(i) for i in earlier], annotations=[],
        categories=CATEGORIES))
    assert 'Waits for' not in page(work)
    pending = read_json(f'{work}/state.json')['rounds'][-1]['ids']
    # two of this round, and one that is no longer asked for
    write_json(f'{work}/labels/to_label.json', dict(
        images=[info(i) for i in (*pending[:2], earlier[0])], annotations=[],
        categories=CATEGORIES))
    assert read_work_folder(work).waits_for == pending[:2]


def test_a_run_that_waits_for_its_first_labels(tmp_path):
    work = tmp_path / 'work'
    cv2.imwrite(str(tmp_path / '7.png'), np.full((40, 60, 3), 90, 'u1'))
    pool = Pool([7, 8])
    pool.commit([7])
    pool.save(f'{work}/state.json', config_hash='', seed=3)
    write_json(f'{work}/labels/to_label.json', dict(
        images=[dict(id=7, file_name='7.png', width=60, height=40)],
        annotations=[], categories=CATEGORIES))
    write_text(f'{work}/config.py',
               'train_dataloader = dict(dataset=dict(dataset=dict('
               f'data_root={str(tmp_path)!r}, data_prefix=dict(img=""))))\n')
    text = page(str(work))
    assert 'No round is finished yet.' in text and '1 image to label' in text
    assert 'labelling tool, <code>' in text  # nothing is predicted yet
    (image, ) = images_of(str(work)).values()
    assert image['how'] == 'first' and image['waits'] and image['small']


def test_a_page_of_a_thousand_images_is_under_5_mb(tmp_path, monkeypatch):
    monkeypatch.setattr(report, 'vega_scripts', lambda: ' ' * 900_000)
    work = make_work_folder(
        str(tmp_path), images=1101, first=100, per_round=1000, rounds=2,
        size=(256, 192), noise=0)
    text = page(work)
    assert len(text.encode()) < 5e6
    images = data_of(text)['images']
    assert len(images) == 1000
    assert all(image['small'].startswith('data:') for image in images)
    assert not os.path.exists(f'{work}/report_files')


def test_boxes_that_do_not_fit_are_left_out_and_the_page_says_so(tmp_path):
    """As many predictions as a detector gives, of thousands of images."""
    work = make_work_folder(
        str(tmp_path), images=3100, first=50, per_round=3000, rounds=2,
        real_photos=False, embeddings=False)
    path = f'{work}/round_00/predictions.json'
    ids = read_json(f'{work}/round_00/selected.json')['ids']
    write_json(path, [
        dict(image_id=i, category_id=1, score=(n + 10) / 100,
             bbox=[n + 0.5, 7.5, 20.25, 30.5])
        for i in ids for n in range(80)])
    text = page(work)
    assert len(text.encode()) < 5e6
    data = data_of(text)
    shown = sum(len(image['truth']) + len(image['seen'])
                for image in data['images'])
    cut = sum(image.get('cut', 0) for image in data['images'])
    assert len(data['images']) == 3000 and shown > 0 and cut > 0
    assert (f'The gallery has {shown:,} of {shown + cut:,} boxes'
            in words_of(text))
    for image in data['images'][:50]:
        # labelled boxes stay, and the surest predictions
        assert [box[5] for box in image['seen']] == [
            (89 - n) / 100 for n in range(len(image['seen']))]
        assert len(image['truth']) + len(image['seen']) + image.get(
            'cut', 0) == len(image['truth']) + 80
    # what is counted does not depend on what is shown
    balance = data['charts']['balance']['']['data']['values']
    sums = {group: sum(v['count'] for v in balance if v['group'] == group)
            for group in ('chosen, as predicted', 'chosen, as labelled')}
    predicted = 3000 * sum(n + 10 for n in range(80)) / 100
    assert sums['chosen, as predicted'] == pytest.approx(predicted)
    chosen = dict.fromkeys(ids, 0)
    for annotation in read_json(f'{work}/round_01/labelled.json')[
            'annotations']:
        if annotation['image_id'] in chosen:
            chosen[annotation['image_id']] += 1
    assert sums['chosen, as labelled'] == sum(chosen.values())


def test_parts_of_scores_are_left_out_where_no_box_fits(
        tmp_path, monkeypatch):
    monkeypatch.setattr(report, 'LARGEST_PAGE', 100_000)
    work = make_work_folder(str(tmp_path), images=200, per_round=90, rounds=3,
                            real_photos=False, embeddings=False)
    text = page(work)
    images = data_of(text)['images']
    assert len(images) == 181
    assert not any('parts' in image or image['seen'] for image in images)
    words = words_of(text)
    assert 'The gallery has 0 of ' in words
    assert 'The parts of the scores are left out' in words


def test_images_that_cannot_be_read_are_counted(run, tmp_path):
    assert 'could not be read' not in words_of(page(run))
    (tmp_path / 'images' / '4.png').unlink()
    assert (f'1 image could not be read in {tmp_path}/images: say where they '
            'are with mmal report --img-prefix.') in words_of(page(run))
    assert 'No image could be read in /nowhere: ' in words_of(
        page(run, img_prefix='/nowhere'))


@pytest.mark.parametrize('values, is_drawn', [
    ((.1, .2, .3), True), ((.1, .2), False),
    # no metric in [0, 1]: no power law of it
    ((10., 20., 30.), False)])
def test_the_forecast_is_explained_where_it_is_drawn(
        run, values, is_drawn):
    Curve([Record(r, 10 * r + 10, 30 * r + 30, {'coco/bbox_mAP': v})
           for r, v in enumerate(values)]).save(run)
    text = page(run)
    assert ('The dashed line is' in text) == is_drawn
    layers = data_of(text)['charts']['curve']['boxes']['layer']
    assert (len(layers) > 1) == is_drawn


def test_pictures_that_do_not_fit_lie_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(report, 'LARGEST_PAGE', 250_000)
    # noise, which no format makes small
    work = make_work_folder(
        str(tmp_path), images=60, first=2, per_round=50, rounds=2,
        size=(160, 160), noise=90)
    text = page(work)
    assert len(text.encode()) < 250_000
    files = [image['small'] for image in data_of(text)['images']]
    assert len(set(files)) == 50
    assert {f'report_files/{name}' for name in os.listdir(
        f'{work}/report_files')} == set(files)
    before = os.stat(f'{work}/{files[0]}').st_mtime_ns
    assert data_of(page(work))['images'][0]['small'] == files[0]
    assert os.stat(f'{work}/{files[0]}').st_mtime_ns == before


def balance_of(work, choice):
    """Set -> counts of its classes, from the chart of the class balance."""
    values = data_of(page(work))['charts']['balance'][choice]['data']['values']
    counts = {}
    for value in values:
        counts.setdefault(value['group'], {})[value['name']] = value['count']
    return counts


def test_all_candidates_as_predicted_stand_beside_the_chosen(made):
    """Round 1 counted them, round 0 did not."""
    charts = data_of(page(made))['charts']['balance']
    assert list(charts) == ['round 1', 'all rounds']
    contents = read_work_folder(made)
    counts = balance_of(made, 'round 1')
    assert list(counts) == ['labelled before', '12 candidates, as predicted',
                            'chosen, as predicted', 'chosen, as labelled']
    assert list(counts['12 candidates, as predicted'].values()) == [
        2.5, 5, 7.5]
    query = contents.chosen[1]
    for image in query.images:
        if not image.reselected:
            for prediction in image.predictions:
                counts['chosen, as predicted'][prediction.name] -= \
                    prediction.score
    assert list(counts['chosen, as predicted'].values()) == pytest.approx(
        [0, 0, 0])
    assert counts['chosen, as labelled'] == {
        name: dict(query.classes).get(name, 0) for name in contents.classes}
    assert list(counts['labelled before'].values()) == \
        contents.boxes_of_rounds[1]
    assert 'no query counted them' not in page(made)


def test_all_that_is_labelled_includes_what_is_being_trained_on(tmp_path):
    """The last round has its labels, and no metrics yet."""
    work = make_work_folder(str(tmp_path), real_photos=False)
    curve = Curve.load(work)
    curve.records, curve.stopped = curve.records[:2], None
    curve.save(work)
    counts = balance_of(work, 'all rounds')
    truth = dict.fromkeys(counts['all labelled'], 0)
    coco = read_json(f'{work}/round_02/labelled.json')
    names = {c['id']: c['name'] for c in coco['categories']}
    for annotation in coco['annotations']:
        truth[names[annotation['category_id']]] += 1
    assert counts['all labelled'] == truth
    for name, number in truth.items():
        assert number == counts['first labelled set'][name] + \
            counts['chosen, as labelled'][name]


def test_a_training_of_unknown_time_is_not_counted_as_none(made, run):
    assert 'unknown time' not in page(made) and '2:00:03' not in page(made)
    curve = Curve.load(run)
    curve.records[0].train_seconds = 7200.0
    curve.records[0].query_seconds = 3.0
    curve.records[1].train_seconds = None
    curve.save(run)
    text = words_of(page(run))
    assert '2:00:03 computing without 1 training of unknown time' in text
    assert 'training of round 1 took is not known' in text


def test_while_people_label_the_chosen_are_counted_as_predicted(tmp_path):
    work = make_work_folder(str(tmp_path), rounds=2, waiting=True)
    counts = balance_of(work, 'round 1')
    assert list(counts) == ['labelled before', '12 candidates, as predicted',
                            'chosen, as predicted']
    predictions = read_json(f'{work}/round_01/predictions.json')
    chosen = read_json(f'{work}/round_01/selected.json')
    assert sum(counts['chosen, as predicted'].values()) == pytest.approx(sum(
        p['score'] for p in predictions
        if p['image_id'] not in chosen['reselected']))


@pytest.mark.parametrize('content', [
    '[]', '{"images": 3}', '{"images": 3, "boxes": {"owl": -1}}',
    '{"images": 3, "boxes": {"owl": NaN}}', '{"images": "x", "boxes": {}}'])
def test_candidates_that_nobody_counted_are_said_to_be_missing(
        tmp_path, content):
    work = make_work_folder(str(tmp_path), real_photos=False)
    path = f'{work}/round_01/class_boxes.json'
    write_text(path, content)
    assert 'Could not be read: round_01/class_boxes.json' in page(work)
    os.unlink(path)
    text = page(work)
    assert 'no query counted them' in text and 'Could not be read' not in text
    assert list(data_of(text)['charts']['balance']) == ['']
