"""Reading a COCO file with every check and repair, against pycocotools.

    python benchmarks/reading.py [--images 100000] [--boxes 7] [--repeats 3]

The rivals are ``pycocotools.coco.COCO``, which mmdet reads with and which
checks nothing, and python's ``json`` alone. A second file has everything to
repair: no areas, no flags, ids as text. The table gives the least CPU time
of the repeats and, as a peer, its ratio to pycocotools.
"""
import argparse
import contextlib
import copy
import io
import json
import os
import random
import tempfile
import time

from pycocotools.coco import COCO

from mmal.pool import ImageTable, load_coco
from mmal.pool.coco import orjson


def make_file(images, boxes):
    """A clean file with as many boxes on each image."""
    draw = random.Random(0)

    def box(n):
        x, y = draw.uniform(0, 500), draw.uniform(0, 300)
        w, h = draw.uniform(1, 100), draw.uniform(1, 100)
        return dict(id=n, image_id=n // boxes, category_id=draw.randrange(80),
                    bbox=[x, y, w, h], area=w * h, iscrowd=0)

    return dict(
        images=[dict(id=i, file_name=f'{i:012d}.jpg', width=640, height=480)
                for i in range(images)],
        annotations=[box(n) for n in range(images * boxes)],
        categories=[dict(id=i, name=f'class {i}') for i in range(80)])


def in_need_of_repair(raw):
    """What labelling tools leave out or write as text."""
    raw = copy.deepcopy(raw)
    for a in raw['annotations']:
        del a['area'], a['iscrowd']
        a['id'], a['image_id'] = str(a['id']), str(a['image_id'])
    for image in raw['images']:
        image['id'] = str(image['id'])
    return raw


def quiet_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def plain_json(path):
    with open(path) as f:
        return json.load(f)


def record(coco):
    return ImageTable.of(coco)


def cpu_seconds(work, argument, repeats):
    """The least of some repeats, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work(argument)
        times.append(time.process_time() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--images', type=int, default=100_000)
    parser.add_argument('--boxes', type=int, default=7)
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    clean = make_file(args.images, args.boxes)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'clean.json')
        broken = os.path.join(folder, 'broken.json')
        for name, content in ((path, clean),
                              (broken, in_need_of_repair(clean))):
            with open(name, 'w') as f:
                json.dump(content, f)
        del clean, content
        print(f'{args.images:,} images, {args.images * args.boxes:,} boxes, '
              f'{"with" if orjson else "without"} orjson')
        coco = load_coco(path)
        rows = [
            ('json.load', plain_json, path),
            ('pycocotools COCO', quiet_coco, path),
            ('mmal, a clean file', load_coco, path),
            ('mmal, all to be repaired', load_coco, broken),
            ('mmal, record for --resume', record, coco),
        ]
        seconds = {name: cpu_seconds(work, argument, args.repeats)
                   for name, work, argument in rows}
    for name, value in seconds.items():
        print(f'{name:28} {value:7.2f} s '
              f'{value / seconds["pycocotools COCO"]:6.2f} x')


if __name__ == '__main__':
    main()
