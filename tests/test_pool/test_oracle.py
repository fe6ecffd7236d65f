import json
import os
import os.path as osp

import pytest

from mmal.fileio import read_json, write_json
from mmal.pool.coco import load_coco, parse_coco
from mmal.pool.oracle import (
    CocoOracle,
    InitialOracle,
    LabelsPending,
    ManualOracle,
    count_boxes,
)
from mmal.registry import TASK_UTILS


def _image(id, name=None, width=64):
    return {'id': id, 'file_name': name or f'{id}.jpg', 'width': width,
            'height': 48}


def _box(id, image_id, category_id=1, **kwargs):
    return {'id': id, 'image_id': image_id, 'category_id': category_id,
            'bbox': [1, 2, 3, 4], **kwargs}


CATEGORIES = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]


def _raw(images, annotations=(), categories=CATEGORIES, **header):
    return dict(header, images=list(images), annotations=list(annotations),
                categories=list(categories))


@pytest.fixture
def full():
    return parse_coco(_raw(
        map(_image, [5, 'b', 3]),
        [_box(1, 3), _box(2, 5, 2), _box(3, 3, iscrowd=1), _box(4, 3),
         _box(5, 5, ignore=True)]), 'full.json')


def test_counting(full):
    boxes = full.annotations_of(full.ids)
    counts = count_boxes(boxes, ['b', 3, 5])
    assert counts.tolist() == [0, 2, 1]
    assert counts.dtype == 'int64'
    assert count_boxes(boxes, [5]).tolist() == [1]
    assert count_boxes([], []).tolist() == []


class TestCocoOracle:

    def test_of_the_pool_itself(self, full):
        oracle = TASK_UTILS.build(
            dict(type='mmal.CocoOracle', pool=full, work_dir='/w'))
        assert oracle.knows_counts and oracle.name == 'CocoOracle'
        assert [a['id'] for a in oracle.annotate([3, 'b', 5])] == [
            1, 3, 4, 2, 5]
        assert oracle.count_boxes([5, 3, 'b']).tolist() == [1, 2, 0]
        assert oracle.annotate([]) == []

    def test_of_another_file(self, full, tmp_path):
        """Categories go by name, images by id and name; it may have more."""
        path = str(tmp_path / 'labels.json')
        write_json(path, _raw(
            map(_image, [3, 5, 'b', 99]), [_box(7, 3, 8), _box(8, 99, 9)],
            [{'id': 8, 'name': 'dog'}, {'id': 9, 'name': 'cow'}]))
        pool = full.without_annotations()
        got = CocoOracle(path, pool).annotate([3, 5])
        assert [(a['id'], a['category_id']) for a in got] == [(7, 2)]
        with pytest.raises(ValueError, match=r'full\.json has no .* 99'):
            CocoOracle(path, pool).annotate([99])

    def test_unknown_image(self, full):
        with pytest.raises(ValueError, match=r"full\.json has no .* 'z'"):
            CocoOracle(pool=full).annotate([5, 'z'])
        with pytest.raises(ValueError, match="'z'"):
            CocoOracle(pool=full).count_boxes(['z'])

    def test_without_annotations(self, full):
        with pytest.raises(ValueError, match='no annotations.*ManualOracle'):
            CocoOracle(pool=full.without_annotations())

    def test_without_a_file(self):
        with pytest.raises(ValueError, match='needs ann_file'):
            CocoOracle()

    def test_file_of_other_images(self, full, tmp_path):
        path = str(tmp_path / 'labels.json')
        write_json(path, _raw([_image(5), _image('b')], [_box(1, 5)]))
        with pytest.raises(ValueError, match=r'labels\.json lacks.*ids 3'):
            CocoOracle(path, full)
        write_json(path, _raw([_image(5), _image('b'), _image(3, 'z.jpg')],
                              [_box(1, 5)]))
        with pytest.raises(ValueError, match="different images.*'z.jpg'"):
            CocoOracle(path, full)


