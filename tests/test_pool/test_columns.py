"""Files read piece by piece into columns, against parsing them as a whole."""
import copy
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool import CocoOracle, column_reader, count_boxes, load_coco
from mmal.pool.coco import parse_coco
from mmal.pool.column_reader import NotCanonical, read_columns
from mmal.pool.columns import AnnotationColumns, ImageColumns, Texts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=3), inner, max_size=3), max_leaves=6)
# what else tools write, lists of objects and brackets in text among it
EXTRAS = st.dictionaries(
    st.sampled_from(['segmentation', 'attributes', 'note', 'license', 'é']),
    VALUES | st.sampled_from(
        ['}, {', '"}, {"', [{'a': 1}, {'a': 2}], '\\', ']}', '"]}]']),
    max_size=3)


@st.composite
def files(draw):
    """A file in canonical form."""
    ids = draw(st.lists(st.integers(-2**63, 2**63 - 1) | st.integers(0, 9),
                        min_size=1, max_size=8, unique=True))
    classes = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4,
                            unique=True))
    number = draw(st.integers(0, 12))
    sides = st.integers(0, 100) | st.floats(0, 100, allow_subnormal=False)
    return dict(
        draw(st.dictionaries(st.sampled_from(['info', 'licenses']), VALUES)),
        images=[
            dict(draw(EXTRAS), id=i, file_name=draw(st.text(
                st.characters(exclude_categories=['Cs']), min_size=1,
                max_size=6)),
                width=draw(st.integers(1, 2**31 - 1)),
                height=draw(st.integers(1, 99))) for i in ids],
        annotations=[
            dict(draw(EXTRAS), id=n, image_id=draw(st.sampled_from(ids)),
                 category_id=draw(st.sampled_from(classes)),
                 bbox=[draw(sides) for _ in range(4)],
                 area=draw(st.integers(1, 9) | st.floats(.1, 99)),
                 iscrowd=draw(st.integers(0, 1)))
            for n in draw(st.permutations(range(number)))],
        categories=[dict(draw(EXTRAS), id=c, name=f'class {c}')
                    for c in classes])


def columns_of(raw, piece, **dump):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(column_reader, '_PIECE', piece)
        return read_columns(io.BytesIO(json.dumps(raw, **dump).encode()))


@settings(deadline=None)
@given(files(), st.sampled_from([16, 100, 300, 2**20]),
       st.sampled_from([None, 2]), st.booleans(),
       st.sampled_from([(), ('orjson', ), ('orjson', 'msgspec')]),
       st.booleans())
def test_columns_are_what_a_parser_gives(raw, piece, indent, is_ascii, parsers,
                                         is_bare):
    if is_bare:  # nothing but what is needed
        for row in raw['annotations']:
            for key in {*row} - {*column_reader._KEYS}:
                del row[key]
    with pytest.MonkeyPatch.context() as m:
        for parser in {'orjson', 'msgspec'}.difference(parsers):
            m.setattr(column_reader, parser, None)
        images, annotations, categories, header = columns_of(
            raw, piece, indent=indent, ensure_ascii=is_ascii)
    coco = parse_coco(copy.deepcopy(raw), 'pool.json')
    assert list(images) == coco.ids and dict(images) == coco.images
    assert {i: annotations[i] for i in annotations} == coco.annotations
    assert len(annotations) == len(coco.annotations)
    assert (categories, header) == (coco.categories, coco.header)
    for i in [*coco.ids, 5.5, 'x', 2**70, -2**70, None]:
        assert (i in images) == (i in coco.images)
        assert annotations.get(i) == coco.annotations.get(i)
    some = coco.ids[::-2]
    assert annotations.of(some) == coco.annotations_of(some)
    rows = coco.annotations_of(coco.ids)
    counts = count_boxes(rows, coco.ids)
    assert annotations.count_boxes(coco.ids).tolist() == counts.tolist()
    assert annotations.count_boxes([coco.ids[-1]]).tolist() == [counts[-1]]
    assert images.positions(some).tolist() == [coco.ids.index(i) for i in some]
    for unknown in (2**63, 2**80, str(some[0]), some[0] + .5, None):
        with pytest.raises(KeyError):
            images.positions([*some, unknown])
    numbers = np.array(some)
    assert images.positions(list(numbers)).tolist() == images.positions(
        numbers).tolist() == images.positions(some).tolist()


