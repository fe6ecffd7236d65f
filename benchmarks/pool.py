"""A pool of a million images: CPU seconds, memory and bytes on the disk.

    python benchmarks/pool.py [--images 1000000] [--boxes 7] [--processes 2]
                              [--old] [--keep FOLDER]

A synthetic pool without image files (a file backend gives one picture under
all names). Each process reads and checks it as a run does (``start``), makes
the plan, writes the files of round 0 and asks a RandomScorer for a thousand
images (``query``). Printed are CPU seconds, the largest memory that the
process ever had, and what the round leaves on the disk.

``--old`` does what was done before in a process of its own: the file as
dicts, the images left as ``unlabelled.json``, and mmdet's CocoDataset reading
that again. It needs some 7 GB for a million images.
"""
import argparse
import gc
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven',
           'eight', 'nine')
PICTURE = (640, 480)
NAME = 'camera_{:02d}/{:09d}.jpg'


def write_pool(path, images, boxes):
    """A file with as many boxes on each image, written row by row."""
    width, height = PICTURE
    with open(path, 'w') as f:
        f.write('{"images": [')
        for i in range(images):
            f.write(', ' * (i > 0) + json.dumps(dict(
                id=i, file_name=NAME.format(i % 50, i), width=width,
                height=height)))
        f.write('], "annotations": [')
        for n in range(images * boxes):
            # numbers that look drawn, and cost less
            x, y = n * 7919 % 50000 / 100, n * 104729 % 40000 / 100
            w, h = 1 + n * 1299709 % 9900 / 100, 1 + n * 15485863 % 7000 / 100
            f.write(', ' * (n > 0) + json.dumps(dict(
                id=n, image_id=n // boxes, category_id=n % len(CLASSES),
                bbox=[x, y, w, h], area=round(w * h, 4), iscrowd=0)))
        f.write('], "categories": ')
        json.dump([dict(id=n, name=c) for n, c in enumerate(CLASSES)], f)
        f.write('}')


class Clock:
    """Prints what each step took."""

    def __init__(self, rank):
        self.rank = rank
        self.cpu = 0.0

    def __call__(self, step):
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        print(f'process {self.rank}: {step:34} {cpu - self.cpu:7.2f} CPU s, '
              f'peak {used.ru_maxrss / 2**20:5.2f} GB', flush=True)
        self.cpu = cpu


