"""Photos and label files of several forms, and what mmdet makes of a json."""
import contextlib
import importlib.util
import io
import os
import os.path as osp

import numpy as np
from PIL import Image

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))


def write_photo(path, size=(40, 30), orientation=None, **kwargs):
    """A grey photo of ``size`` stored pixels."""
    os.makedirs(osp.dirname(path), exist_ok=True)
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        kwargs['exif'] = exif
    Image.new('RGB', size, (90, 90, 90)).save(path, **kwargs)


def write_text(path, text):
    """A text file in UTF-8."""
    os.makedirs(osp.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def voc_object(name, box, difficult='0'):
    """An ``<object>``; ``box`` is xmin, ymin, xmax, ymax."""
    sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), box)
    sides = ''.join(f'<{k}>{v}</{k}>' for k, v in sides)
    return (f'<object><name>{name}</name><difficult>{difficult}</difficult>'
            f'<bndbox>{sides}</bndbox></object>')


def voc_xml(*objects, size=(40, 30), filename=None):
    """The text of an xml file."""
    parts = [] if filename is None else [f'<filename>{filename}</filename>']
    if size:
        parts.append(f'<size><width>{size[0]}</width>'
                     f'<height>{size[1]}</height></size>')
    return f'<annotation>{"".join([*parts, *objects])}</annotation>'


def tool(name):
    """The module of a script in ``tools/dataset``."""
    spec = importlib.util.spec_from_file_location(
        name, osp.join(ROOT, 'tools', 'dataset', f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def boxes_in_mmdet(path, img_prefix, classes):
    """Boxes that mmdet's CocoDataset trains on: photo -> [(class, x1 y1 x2
    y2)]; each photo exists and has the size that the json says."""
    import mmcv
    from mmdet.datasets import CocoDataset
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = CocoDataset(
            ann_file=str(path), data_prefix=dict(img=str(img_prefix)),
            metainfo=dict(classes=tuple(classes)), pipeline=[])
    boxes = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        assert mmcv.imread(info['img_path']).shape[:2] == (
            info['height'], info['width'])
        name = osp.relpath(info['img_path'], img_prefix)
        boxes[name] = [
            (classes[x['bbox_label']], list(np.round(x['bbox'], 3)))
            for x in info['instances']]
    return boxes


def random_coco(seed, classes=('car', 'dog', 'person'), images=6):
    """A COCO dict with boxes at whole pixels inside their images."""
    rng = np.random.default_rng(seed)
    coco = dict(images=[], annotations=[], categories=[
        dict(id=i, name=n) for i, n in enumerate(classes, 1)])
    for i in range(1, images + 1):
        width, height = map(int, rng.integers(20, 90, 2))
        coco['images'].append(dict(id=i, file_name=f'photo {i:02}.png',
                                   width=width, height=height))
        for _ in range(rng.integers(1, 4)):
            x, y = int(rng.integers(0, width - 4)), int(
                rng.integers(0, height - 4))
            w = int(rng.integers(2, width - x))
            h = int(rng.integers(2, height - y))
            coco['annotations'].append(dict(
                id=len(coco['annotations']) + 1, image_id=i,
                category_id=int(rng.integers(1, len(classes) + 1)),
                bbox=[x, y, w, h], area=w * h, iscrowd=0))
    return coco


def corners_of(coco):
    """Photo -> [(class, x1 y1 x2 y2)] of a COCO dict."""
    names = {c['id']: c['name'] for c in coco['categories']}
    boxes = {i['id']: [] for i in coco['images']}
    for a in coco['annotations']:
        x, y, w, h = a['bbox']
        boxes[a['image_id']].append(
            (names[a['category_id']], [x, y, x + w, y + h]))
    return {i['file_name']: boxes[i['id']] for i in coco['images']}


def check_coco(coco):
    """A COCO dict that the pool takes, its boxes inside their images."""
    from mmal.pool.coco import parse_coco
    parse_coco(coco, 'the result')
    images = {i['id']: i for i in coco['images']}
    for a in coco['annotations']:
        x, y, w, h = a['bbox']
        assert x >= 0 and y >= 0 and min(w, h) >= 1
        assert x + w <= images[a['image_id']]['width'] + 1e-9
        assert y + h <= images[a['image_id']]['height'] + 1e-9
