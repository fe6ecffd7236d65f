import copy
import json

import numpy as np
import pytest

from mmal.fileio import read_json
from mmal.pool.coco import (
    check_classes,
    load_coco,
    merge_annotations,
    some,
    write_split,
)


@pytest.fixture
def raw():
    return {
        'info': {'year': 2007},
        'licenses': [{'id': 1}],
        'images': [
            {'id': 9, 'file_name': 'i.jpg', 'width': 64, 'height': 48,
             'license': 1},
            {'id': 'b', 'file_name': 's/b.jpg', 'width': 32, 'height': 48},
            {'id': 4, 'file_name': 'd.jpg', 'width': 64, 'height': 48},
        ],
        'annotations': [
            {'id': 1, 'image_id': 4, 'category_id': 2, 'bbox': [1, 2, 3, 4],
             'area': 11.5, 'iscrowd': 1, 'segmentation': [[1, 2, 3, 4]]},
            {'id': 2, 'image_id': 9, 'category_id': 7, 'bbox': [0, 0, 5, 0.5]},
            {'id': 'c', 'image_id': 4, 'category_id': 7,
             'bbox': [9.5, 0, 2, 2]},
        ],
        'categories': [{'id': 7, 'name': 'dog'}, {'id': 2, 'name': 'cat'}],
    }


@pytest.fixture
def load(tmp_path):
    def inner(raw, **kwargs):
        path = tmp_path / 'pool.json'
        path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
        return load_coco(str(path), **kwargs)
    return inner


def test_content(raw, load):
    coco = load(raw)
    assert coco.ids == [9, 'b', 4]
    assert coco.class_names == ('dog', 'cat')
    assert [a['id'] for a in coco.annotations_of([4, 'b', 9])] == [1, 'c', 2]
    assert coco.header == {'info': {'year': 2007}, 'licenses': [{'id': 1}]}
    assert coco.path.endswith('pool.json')
    hidden = coco.without_annotations()
    assert hidden.ids == coco.ids and hidden.annotations_of(coco.ids) == []
    assert coco.annotations_of([4])  # the original still has them


def test_a_split_keeps_everything(raw, load, tmp_path):
    coco = load(raw)
    path = str(tmp_path / 'r' / 'split.json')
    write_split(path, coco, [4, 9], coco.annotations_of([4, 9]))
    out = read_json(path)
    assert out['info'] == raw['info'] and out['licenses'] == raw['licenses']
    assert out['categories'] == raw['categories']
    assert out['images'] == [raw['images'][0], raw['images'][2]]
    assert out['annotations'][0] == raw['annotations'][0]
    assert out['annotations'][2] == {
        **raw['annotations'][1], 'area': 2.5, 'iscrowd': 0}
    again = load_coco(path)
    assert again.ids == [9, 4]


def test_pycocotools_reads_a_split(raw, load, tmp_path):
    tools = pytest.importorskip('pycocotools.coco')
    for image in raw['images']:
        image['id'] = {'b': 5}.get(image['id'], image['id'])
    coco = load(raw)
    path = str(tmp_path / 'split.json')
    write_split(path, coco, [5, 4], coco.annotations_of([4]))
    index = tools.COCO(path)
    assert index.getImgIds() == [5, 4]
    assert len(index.getAnnIds(imgIds=[4])) == 2
    assert index.getAnnIds(imgIds=[5]) == []


def test_subset_refuses_what_would_not_fit(raw, load):
    coco = load(raw)
    with pytest.raises(ValueError, match=r"no images with the ids 77"):
        coco.subset([9, 77])
    with pytest.raises(ValueError, match=r"annotations 2 belong to images"):
        coco.subset([4], coco.annotations_of([9]))
    with pytest.raises(ValueError, match=r"duplicate annotation ids: 2"):
        coco.subset([9], coco.annotations_of([9, 9]))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json') as e:
        load_coco(str(tmp_path / 'nowhere.json'))
    assert 'download' in str(e.value)
    with pytest.raises(IsADirectoryError, match='name the COCO json'):
        load_coco(str(tmp_path))


@pytest.mark.parametrize('text', ['', '{"images": [{"id": 1, "fi', '\xff'])
def test_cut_off_file(load, text):
    with pytest.raises(ValueError, match=r'pool\.json is not valid JSON'):
        load(text)


def _set(key, n, field, value):
    def change(raw):
        raw[key][n][field] = value
    return change


def _del(key, n, field):
    def change(raw):
        del raw[key][n][field]
    return change


def _put(key, value):
    def change(raw):
        raw[key] = value
    return change


