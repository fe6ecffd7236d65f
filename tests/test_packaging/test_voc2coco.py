import importlib.util
import os.path as osp
import shutil

import pytest

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'dataset', 'voc2coco.py')

FIRST = '''<annotation><filename>2012_01.jpg</filename>
<size><width>500</width><height>375</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult>
 <bndbox><xmin>9</xmin><ymin>11</ymin><xmax>110</xmax><ymax>61</ymax></bndbox>
 <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>
 <ymax>2</ymax></bndbox></part></object>
<object><name>person</name><difficult>1</difficult>
 <bndbox><xmax>30</xmax><xmin>10.7</xmin><ymin>20</ymin><ymax>40</ymax>
 </bndbox></object></annotation>'''
SECOND = '''<annotation><size><width>40</width><height>30</height></size>
<object><name>cat</name>
 <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>
</object></annotation>'''


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / 'VOCdevkit' / 'VOC2012'
    (folder / 'Annotations').mkdir(parents=True)
    lists = folder / 'ImageSets' / 'Main'
    lists.mkdir(parents=True)
    (folder / 'Annotations' / '2012_01.xml').write_text(FIRST)
    (folder / 'Annotations' / '2012_02.xml').write_text(SECOND)
    (lists / 'train.txt').write_text('2012_02\n2012_01\n')
    (lists / 'val.txt').write_text('2012_01 1\n\n')
    return folder


def run(*args):
    spec = importlib.util.spec_from_file_location('voc2coco', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(a) for a in args])


def load(path):
    from mmal.fileio import read_json
    return read_json(str(path))


def test_boxes_classes_and_difficult(voc):
    run(voc)
    out = voc.parent / 'annotations'
    coco = load(out / 'voc2012_train.json')
    assert coco['images'] == [{
        'id': 1,
        'file_name': '2012_02.jpg',
        'width': 40,
        'height': 30
    }, {
        'id': 2,
        'file_name': '2012_01.jpg',
        'width': 500,
        'height': 375
    }]
    names = {c['id']: c['name'] for c in coco['categories']}
    assert len(names) == 20
    found = [(a['id'], a['image_id'], names[a['category_id']], a['bbox'],
              a['area'], a['iscrowd']) for a in coco['annotations']]
    assert found == [(1, 1, 'cat', [0, 0, 39, 29], 39 * 29, 0),
                     (2, 2, 'dog', [8, 10, 101, 50], 5050, 0),
                     (3, 2, 'person', [9, 19, 20, 20], 400, 1)]
    assert len(load(out / 'voc2012_val.json')['images']) == 1


def test_difficult_can_be_kept_and_the_folder_chosen(voc, tmp_path, capsys):
    run(voc, '--split', 'val', '--difficult', 'keep', '--out-dir',
        tmp_path / 'x')
    assert '1 images, 2 objects' in capsys.readouterr().out
    coco = load(tmp_path / 'x' / 'voc2012_val.json')
    assert [a['iscrowd'] for a in coco['annotations']] == [0, 0]
    assert not (voc.parent / 'annotations').exists()


@pytest.fixture
def years(voc):
    """Two folders whose images have the same names."""
    other = voc.parent / 'VOC2007'
    shutil.copytree(voc, other)
    (other / 'ImageSets' / 'Main' / 'train.txt').write_text('2012_01\n')
    return other, voc


def test_several_folders_can_be_merged(years, capsys):
    run(*years, '--split', 'train', '--merge', 'both')
    folder = years[0].parent / 'annotations'
    assert [p.name for p in folder.iterdir()] == ['both.json']
    assert 'both.json: 3 images, 5 objects' in capsys.readouterr().out
    coco = load(folder / 'both.json')
    assert [(i['id'], i['file_name'], i['width']) for i in coco['images']] == [
        (1, 'VOC2007/JPEGImages/2012_01.jpg', 500),
        (2, 'VOC2012/JPEGImages/2012_02.jpg', 40),
        (3, 'VOC2012/JPEGImages/2012_01.jpg', 500)]
    assert [(a['id'], a['image_id'], a['category_id'])
            for a in coco['annotations']] == [(1, 1, 12), (2, 1, 15),
                                              (3, 2, 8), (4, 3, 12),
                                              (5, 3, 15)]
    assert len(coco['categories']) == 20


