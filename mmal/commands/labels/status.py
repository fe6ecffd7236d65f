"""Say what a run waits for, what is labelled, and what to do next."""
from __future__ import annotations

import argparse
import os.path as osp
import shlex

EXAMPLES = """examples:
  mmal labels status work_dirs/my_run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', metavar='RUN', help='work folder of the run')


def run(args: argparse.Namespace) -> None:
    """Print how the labelling stands."""
    from mmal.engine.label_files import LabelFiles
    from mmal.pool import State
    from mmal.pool.label_import import labelled_so_far
    from mmal.pool.label_request import predicted_boxes
    files, run_folder = LabelFiles.of_run(args.run), shlex.quote(args.run)
    request = files.request()
    waiting = [request.images.images[i]['file_name']
               for i in request.open_ids]
    print(f'{args.run} has asked for the labels of '
          f'{len(request.accepted) + len(waiting)} images and has those of '
          f'{len(request.accepted)}')
    if not waiting:
        ended = osp.exists(files.work.state) and \
            State.load(files.work.state).stopped
        print('it waits for nobody: ' + (
            'all is done' if ended else 'go on with mmal train … --resume'))
        return
    boxes = predicted_boxes(files.work, request.images)
    number = sum(len(boxes.get(i, ())) for i in request.open_ids)
    print(f'it waits for {len(waiting)} images, listed in '
          f'{request.files.request}')
    print(f'  predicted boxes on them: {number}')
    labels = labelled_so_far(request, files.pool())
    done = [n for n in waiting if n in labels]
    missing = [n for n in waiting if n not in labels]
    print(f'  labelled in {request.files.labels}: {len(done)}, with '
          f'{sum(labels[n] for n in done)} boxes'
          f' ({sum(not labels[n] for n in done)} of them empty)')
    print(f'  missing: {len(missing)}' + (
        f' ({", ".join(missing[:5])}{", …" if len(missing) > 5 else ""})'
        if missing else ''))
    if not missing:
        print('next: mmal train … --resume')
    elif done:
        print(f'next: mmal labels import {run_folder} EXPORT, of the missing '
              'ones')
    else:
        print(f'next: mmal labels export {run_folder} --to label-studio (or '
              'cvat, fiftyone, coco, yolo), label, and mmal labels import')
