import pytest
from helpers.label_files import random_coco

from mmal.fileio import write_json
from mmal.pool.formats import read_classes
from mmal.pool.formats.classes import nearest_name


@pytest.mark.parametrize('name, content', [
    ('c.txt', 'car\r\n traffic light \r\n\r\n'.encode('utf-8-sig')),
    ('c.names', 'car\ntraffic light'.encode('utf-16')),
    ('classes', b'car\ntraffic light'),
    ('c.yaml', b'names: {1: traffic light, 0: car}'),
    ('c.json', b'["car", "traffic light"]'),
    ('c.json', b'{"categories": [{"name": "car"}, '
               b'{"name": "traffic light"}]}'),
])
def test_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    expected = ['car', 'traffic light']
    assert read_classes(str(tmp_path / name)) == expected
    assert read_classes([str(tmp_path / name)]) == expected


def test_names():
    assert read_classes(['car', 'traffic light']) == ['car', 'traffic light']
    assert read_classes('car, traffic light') == ['car', 'traffic light']
    assert read_classes(['helmet']) == ['helmet']


@pytest.mark.parametrize('content', [
    b'', b'{', b'{}', b'[1]', b'{"categories": [{"id": 1}]}', b'3',
    b'{"categories": {}}'])
def test_json_without_names_is_named(tmp_path, content):
    (tmp_path / 'c.json').write_bytes(content)
    with pytest.raises(ValueError, match=r'c\.json'):
        read_classes(str(tmp_path / 'c.json'))


def test_an_empty_name_would_shift_numbers(tmp_path):
    (tmp_path / 'c.txt').write_text('car\n\ndog')
    with pytest.raises(ValueError, match=r'c\.txt: name 2 is empty'):
        read_classes(str(tmp_path / 'c.txt'))


def test_a_coco_file_gives_its_categories(tmp_path):
    write_json(str(tmp_path / 'c.json'), random_coco(0))
    assert read_classes(str(tmp_path / 'c.json')) == ['car', 'dog', 'person']


@pytest.mark.parametrize('name, nearest', [
    ('Car', 'car'), ('traffic-light', 'Traffic Light'), ('persn', 'person'),
    ('unicorn', None)])
def test_nearest_name(name, nearest):
    assert nearest_name(name, ['car', 'Traffic Light', 'person']) == nearest