def test_the_merged_file_suits_the_config_of_both_years(years):
    from mmdet.datasets import CocoDataset
    from mmengine.config import Config
    run(*years, '--split', 'train', '--merge', 'voc0712_trainval')
    cfg = Config.fromfile(
        osp.join(ROOT, 'configs', '_base_', 'datasets', 'voc0712_ssd300.py'))
    dataset = cfg.train_dataloader.dataset
    dataset.update(
        data_root=str(years[0].parent), filter_cfg=None, pipeline=[])
    dataset.pop('type')
    found = CocoDataset(**dataset)
    assert [found.get_data_info(i)['img_path'] for i in range(3)] == [
        str(years[0].parent / part)
        for part in ('VOC2007/JPEGImages/2012_01.jpg',
                     'VOC2012/JPEGImages/2012_02.jpg',
                     'VOC2012/JPEGImages/2012_01.jpg')]


def test_several_folders_without_merging(years):
    run(*years, '--split', 'train')
    folder = years[0].parent / 'annotations'
    assert sorted(p.name for p in folder.iterdir()) == [
        'voc2007_train.json', 'voc2012_train.json']
    assert len(load(folder / 'voc2007_train.json')['images']) == 1


def test_an_image_is_merged_once(voc):
    with pytest.raises(SystemExit, match='VOC2012/JPEGImages/2012_01.jpg is '
                       'in two'):
        run(voc, '--merge', 'all')
    assert not (voc.parent / 'annotations').exists()


def test_merging_needs_a_common_folder(voc, tmp_path, capsys):
    shutil.copytree(voc, tmp_path / 'elsewhere' / 'VOC2007')
    with pytest.raises(SystemExit):
        run(voc, tmp_path / 'elsewhere' / 'VOC2007', '--merge', 'all')
    assert 'beside each other' in capsys.readouterr().err


def test_mmdet_reads_the_same_boxes_from_both_forms(voc):
    from mmdet.datasets import CocoDataset, VOCDataset
    run(voc)
    coco = CocoDataset(
        ann_file=str(voc.parent / 'annotations' / 'voc2012_train.json'),
        metainfo={'classes': VOCDataset.METAINFO['classes']},
        data_prefix={'img': str(voc / 'JPEGImages')},
        pipeline=[])
    xml = VOCDataset(
        ann_file=str(voc / 'ImageSets' / 'Main' / 'train.txt'),
        data_prefix={'sub_data_root': str(voc)},
        pipeline=[])
    assert len(coco) == len(xml) == 2
    for i in range(2):
        a, b = coco.get_data_info(i), xml.get_data_info(i)
        assert osp.basename(a['img_path']) == osp.basename(b['img_path'])
        for x, y in zip(a['instances'], b['instances'], strict=True):
            assert list(x['bbox']) == list(y['bbox'])
            assert x['bbox_label'] == y['bbox_label']
            assert x['ignore_flag'] == y['ignore_flag']


@pytest.mark.parametrize('content, message', [
    ('<annotation>', 'not valid XML'),
    ('<annotation/>', 'no image size'),
    (SECOND.replace('cat', 'unicorn'), "'unicorn'"),
    (SECOND.replace('<xmin>1</xmin>', ''), 'without a box'),
    (None, 'No such file'),
])
def test_bad_input_is_named(voc, content, message):
    path = voc / 'Annotations' / '2012_01.xml'
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SystemExit, match=message) as error:
        run(voc)
    assert '2012_01.xml' in str(error.value)
    assert not (voc.parent / 'annotations').exists()


def test_wrong_folder_is_named(tmp_path):
    with pytest.raises(SystemExit, match='train.txt.*data/VOCdevkit/VOC2012'):
        run(tmp_path)
