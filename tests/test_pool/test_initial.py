import pytest

from mmal.fileio import write_json
from mmal.pool.coco import parse_coco
from mmal.pool.initial import initial_ids
from mmal.pool.oracle import CocoOracle
from mmal.pool.pool import draw_initial


def _image(id):
    return {'id': id, 'file_name': f'{id}.jpg', 'width': 9, 'height': 9}


def _box(id, image, category=1):
    return {'id': id, 'image_id': image, 'category_id': category,
            'bbox': [0, 0, 2, 2]}


@pytest.fixture
def coco():
    return parse_coco(
        {'images': [_image(i) for i in range(10)],
         'annotations': [_box(i, i) for i in range(10)],
         'categories': [{'id': 1, 'name': 'cat'}]}, 'pool.json')


@pytest.fixture
def own(tmp_path):
    def write(images, annotations, name='cat'):
        write_json(str(tmp_path / 'own.json'), {
            'images': images, 'annotations': annotations,
            'categories': [{'id': 6, 'name': name}]})
        return {'ann_file': 'own.json'}, str(tmp_path)
    return write


def test_drawn(coco):
    initial = initial_ids({'size': 4}, coco, 3)
    assert initial.ids == draw_initial(range(10), 4, 3)
    assert initial.annotations is None
    oracle = CocoOracle(pool=coco)
    assert initial.before(oracle) is oracle


def test_set_aside_images_are_not_drawn(coco):
    all_ids = initial_ids({'size': 10}, coco, 3).ids
    got = initial_ids({'size': 4}, coco, 3, unreadable=all_ids[:2]).ids
    assert got == all_ids[2:6]
    with pytest.raises(ValueError, match='only 8'):
        initial_ids({'size': 9}, coco, 3, unreadable=all_ids[:2])


def test_of_ones_own(coco, own):
    cfg, root = own([_image(7), _image(2)], [_box(1, 7, 6), _box(2, 7, 6)])
    initial = initial_ids(cfg, coco, 0, root)
    assert initial.ids == [7, 2]
    assert [(a['image_id'], a['category_id'])
            for a in initial.annotations] == [(7, 1), (7, 1)]
    got = initial.before(CocoOracle(pool=coco)).annotate([7, 3])
    assert [a['image_id'] for a in got] == [7, 7, 3]
    assert initial_ids(cfg, coco, 0, root, unreadable=[7]).annotations == []
    with pytest.raises(ValueError, match='every image .* unreadable'):
        initial_ids(cfg, coco, 0, root, unreadable=[7, 2])


def test_images_outside_the_pool(coco, own):
    cfg, root = own([_image(7), _image(20)], [])
    with pytest.raises(ValueError, match=r'pool\.json lacks .*own\.json.*20'):
        initial_ids(cfg, coco, 0, root)
    cfg, root = own([dict(_image(7), file_name='other.jpg')], [])
    with pytest.raises(ValueError, match="different images.*'other.jpg'"):
        initial_ids(cfg, coco, 0, root)


def test_other_categories(coco, own):
    cfg, root = own([_image(7)], [_box(1, 7, 6)], name='cow')
    with pytest.raises(ValueError, match="does not have: 'cow'"):
        initial_ids(cfg, coco, 0, root)


def test_missing_file(coco, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.json'):
        initial_ids({'ann_file': 'none.json'}, coco, 0, str(tmp_path))


@pytest.mark.parametrize('cfg', [{}, {'size': 3, 'ann_file': 'a'},
                                 {'number': 3}])
def test_wrong_keys(coco, cfg):
    with pytest.raises(ValueError, match='either size .* or ann_file'):
        initial_ids(cfg, coco, 0)
