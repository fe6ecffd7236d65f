"""Write what a run waits for, with predicted boxes, for a labelling tool.

One file (a folder for fiftyone and yolo) that the tool imports as it is.
"""
from __future__ import annotations

import argparse
import shlex

from ..options import real

# as in mmal.pool.label_export, which is imported later
TOOLS = ('label-studio', 'cvat', 'fiftyone', 'coco', 'yolo')
IMAGES = ('path', 'local-files', 'upload')

EXAMPLES = """examples:
  mmal labels export work_dirs/my_run --to label-studio
  mmal labels export work_dirs/my_run --to label-studio --images upload
  mmal labels export work_dirs/my_run --to cvat --score-thr 0.5
  mmal labels export work_dirs/my_run --to coco --classes car bus --out a.json

mmal labels import reads what comes back.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', metavar='RUN', help='work folder of the run')
    parser.add_argument('--to', choices=TOOLS, required=True, help='the tool')
    parser.add_argument(
        '--out', help='file to write, or folder for fiftyone and yolo '
        '(default: in the folder of to_label.json)')
    parser.add_argument(
        '--score-thr', type=real(0, 1), default=0.3, metavar='X',
        help='lowest score of a predicted box, from 0 to 1 (default: 0.3)')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME',
        help='predict boxes of these classes alone (default: all)')
    parser.add_argument(
        '--no-predictions', action='store_true', help='photos without boxes')
    parser.add_argument(
        '--images', choices=IMAGES,
        help='how the tool finds photos: by name; local-files, on the disk of '
        'the Label Studio server; upload, inside the file (default: '
        'local-files for label-studio, path for all others)')
    parser.add_argument(
        '--root', default='', help="Label Studio's "
        'LOCAL_FILES_DOCUMENT_ROOT (default: the folder above the photos)')
    parser.add_argument(
        '--prefix', default='', help='what comes before names with --images '
        'path, e.g. the address of a server')


def run(args: argparse.Namespace) -> None:
    """Write the request and say what to do with it."""
    from mmal.engine.label_files import LabelFiles
    from mmal.pool.label_export import (
        TOOLS,
        export_request,
        refuse_to_overwrite,
        written_files,
    )
    from mmal.pool.label_request import predicted_boxes, save_starting_boxes
    files = LabelFiles.of_run(args.run)
    request = files.request()
    if not request.open_ids:
        raise ValueError(
            f'{args.run} waits for nobody: it has the labels of all '
            f'{len(request.images.images)} images it asked for last. Go on '
            'with mmal train … --resume.')
    boxes = predicted_boxes(files.work, request.images, args.score_thr,
                            args.classes)
    images = request.to_label({} if args.no_predictions else boxes)
    seen = sum(i in boxes for i in request.open_ids)
    name = TOOLS[args.to]
    if args.to == 'yolo' and files.work.round_numbers():
        # people save in this folder, so no request gets that of another
        name = f'{name}_round_{max(files.work.round_numbers()):02}'
    out = args.out or request.files.exported(name)
    if args.out:
        refuse_to_overwrite(written_files(args.to, out))
    # before the tool gets them: what comes back is compared with these
    save_starting_boxes(request, images)
    written = export_request(args.to, images, request.images,
                             files.img_prefix, out, args.images or '',
                             args.root, args.prefix)
    number = sum(len(i.boxes) for i in images)
    print(f'{written.path}: {len(images)} images to label, with {number} '
          f'predicted boxes of score {args.score_thr:g} and above')
    if args.no_predictions:
        print('without predicted boxes, as asked')
    elif seen < len(images):
        print(f'no detector has looked at {len(images) - seen} of them yet: '
              'these come without boxes')
    for n, step in enumerate(written.steps, 1):
        print(f'  {n}. {step}')
    print(f'  {len(written.steps) + 1}. mmal labels import '
          f'{shlex.quote(args.run)} EXPORT')
