import json
from collections import Counter

import pytest
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS

from mmal.fileio import write_json
from mmal.pool import RepeatImages


class Images(BaseDataset):
    """Four images; one has no box."""

    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [dict(img_id=i, labels=[n % 2]) for n, i in enumerate(
            (5, 'x', 9, 7))]

    def filter_data(self):
        return [d for d in self.data_list if d['img_id'] != 9]

    def get_cat_ids(self, idx):
        return self.get_data_info(idx)['labels']


def repeated(tmp_path, **content):
    path = str(tmp_path / 'repeats.json')
    write_json(path, content)
    return RepeatImages(Images(), path)


def test_single_images_come_again(tmp_path):
    data = repeated(tmp_path, ids=['x', 9, 5], times=[2, 1, 0])
    ids = [data.get_data_info(i)['img_id'] for i in range(len(data))]
    assert ids == [5, 'x', 'x', 'x', 7]
    assert [data[i]['img_id'] for i in range(len(data))] == ids
    assert [data.get_cat_ids(i) for i in range(5)] == [[0], *[[1]] * 4]
    assert data.metainfo['classes'] == ('a', 'b')
    with pytest.raises(IndexError):
        data[5]


def test_a_hook_switches_the_pipeline(tmp_path):
    """As PipelineSwitchHook does, that RTMDet's configs have."""
    data = repeated(tmp_path, ids=['x'], times=[1])
    data.pipeline = Compose([lambda entry: entry['img_id']])
    assert data.pipeline is data.dataset.pipeline
    assert [data[i] for i in range(len(data))] == [5, 'x', 'x', 7]


@pytest.mark.parametrize('content', [
    dict(ids=[5]), dict(ids=[5], times=[1, 2]), dict(ids=[5], times=[-1]),
    dict(ids=[5], times=[1.5])])
def test_a_wrong_file_is_named(tmp_path, content):
    with pytest.raises(ValueError, match=r'repeats\.json'):
        repeated(tmp_path, **content)


def test_it_is_built_from_a_config_inside_other_wrappers(
        tmp_path, mmdet_scope):
    coco = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=4, height=4)
                for i in (1, 2)], annotations=[],
        categories=[dict(id=1, name='a')])
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    write_json(str(tmp_path / 'repeats.json'), dict(ids=[2], times=[3]))
    data = DATASETS.build(dict(
        type='RepeatDataset', times=2, dataset=dict(
            type='mmal.RepeatImages', repeats=str(tmp_path / 'repeats.json'),
            dataset=dict(
                type='mmdet.CocoDataset', metainfo=dict(classes=('a', )),
                ann_file=str(tmp_path / 'coco.json'), pipeline=[],
                data_prefix=dict(img='')))))
    ids = Counter(data.get_data_info(i)['img_id'] for i in range(len(data)))
    assert ids == {1: 2, 2: 8}
    assert data[0]['width'] == 4
