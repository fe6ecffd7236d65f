"""Read what a labelling tool has exported, and write labels.json for a run.

Label Studio (JSON, JSON-MIN, COCO), CVAT (xml, COCO), FiftyOne, VIA (json,
csv), Roboflow (COCO), YOLO and Pascal VOC, as a file, a folder or a zip.
Photos are found again by name, boxes of resized photos are scaled back.
Nothing is taken for an empty photo, or for a photo that somebody has looked
at, unless the tool or you say so.
"""
from __future__ import annotations

import argparse

# as in mmal.pool.formats.exports, which is imported later
DIALECTS = ('label-studio', 'coco', 'cvat', 'fiftyone', 'via', 'yolo', 'voc')

EXAMPLES = """examples:
  mmal labels import work_dirs/my_run project-1.json
  mmal labels import work_dirs/my_run task_1.zip --confirm-unchanged
  mmal labels import work_dirs/my_run export/ --format yolo --confirm-empty
  mmal labels import work_dirs/my_run a.json --confirm-empty 3.jpg 7.jpg \\
      --rename Car=car --ignore-class unclear

An export of a part of the photos may be read first and the rest later. The
exit status is 0 when nothing is missing, and 3 when photos still wait, with
--dry-run as well.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', metavar='RUN', help='work folder of the run')
    parser.add_argument('export', metavar='EXPORT',
                        help='file, folder or zip that the tool has written')
    parser.add_argument(
        '--format', choices=('auto', *DIALECTS), default='auto',
        help='default: what the export looks like')
    parser.add_argument(
        '--confirm-empty', nargs='*', metavar='NAME',
        help='nothing is on the photos asked for that the export lists '
        'without boxes; or on the photos named here, listed or not, also '
        'where the run has labels of them')
    parser.add_argument(
        '--confirm-unchanged', action='store_true',
        help='photos that come back with just the predicted boxes were looked '
        'at')
    parser.add_argument(
        '--rename', nargs='+', default=[], metavar='THEIRS=OURS',
        help='classes that the tool calls otherwise')
    parser.add_argument(
        '--ignore-class', nargs='+', default=[], metavar='THEIRS',
        help='classes of the export to leave out')
    parser.add_argument(
        '--crowd', choices=('ignore', 'boxes'), default='ignore',
        help='what regions marked as crowd are, such as brush masks of CVAT: '
        'ignored in training (default), or boxes like all others')
    parser.add_argument(
        '--stretched', action='store_true',
        help='photos were stretched to another shape for labelling')
    parser.add_argument(
        '--class-attribute', metavar='NAME',
        help="the attribute of VIA's regions that holds the class, or the "
        "field of FiftyOne's samples that holds the boxes")
    parser.add_argument(
        '--one-based', action='store_true',
        help='VOC files count pixels from 1, as VOC does; labelling tools '
        'count from 0')
    parser.add_argument(
        '--dry-run', action='store_true', help='write nothing')


def check_arguments(args: argparse.Namespace) -> None:
    """Check the renamed classes.

    Raises:
        ValueError: If one is no ``THEIRS=OURS``.
    """
    wrong = [pair for pair in args.rename if not all(pair.partition('='))]
    if wrong:
        raise ValueError(f'--rename {wrong[0]!r} is no THEIRS=OURS, such as '
                         'Car=car.')


def run(args: argparse.Namespace) -> None:
    """Read the export, say what is in it, and write the labels."""
    from mmal.engine.label_files import LabelFiles
    from mmal.pool import LabelsPending
    from mmal.pool.formats.exports import read_export
    from mmal.pool.label_import import (
        ImportOptions,
        import_labels,
        save_labels,
    )
    files = LabelFiles.of_run(args.run)
    request = files.request()
    export = read_export(
        args.export, args.format, request.images.class_names,
        args.class_attribute, int(args.one_based))
    names = args.confirm_empty
    result = import_labels(export, request, files.pool(), ImportOptions(
        confirm_empty=names == [],
        empty=names or (),
        confirm_unchanged=args.confirm_unchanged,
        renamed=dict(pair.split('=', 1) for pair in args.rename),
        ignored=args.ignore_class,
        crowd=args.crowd,
        stretched=args.stretched))
    print(f'{args.export} is read as {export.form}')
    print('\n'.join(result.lines()))
    if args.dry_run:
        print('nothing is written (--dry-run)')
    elif result.content['images']:
        print(f'written: {save_labels(result, request)}')
    else:
        print('nothing is written: no photo has labels that can be taken')
    if result.waiting:
        raise LabelsPending(
            f'{len(result.waiting)} of {len(request.open_ids)} images still '
            'wait for labels. Import them as well, then go on with mmal train '
            '… --resume.', [])
    print('all images that were asked for are labelled: ' + (
        'import them without --dry-run' if args.dry_run else
        'go on with mmal train … --resume'))