class TestManualOracle:

    @pytest.fixture
    def pool(self):
        return parse_coco(
            _raw([_image(5, 's/a.jpg'), _image('b'), _image(3), _image(4)]),
            'pool.json')

    @pytest.fixture
    def oracle(self, pool, tmp_path):
        return TASK_UTILS.build(dict(
            type='mmal.ManualOracle', pool=pool, work_dir=str(tmp_path)))

    def _label(self, oracle, images, annotations, **kwargs):
        write_json(oracle.files.labels, dict(
            _raw(images, annotations, **kwargs), confirm_empty=True))

    def test_asks_with_files(self, oracle, tmp_path):
        assert not oracle.knows_counts
        with pytest.raises(LabelsPending, match='--resume') as e:
            oracle.annotate([4, 5])
        assert e.value.ids == [4, 5]
        assert oracle.files.labels in str(e.value)
        request = load_coco(str(tmp_path / 'labels' / 'to_label.json'))
        assert request.ids == [5, 4] and not request.annotations
        assert request.class_names == ('cat', 'dog')
        names = (tmp_path / 'labels' / 'to_label.txt').read_text()
        assert names == '4.jpg\ns/a.jpg\n'

    def test_takes_labels_whatever_their_numbers(self, oracle):
        self._label(
            oracle, [_image(1, '4.jpg'), _image(2, 's/a.jpg')],
            [_box(9, 2, 1), _box(7, 2, 2)],
            categories=[{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}])
        got = oracle.annotate([4, 5])
        assert [(a['image_id'], a['category_id']) for a in got] == [
            (5, 2), (5, 1)]
        assert oracle.count_boxes([5, 4]).tolist() == [2, 0]

    def test_next_round_replaces_the_file(self, oracle, pool, tmp_path):
        self._label(oracle, [_image(4)], [_box(1, 4)])
        oracle.annotate([4])
        self._label(oracle, [_image(3), _image('b')], [_box(1, 3)])
        # as a resumed run, which has only the files
        oracle = ManualOracle(pool, work_dir=str(tmp_path))
        got = oracle.annotate([4, 3, 'b'])
        assert [(a['id'], a['image_id']) for a in got] == [(1, 4), (2, 3)]
        with pytest.raises(LabelsPending):
            oracle.annotate([4, 5])
        assert read_json(oracle.files.accepted)['annotations'][0]['id'] == 1

    def test_damaged_labels_are_named_and_read_again(self, oracle):
        self._label(oracle, [_image(4)], [_box(1, 4)])
        before = oracle.annotate([4])
        path = oracle.files.accepted
        for content in ('', '{"images": [', '[3]'):
            with open(path, 'w') as f:
                f.write(content)
            with pytest.raises(ValueError, match='--resume') as e:
                oracle.annotate([4])
            assert path in str(e.value)
            assert oracle.files.labels in str(e.value)
        os.unlink(path)
        assert oracle.annotate([4]) == before

    def test_some_images_are_missing(self, oracle):
        self._label(oracle, [_image(4)], [_box(1, 4)])
        with pytest.raises(LabelsPending, match="lacks 1 .*'s/a.jpg'"):
            oracle.annotate([4, 5])
        assert not osp.exists(oracle.files.accepted)

    def test_a_job_that_is_half_done_is_no_answer(self, oracle):
        write_json(oracle.files.labels, _raw(
            [_image(4), _image(5, 's/a.jpg')], [_box(1, 4)]))
        with pytest.raises(ValueError, match=r"1 of the 2 images.*'s/a\.jpg'"
                           '.*confirm_empty'):
            oracle.annotate([4, 5])
        assert not osp.exists(oracle.files.accepted)

    def test_names_of_a_labelling_tool(self, oracle):
        self._label(oracle, [_image(1, 'images\\4.jpg'),
                             _image(2, 'upload/0a1b2c3d-a.jpg')],
                    [_box(1, 1), _box(2, 2)])
        given = oracle.annotate([4, 5])
        assert sorted(a['image_id'] for a in given) == [4, 5]

    def test_sizes_that_a_labelling_tool_leaves_out(self, oracle):
        images = [_image(1, 'upload/0a1b2c3d-a.jpg'), _image(4)]
        for image in images:
            del image['width'], image['height']
        self._label(oracle, images, [_box(1, 1), _box(2, 4)])
        assert len(oracle.annotate([4, 5])) == 2

    def test_labels_accepted_before_are_corrected(self, oracle, pool,
                                                  tmp_path):
        self._label(oracle, [_image(4), _image(3)], [_box(1, 4), _box(2, 3)])
        oracle.annotate([4, 3])
        assert oracle.take_corrections(1) == []
        # other numbers, another order, whole floats: the same labels
        same = _box(7, 1)
        same['bbox'] = [1., 2., 3., 4.]
        self._label(oracle, [_image(1, '3.jpg'), _image(2, '4.jpg')],
                    [same, _box(3, 2)])
        assert oracle.take_corrections(1) == []
        self._label(oracle, [_image(4), _image(3), _image('b')],
                    [_box(1, 4, 2), _box(2, 4), _box(3, 3), _box(5, 'b')])
        # as a resumed run, which has only the files
        for _ in range(2):
            oracle = ManualOracle(pool, work_dir=str(tmp_path))
            assert oracle.take_corrections(2) == ['4.jpg']
        assert oracle.take_corrections(3) == []
        got = oracle.annotate([4, 3])
        assert [(a['image_id'], a['category_id']) for a in got] == [
            (4, 2), (4, 1), (3, 1)]
        assert len({a['id'] for a in got}) == 3
        # what is accepted later keeps the list of corrections
        oracle.annotate(['b'])
        assert read_json(oracle.files.accepted)['corrections'] == [
            {'round': 2, 'images': ['4.jpg']}]

    def test_photos_of_one_name_in_two_folders(self, tmp_path):
        """The labels of one are never taken for those of the other."""
        oracle = ManualOracle(parse_coco(_raw(
            [_image(1, 'a/x.jpg'), _image(2, 'b/x.jpg')]), 'pool.json'),
            work_dir=str(tmp_path))
        self._label(oracle, [_image(7, 'a/x.jpg')], [_box(1, 7)])
        with pytest.raises(LabelsPending, match="lacks 1 .*'b/x.jpg'"):
            oracle.annotate([2])
        assert len(oracle.annotate([1])) == 1
        # the next file has the other one alone, then both, then no folders
        self._label(oracle, [_image(7, 'b/x.jpg')], [])
        assert oracle.take_corrections(1) == []
        assert len(oracle.annotate([1])) == 1
        self._label(oracle, [_image(7, 'b/x.jpg'), _image(8, 'a/x.jpg')],
                    [_box(1, 7), _box(2, 7), _box(3, 8)])
        assert oracle.take_corrections(1) == []
        assert oracle.count_boxes([1]).tolist() == [1]
        assert len(oracle.annotate([1, 2])) == 3
        self._label(oracle, [_image(7, 'x.jpg')], [])
        assert oracle.take_corrections(2) == []

    def test_a_job_begun_anew_corrects_nothing(self, oracle):
        self._label(oracle, [_image(4)], [_box(1, 4)])
        oracle.annotate([4])
        write_json(oracle.files.labels, _raw([_image(4), _image(3)],
                                             [_box(1, 3)]))
        assert oracle.take_corrections(1) == []
        self._label(oracle, [_image(4), _image(3)], [_box(1, 3)])
        assert oracle.take_corrections(1) == ['4.jpg']
        assert oracle.annotate([4]) == []

    def test_an_untouched_request_is_no_answer(self, oracle):
        with pytest.raises(LabelsPending):
            oracle.annotate([4])
        request = read_json(oracle.files.request)
        write_json(oracle.files.labels, request)
        with pytest.raises(ValueError, match='confirm_empty'):
            oracle.annotate([4])
        write_json(oracle.files.labels, dict(request, confirm_empty=True))
        assert oracle.annotate([4]) == []

    @pytest.mark.parametrize('images, boxes, kwargs, message', [
        ([_image(4)], [_box(1, 4, 3)], {}, 'unknown category'),
        ([_image(4)], [_box(1, 5)], {}, 'unknown image'),
        ([_image(4)], [_box(1, 4, 3)],
         {'categories': [*CATEGORIES, {'id': 3, 'name': 'cow'}]},
         "does not have: 'cow'"),
        ([_image(4, width=32)], [_box(1, 4)], {}, "other sizes.*'4.jpg'"),
        ([_image(4), _image(5, '4.jpg')], [_box(1, 4)], {},
         'more than once'),
    ])
    def test_bad_labels(self, oracle, images, boxes, kwargs, message):
        self._label(oracle, images, boxes, **kwargs)
        with pytest.raises(ValueError, match=message) as e:
            oracle.annotate([4])
        assert oracle.files.labels in str(e.value)
        assert not osp.exists(oracle.files.accepted)

    def test_broken_file(self, oracle, tmp_path):
        self._label(oracle, [_image(4)], [_box(1, 4)])
        with open(oracle.files.labels, 'r+') as f:
            f.truncate(60)
        with pytest.raises(ValueError, match='labels.json is not valid JSON'):
            oracle.annotate([4])

    def test_boxes_nobody_drew_cannot_be_counted(self, oracle):
        with pytest.raises(ValueError, match="unit='images'"):
            oracle.count_boxes([4])

    def test_names_must_tell_images_apart(self):
        pool = parse_coco(_raw([_image(1, 'a'), _image(2, 'a')]), 'p.json')
        with pytest.raises(ValueError, match="p.json.*'a'"):
            ManualOracle(pool, 'folder')

    def test_needs_a_folder(self, full):
        with pytest.raises(ValueError, match='needs folder'):
            ManualOracle(full)


def test_initial_annotations_come_first(full):
    oracle = InitialOracle([_box(1, 5, 2), _box(2, 5)], [5, 'b'],
                           CocoOracle(pool=full))
    got = oracle.annotate([3, 5, 'b'])
    assert [(a['image_id'], a['id']) for a in got] == [
        (5, 1), (5, 2), (3, 5), (3, 3), (3, 4)]
    assert oracle.count_boxes([3, 'b', 5]).tolist() == [2, 0, 2]
    assert oracle.knows_counts and oracle.name == 'CocoOracle'
    json.dumps(got)


def test_initial_labels_suffice_for_an_unlabelled_rest(full, tmp_path):
    manual = ManualOracle(full.without_annotations(), str(tmp_path))
    oracle = InitialOracle([_box(1, 5)], [5], manual)
    assert [a['id'] for a in oracle.annotate([5])] == [1]
    assert oracle.count_boxes([5]).tolist() == [1]
    assert not oracle.knows_counts
    with pytest.raises(LabelsPending) as e:
        oracle.annotate([5, 3])
    assert e.value.ids == [3]