@settings(deadline=None)
@given(files(), st.data())
def test_no_mutation_gets_through(raw, data):
    """What is not canonical is left to those who repair or explain it."""
    kind = data.draw(st.sampled_from(['images', 'annotations', 'categories']))
    if not raw[kind]:
        return
    if data.draw(st.booleans()):  # nothing but what is needed
        for row in raw['annotations']:
            for key in {*row} - {*column_reader._KEYS}:
                del row[key]
    row = data.draw(st.sampled_from(raw[kind]))
    key = data.draw(st.sampled_from(sorted(
        row.keys() & {'id', 'image_id', 'category_id', 'bbox', 'area',
                      'iscrowd', 'file_name', 'width', 'name'})))
    value = data.draw(st.sampled_from(
        ['', None, -1, 'x', True, 7.5, [], [1, 2, 3, -4], [1, 2, 3], 2**64,
         -2**40, {}]))
    if value is True:  # equal to 1
        return
    row[key] = value
    plain = json.dumps(raw)
    try:
        parse_coco(json.loads(plain), 'pool.json')
        is_fine = not parse_coco(json.loads(plain), 'pool.json').repairs
    except ValueError:
        is_fine = False
    try:
        columns_of(raw, 100)
        assert is_fine
    except NotCanonical:
        pass


@given(files(), st.integers(0, 10**6), st.integers(16, 400))
def test_a_file_that_is_cut_off_is_not_read(raw, at, piece):
    text = json.dumps(raw).encode()
    with pytest.MonkeyPatch.context() as m:
        m.setattr(column_reader, '_PIECE', piece)
        with pytest.raises(NotCanonical):
            read_columns(io.BytesIO(text[:at % len(text)]))
        with pytest.raises(NotCanonical):
            read_columns(io.BytesIO(text + b'x'))


def test_ids_whose_differences_do_not_fit_are_found():
    raw = small()
    ids = [2**63 - 1, -2, 5]
    raw['images'] = [dict(raw['images'][0], id=i) for i in ids]
    raw['annotations'] = [dict(raw['annotations'][0], image_id=-2)]
    images, annotations, _, _ = columns_of(raw, 100)
    assert [images.position(i) for i in ids] == [0, 1, 2]
    assert images.positions(ids).tolist() == [0, 1, 2]
    assert [len(annotations.get(i, ())) for i in ids] == [0, 1, 0]


def small():
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=8, height=6)
                for i in (3, 1)],
        annotations=[dict(id=n, image_id=1, category_id=4, bbox=[0, 0, 2, 2],
                          area=4, iscrowd=0) for n in range(3)],
        categories=[dict(id=4, name='cat')])


def test_a_clean_file_is_columns_and_another_is_not(tmp_path):
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(small()))
    coco = load_coco(str(path))
    assert isinstance(coco.images, ImageColumns)
    assert isinstance(coco.annotations, AnnotationColumns)
    raw = small()
    del raw['annotations'][0]['area']
    path.write_text(json.dumps(raw))
    repaired = load_coco(str(path))
    assert isinstance(repaired.images, dict) and repaired.repairs
    assert dict(coco.images) == repaired.images
    assert dict(coco.annotations) == repaired.annotations


@pytest.mark.parametrize('crowd', ['ignore', 'boxes'])
def test_crowd_regions_and_names_on_the_disk(tmp_path, crowd):
    raw = small()
    raw['annotations'][0]['iscrowd'] = 1
    raw['images'][0]['file_name'] = 'a\\ä.jpg'
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(raw))
    coco = load_coco(str(path), crowd=crowd,
                     find_file=lambda name: name.replace('\\', '/'))
    assert coco.images[3]['file_name'] == 'a/ä.jpg'
    assert coco.num_boxes == (3 if crowd == 'boxes' else 2)


def test_what_is_marked_is_marked_for_the_oracle(tmp_path):
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(small()))
    coco = load_coco(str(path))
    oracle = CocoOracle(pool=coco)
    oracle.table().ignore(np.array([False, True, True]))
    assert oracle.count_boxes([3, 1]).tolist() == [0, 1]
    assert [a.get('ignore', 0) for a in oracle.annotate([1])] == [0, 1, 1]
    assert coco.num_boxes == 1
    with pytest.raises(ValueError, match='no images with the ids 7'):
        oracle.count_boxes([1, 7])


@given(st.lists(st.text(st.characters(exclude_categories=['Cs']))))
def test_texts(values):
    encoded = [v.encode() for v in values]
    for cut in (0, len(values) // 2):
        texts = Texts.joined([Texts.of(encoded[:cut]),
                              Texts.of(encoded[cut:])])
        assert list(texts) == values == [texts[n] for n in range(len(texts))]
