"""The tool that makes a pool of near duplicates."""
import importlib.util
import os.path as osp
from collections import Counter

import cv2
import numpy as np
import pytest
from helpers.forks import ROOT
from hypothesis import given
from hypothesis import strategies as st

from mmal.fileio import read_json, write_json

SPEC = importlib.util.spec_from_file_location(
    'make_frames', osp.join(ROOT, 'tools', 'dataset', 'make_frames.py'))
TOOL = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TOOL)


@pytest.fixture
def photos(tmp_path):
    """Five grey pictures, each with a white square in a box of its own, and
    a box at the left border that windows may lose."""
    folder = tmp_path / 'photos' / 'a'
    folder.mkdir(parents=True)
    images, annotations = [], []
    for i in range(5):
        picture = np.full((100, 120, 3), 40 + 10 * i, np.uint8)
        picture[40:60, 30:70] = 250
        cv2.imwrite(str(folder / f'{i}.png'), picture)
        images.append(dict(id=f'no {i}', file_name=f'a/{i}.png', width=120,
                           height=100))
        for box in ([30, 40, 40, 20], [0, 10, 8, 8]):
            annotations.append(dict(
                id=len(annotations), image_id=f'no {i}', category_id=7,
                bbox=box, area=box[2] * box[3], iscrowd=0, remark='kept'))
    path = tmp_path / 'all.json'
    write_json(str(path), dict(images=images, annotations=annotations,
                               categories=[dict(id=7, name='square')]))
    return path


def run(photos, out, *args):
    return TOOL.main([str(photos), str(photos.parent / 'photos'),
                      str(out) + '.json', str(out), '--frames', *args])


def test_boxes_go_with_their_objects(photos, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(photos, out, '9=1', '3=2', '1=1') == 0
    assert '16 frames of 4 images' in capsys.readouterr().out
    made = read_json(f'{out}.json')
    films = Counter(image['film_of'] for image in made['images'])
    assert sorted(films.values()) == [1, 3, 3, 9]
    names = [image['file_name'] for image in made['images']]
    assert Counter(name.split('_')[0] for name in names) == {
        'film0000': 9, 'film0001': 3, 'film0002': 3, 'film0003': 1}
    places, lights = set(), []
    for image in made['images']:
        frame = cv2.imread(str(out / image['file_name']))
        assert frame.shape == (image['height'], image['width'], 3)
        assert frame.shape == (90, 108, 3)
        assert (frame == frame[..., :1]).all()
        boxes = [a for a in made['annotations']
                 if a['image_id'] == image['id']]
        x, y, w, h = boxes[0]['bbox']
        places.add((x, y))
        # the truth: where the picture is white
        rows, columns = np.nonzero(frame[..., 0] > 180)
        assert [x, y, w, h] == [columns.min(), rows.min(), np.ptp(columns) + 1,
                                np.ptp(rows) + 1] == [x, y, 40, 20]
        # the other one starts 30 to the left of it
        visible = 8 - max(0, 30 - x)
        assert len(boxes) == 1 + (visible >= 4)
        for a in boxes[1:]:
            assert a['bbox'] == [max(0, x - 30), y - 30, visible, 8]
            assert a['area'] == visible * 8 and a['remark'] == 'kept'
        lights.append(np.median(frame) / (
            40 + 10 * int(image['film_of'][2])))
    assert len(places) > 4
    assert 0.88 < min(lights) < 0.97 and 1.03 < max(lights) < 1.12


def test_the_frames_are_those_of_the_seed(photos, tmp_path):
    def make(name, *args):
        assert run(photos, tmp_path / name, '2=3', *args) == 0
        made = read_json(str(tmp_path / f'{name}.json'))
        return made, [(tmp_path / name / image['file_name']).read_bytes()
                      for image in made['images']]

    first = make('a')
    assert make('b') == first
    assert make('c', '--seed', '1') != first


def test_a_window_moves_a_little_from_frame_to_frame(photos, tmp_path):
    assert run(photos, tmp_path / 'out', '30=5') == 0
    made = read_json(str(tmp_path / 'out.json'))
    film_of = {i['id']: i['film_of'] for i in made['images']}
    squares = [a for a in made['annotations'] if a['bbox'][2] == 40]
    steps = np.array([np.subtract(b['bbox'][:2], a['bbox'][:2])
                      for a, b in zip(squares, squares[1:])
                      if film_of[a['image_id']] == film_of[b['image_id']]])
    # 0.15 of a room of 12 x 10 pixels, and what rounding adds
    assert len(steps) == 5 * 29
    assert (np.abs(steps).max(0) == [2, 2]).all()


@pytest.mark.parametrize('args, message', [
    (['2=6'], 'names 6 images'), (['0=1'], 'is no FRAMES=IMAGES'),
    (['much'], 'is no FRAMES=IMAGES')])
def test_what_cannot_be_made_is_refused(photos, tmp_path, args, message,
                                        capsys):
    try:
        status = run(photos, tmp_path / 'out', *args)
    except SystemExit as e:
        status = e.code
    assert status and message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_nothing_is_overwritten(photos, tmp_path, capsys):
    assert run(photos, tmp_path / 'photos', '2=1') == 1
    assert 'photos is not empty' in capsys.readouterr().err
    before = photos.read_bytes()
    assert TOOL.main([str(photos), str(tmp_path / 'photos'), str(photos),
                      str(tmp_path / 'new'), '--frames', '2=1']) == 1
    assert 'is the file to draw from' in capsys.readouterr().err
    assert photos.read_bytes() == before


def test_a_picture_that_is_missing_is_named(photos, tmp_path, capsys):
    (tmp_path / 'photos' / 'a' / '3.png').unlink()
    assert run(photos, tmp_path / 'out', '1=5') == 1
    assert 'a/3.png, image no 3' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


@given(st.floats(0, 1), st.lists(st.floats(-0.3, 0.3), max_size=60))
def test_a_walk_is_reflected_at_both_ends(start, steps):
    """Against one step after the other."""
    path = TOOL.wander(np.array([start]), np.array(steps).reshape(-1, 1))
    at, way, walk = start, 1, [start]
    for step in steps:
        at += way * step
        if at > 1:
            at, way = 2 - at, -way
        elif at < 0:
            at, way = -at, -way
        walk.append(at)
    np.testing.assert_allclose(path[:, 0], walk, atol=1e-9)