def config(folder):
    """A run on the pool, of a detector that is never trained."""
    from mmengine.config import Config
    cfg = Config.fromfile(os.path.join(
        os.path.dirname(__file__), '../configs/al/fcos_random_digits.py'))
    load = dict(type='LoadImageFromFile',
                backend_args=dict(backend='one_picture'))
    for loader in ('train', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        dataset.data_root, dataset.ann_file = folder, 'pool.json'
        dataset.pipeline[0] = load
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.model.backbone.init_cfg = None
    cfg.work_dir = os.path.join(folder, 'work')
    cfg.active_learning.update(prepare_data=None, initial=dict(size=1000),
                               budget=dict(size=1000))
    cfg.launcher = 'pytorch' if 'RANK' in os.environ else 'none'
    return cfg


def run(folder):
    """Start, plan and query in this process."""
    clock = Clock(int(os.environ.get('RANK', 0)))
    import cv2
    import numpy as np
    import torch
    from mmengine.fileio import register_backend
    from mmengine.fileio.backends import BaseStorageBackend

    from mmal.dist import close_dist, on_main
    from mmal.engine import ActiveLearner
    from mmal.engine.round_config import scoring_splits
    from mmal.pool import write_labelled

    picture = cv2.imencode('.jpg', np.full((*PICTURE[::-1], 3), 128, 'u1'))[1]

    class OnePicture(BaseStorageBackend):
        """The same content under every name."""

        def get(self, filepath):
            return picture.tobytes()

        def get_text(self, filepath, encoding='utf-8'):
            return ''

        def isfile(self, filepath):
            return True

    register_backend('one_picture', OnePicture)
    cfg = config(folder)
    clock('imports and config')
    learner = ActiveLearner(cfg)
    clock('start')
    pool, inputs = learner.state.pool, learner.inputs
    on_main(lambda: inputs.oracle.count_boxes(inputs.coco.ids).sum())
    clock('boxes in all, as the plan counts')
    files = learner.work.round(0)
    on_main(lambda: write_labelled(
        files, inputs.coco, pool, inputs.oracle.annotate(pool.labelled())))
    clock('files of round 0')
    splits = scoring_splits(cfg, learner.settings, files, inputs.coco, pool)
    result = learner.query.run(torch.nn.Identity(), splits, 0, files,
                               inputs.oracle)
    assert len(result.ids) == 1000
    clock('query')
    learner.state.commit(result.new, result.unreadable, '', [])
    on_main(learner.state.save)
    clock('state')
    close_dist()


def run_as_before(folder):
    """The file as dicts, a file of what is left, and mmdet reading it."""
    clock = Clock('old')
    import mmal  # noqa: F401  before mmdet: it supplies operators
    from mmdet.datasets import CocoDataset  # isort: skip

    from mmal.pool import ImageTable, TrainingRule, ignore_untrained
    from mmal.pool.coco import parse_coco, read_content, write_split
    clock('imports')
    path = os.path.join(folder, 'pool.json')
    gc.disable()  # as it was while files were read
    coco = parse_coco(read_content(path), path)
    gc.enable()
    clock('the file as dicts')
    table = coco.table()
    ImageTable.of(coco)
    ignore_untrained(table, coco, TrainingRule.of({}, coco, CLASSES))
    del table
    clock('counts and record')
    left = os.path.join(folder, 'unlabelled.json')
    write_split(left, coco, coco.ids[1000:])
    clock('unlabelled.json')
    dataset = CocoDataset(ann_file=left, metainfo=dict(classes=CLASSES),
                          data_prefix=dict(img=''), test_mode=True,
                          pipeline=[])
    ids = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    clock('mmdet reads it, ids in order')
    print(f'old: a round leaves {os.path.getsize(left) / 1e6:,.0f} MB for '
          f'{len(ids):,} images')


def bytes_in(folder):
    return {os.path.relpath(os.path.join(root, name), folder):
            os.path.getsize(os.path.join(root, name))
            for root, _, names in os.walk(folder) for name in names}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--images', type=int, default=1_000_000)
    parser.add_argument('--boxes', type=int, default=7)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--old', action='store_true')
    parser.add_argument('--keep', help='where the pool is, or is made')
    parser.add_argument('--child', choices=['new', 'old'],
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run(args.keep) if args.child == 'new' else run_as_before(args.keep)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = os.path.abspath(args.keep or temporary)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, 'pool.json')
        if not os.path.exists(path):
            start = time.time()
            write_pool(path, args.images, args.boxes)
            print(f'made in {time.time() - start:.0f} s')
        print(f'{args.images:,} images, {args.images * args.boxes:,} boxes, '
              f'{os.path.getsize(path) / 1e6:,.0f} MB of JSON', flush=True)
        command = [sys.executable, __file__, '--keep', folder, '--child']
        env = [dict(os.environ)]
        if args.processes > 1:
            with socket.socket() as s:
                s.bind(('127.0.0.1', 0))
                port = s.getsockname()[1]
            env = [dict(os.environ, RANK=str(n), LOCAL_RANK=str(n),
                        WORLD_SIZE=str(args.processes),
                        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
                   for n in range(args.processes)]
        children = [subprocess.Popen([*command, 'new'], env=e) for e in env]
        codes = [child.wait() for child in children]
        if any(codes):
            sys.exit(1)
        work = os.path.join(folder, 'work')
        sizes = bytes_in(work)
        of_round = {n: s for n, s in sizes.items() if n.startswith('round')}
        rest = sum(sizes.values()) - sum(of_round.values())
        print('a round leaves ' + ', '.join(
            f'{n} {s / 1e6:.1f} MB' for n, s in of_round.items()) +
            f'; the run {rest / 1e6:.1f} MB')
        if args.old:
            subprocess.run([*command, 'old'], check=True)


if __name__ == '__main__':
    main()