BAD = {
    'no images': (_put('images', []), 'lists no images'),
    'no categories': (_put('categories', []), 'lists no categories'),
    'images is an object': (_put('images', {}), 'dict under "images"'),
    'an image is a string': (_put('images', ['a.jpg']),
                             'no objects, at the positions 0'),
    'duplicate image ids': (_set('images', 1, 'id', 9),
                            'duplicate image ids: 9'),
    'duplicate category ids': (_set('categories', 1, 'id', 7),
                               'duplicate category ids: 7'),
    'unknown image': (_set('annotations', 1, 'image_id', 99),
                      'unknown image: annotation ids 2 have the "image_id" '
                      '99'),
    'unknown category': (_set('annotations', 1, 'category_id', 99),
                         'unknown category: annotation ids 2'),
    'no file_name': (_del('images', 1, 'file_name'),
                     "images with the ids 'b' without \"file_name\""),
    'empty file_name': (_set('images', 1, 'file_name', ''),
                        'empty "file_name" in the images \'b\''),
    'no width': (_del('images', 2, 'width'), 'ids 4 without "width"'),
    'no height': (_del('images', 2, 'height'), 'ids 4 without "height"'),
    'zero height': (_set('images', 2, 'height', 0),
                    '"height" is not above 0: the ids 4'),
    'width is null': (_set('images', 2, 'width', None), '"width".*None'),
    'width is NaN': (_set('images', 2, 'width', float('nan')), '"width"'),
    'no image id': (_del('images', 1, 'id'),
                    'images at the positions 1 without "id"'),
    'image id is a float': (_set('images', 0, 'id', 9.5), '"id".*9.5'),
    'image id is a bool': (_set('images', 0, 'id', True), '"id".*True'),
    'bbox of three': (_set('annotations', 2, 'bbox', [1, 2, 3]),
                      r"malformed boxes in the annotations 'c': \[1, 2, 3\]"),
    'bbox with null': (_set('annotations', 2, 'bbox', [1, 2, None, 4]),
                       'malformed boxes'),
    'bbox infinite': (_set('annotations', 2, 'bbox', [1, 2, 3, np.inf]),
                      'malformed boxes'),
    'bbox beyond all floats': (
        _set('annotations', 2, 'bbox', [1, 2, 10**400, 3]),
        "malformed boxes in the annotations 'c'"),
    'bbox NaN': (_set('annotations', 2, 'bbox', [np.nan, 2, 3, 3]),
                 'malformed boxes'),
    'bbox negative': (_set('annotations', 0, 'bbox', [1, 2, -3, 3]),
                      'malformed boxes'),
    'bbox is text': (_set('annotations', 0, 'bbox', '1 2 3 4'), '"bbox"'),
    'no category name': (_del('categories', 0, 'name'),
                         'categories with the ids 7 without "name"'),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_content(raw, load, case):
    change, message = BAD[case]
    change(raw)
    with pytest.raises(ValueError, match=message) as e:
        load(raw)
    assert 'pool.json' in str(e.value)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_missing_key(raw, load, key):
    del raw[key]
    with pytest.raises(ValueError, match=f'no key "{key}"'):
        load(raw)


def test_annotations_may_be_absent_in_an_unlabelled_pool(raw, load):
    del raw['annotations']
    coco = load(raw, need_annotations=False)
    assert coco.annotations_of(coco.ids) == []


def test_top_level_list(load):
    with pytest.raises(ValueError, match='holds a list at its top'):
        load([])


def test_many_offenders_are_counted_not_listed(raw, load):
    raw['annotations'] = [
        dict(copy.deepcopy(raw['annotations'][1]), id=n, image_id=100 + n)
        for n in range(40)]
    with pytest.raises(ValueError, match=r'0, 1, 2, 3, 4, … \(40 in all\)'):
        load(raw)


def test_zero_width_is_allowed_as_coco_has_it(raw, load):
    raw['annotations'][0]['bbox'] = [3, 3, 0, 4]
    assert load(raw).annotations_of([4])[0]['bbox'] == [3, 3, 0, 4]


def test_merging_keeps_ids_where_it_can():
    first = [{'id': 3}, {'id': 8}]
    second = [{'id': 8}, {'id': 5}, {'id': 'x'}, {'id': 3}]
    got = merge_annotations(first, second)
    assert [a['id'] for a in got] == [3, 8, 9, 5, 'x', 10]
    assert second[0]['id'] == 8  # the input is as before
    assert merge_annotations() == []


def test_some():
    assert some([]) == ''
    assert some(['a', 2]) == "'a', 2"
    assert some(range(7), 2) == '0, 1, … (7 in all)'


class TestCheckClasses:
    where = 'metainfo.classes'

    def test_fits(self, raw, load):
        check_classes(load(raw), ('dog', 'cat'), self.where)

    def test_missing_in_the_file(self, raw, load):
        with pytest.raises(ValueError, match='lacks: \'cow\'') as e:
            check_classes(load(raw), ('dog', 'cat', 'cow'), self.where)
        assert 'metainfo.classes' in str(e.value)
        assert 'pool.json' in str(e.value)

    @pytest.mark.parametrize('name', ['Cat', 'cat ', ' c at'])
    def test_another_spelling(self, raw, load, name):
        with pytest.raises(ValueError) as e:
            check_classes(load(raw), ('dog', name), 'classes')
        assert f"Perhaps it is a spelling: {name!r} for 'cat'?" in str(e.value)

    def test_no_spelling_of_it(self, raw, load):
        with pytest.raises(ValueError) as e:
            check_classes(load(raw), ('dog', 'aeroplane'), 'classes')
        assert 'Perhaps' not in str(e.value)

    def test_used_category_the_model_lacks(self, raw, load):
        with pytest.raises(ValueError, match=r"does not know: 'cat'.*Set"):
            check_classes(load(raw), ('dog', ), self.where)

    def test_unused_category_does_no_harm(self, raw, load):
        raw['annotations'] = raw['annotations'][1:]
        check_classes(load(raw), ('dog', ), self.where)

    def test_order(self, raw, load):
        with pytest.raises(ValueError, match=r"order.*\('dog', 'cat'\)"):
            check_classes(load(raw), ['cat', 'dog'], self.where)

    def test_a_lone_string(self, raw, load):
        with pytest.raises(ValueError, match='tuple'):
            check_classes(load(raw), 'dog', self.where)


def test_other_file_backends(raw, tmp_path):
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(raw))
    coco = load_coco(str(path), backend_args={'backend': 'local'})
    assert coco.ids == [9, 'b', 4]
    path.write_text('{')
    with pytest.raises(ValueError, match='not valid JSON'):
        load_coco(str(path), backend_args={'backend': 'local'})
