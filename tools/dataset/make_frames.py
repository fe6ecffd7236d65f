"""Images of a COCO json as short films: a pool full of near duplicates.

    python tools/dataset/make_frames.py pool.json images \\
        pool_redundant.json images_redundant --frames 20=15 8=20 2=40 1=60

draws images at random, here 135 of them, and films each: 15 with 20 frames,
20 with 8 and so on, 600 frames in all. A frame is a window of 90% of width and
height that wanders over the image, in light that wanders too, with noise. The
boxes go with it; one of which less than half is left in the window is not in
that frame. Frames are named film0000_000.png, so that

    spacing=dict(max_per_group=dict(k=1, by=r'(film\\d+)_'))

takes one frame of a film in each round.
"""
import argparse
import os
import os.path as osp
import sys

import cv2
import numpy as np

from mmal.commands.errors import run_or_explain
from mmal.fileio import write_bytes, write_json
from mmal.pool import load_coco
from mmal.randomness import seeded_order, seeded_uniform

WINDOW = 0.9  # of width and height
STEP = 0.15  # at most, of the room that the window has, from frame to frame
LIGHT = 0.1  # darkest and brightest: 0.9 and 1.1
NOISE = 2  # standard deviation, grey levels


def frames_and_number(text):
    frames, _, number = text.partition('=')
    if not (frames.isdigit() and number.isdigit() and int(frames)):
        raise argparse.ArgumentTypeError(
            f'{text!r} is no FRAMES=IMAGES: write e.g. 20=15, for 15 images '
            'with 20 frames each.')
    return int(frames), int(number)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ann_file', help='COCO json of all images')
    parser.add_argument('images', help='the folder of its images')
    parser.add_argument('out_file', help='COCO json to write')
    parser.add_argument('out_images', help='the folder of its frames, a new '
                        'or an empty one')
    parser.add_argument(
        '--frames', nargs='+', required=True, type=frames_and_number,
        metavar='FRAMES=IMAGES', help='how many images get so many frames')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def wander(start, steps):
    """From a number in [0, 1] by steps, reflected at the ends.

    Args:
        start (np.ndarray): D numbers.
        steps (np.ndarray): Of shape [T, D].

    Returns:
        np.ndarray: Of shape [T + 1, D], in [0, 1].
    """
    path = np.concatenate([start[None], steps]).cumsum(0)
    # a ball that bounces off both walls, seen on a line without walls
    return 1 - np.abs(path % 2 - 1)


def film(picture, boxes, frames, rng):
    """Windows of a picture.

    Args:
        picture (np.ndarray): uint8 of shape [H, W, 3].
        boxes (np.ndarray): [x, y, w, h], of shape [K, 4].
        frames (int): T.
        rng (np.random.Generator): Of this picture.

    Yields:
        tuple: A frame of shape [h, w, 3], its K boxes clipped to it, and
        which of them count.
    """
    size = np.array(picture.shape[1::-1])
    window = np.maximum((size * WINDOW).astype(int), 1)
    path = wander(rng.random(3), rng.uniform(-STEP, STEP, (frames - 1, 3)))
    for x, y, light in path:
        corner = np.rint(np.array([x, y]) * (size - window)).astype(int)
        (left, top), (right, bottom) = corner, corner + window
        frame = picture[top:bottom, left:right]
        frame = frame * (1 + LIGHT * (2 * light - 1))
        # one number for the three colours: grey stays grey
        frame = frame + rng.normal(0, NOISE, frame.shape[:2])[..., None]
        low = np.clip(boxes[:, :2] - corner, 0, window)
        high = np.clip(boxes[:, :2] + boxes[:, 2:] - corner, 0, window)
        areas = (high - low).prod(1)
        yield (np.clip(np.rint(frame), 0, 255).astype(np.uint8),
               np.concatenate([low, high - low], 1),
               (areas > 0) & (2 * areas >= boxes[:, 2:].prod(1)))


def make(args):
    coco = load_coco(args.ann_file)
    if osp.exists(args.out_images) and os.listdir(args.out_images):
        raise ValueError(f'{args.out_images} is not empty: frames go to a '
                         'folder of their own. Give another one, or empty it '
                         'if an earlier call has left it.')
    if osp.exists(args.out_file) and osp.samefile(args.ann_file,
                                                  args.out_file):
        raise ValueError(f'{args.out_file} is the file to draw from: give '
                         'another name to what is written.')
    frames = [n for n, images in args.frames for _ in range(images)]
    if len(frames) > len(coco.ids):
        raise ValueError(f'--frames names {len(frames)} images: '
                         f'{args.ann_file} has {len(coco.ids)}.')
    chosen = seeded_order(coco.ids, 'films', args.seed, first=len(frames))
    # each film has random numbers of its own, whatever the others are
    seeds = (seeded_uniform(chosen, 'a film', args.seed) * 2**53).astype(
        np.int64)

    os.makedirs(args.out_images, exist_ok=True)
    images, annotations = [], []
    for number, (image_id, count, seed) in enumerate(
            zip(chosen, frames, seeds.tolist())):
        record = coco.images[image_id]
        path = osp.join(args.images, record['file_name'])
        picture = cv2.imread(path, cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f'{path}, image {image_id} of {args.ann_file}, '
                             'is missing or cannot be read as a picture.')
        of_image = list(coco.annotations_of([image_id]))
        boxes = np.array([a['bbox'] for a in of_image], float).reshape(-1, 4)
        for n, (frame, moved, kept) in enumerate(
                film(picture, boxes, count, np.random.default_rng(seed))):
            name = f'film{number:04d}_{n:03d}.png'
            write_bytes(osp.join(args.out_images, name),
                        cv2.imencode('.png', frame)[1].tobytes())
            images.append({**record, 'id': len(images) + 1,
                           'file_name': name, 'height': frame.shape[0],
                           'width': frame.shape[1],
                           'film_of': record['file_name']})
            for a, box, counts in zip(of_image, moved, kept):
                if counts:
                    annotations.append({
                        **a, 'id': len(annotations) + 1,
                        'image_id': len(images), 'bbox': box.tolist(),
                        'area': float(box[2] * box[3]), 'segmentation': []})
    # the frames are there before the file that names them
    write_json(args.out_file, dict(
        images=images, annotations=annotations, categories=coco.categories))
    print(f'{args.out_file}: {len(images)} frames of {len(frames)} images, '
          f'{len(annotations)} boxes')


def main(argv=None):
    args = parse_args(argv)
    return run_or_explain(lambda: make(args), osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
