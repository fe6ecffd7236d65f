"""``report.html``: one page that shows what a run did."""
from __future__ import annotations

import base64
import os.path as osp
from typing import Any, Optional

import jinja2

from mmal.fileio import write_text
from mmal.pool.layout import WorkDir
from .curve import Curve
from .plots import draw_curves, plot_curves
from .tables import amount, drawn_at_random, number, round_rows
from .thumbnails import thumbnail
from .work_folder import Chosen, Contents, read_work_folder

LISTED = 200

_TEMPLATES = osp.join(osp.dirname(osp.abspath(__file__)), 'templates')
_ENDINGS = {
    'rounds': 'all rounds are done',
    'target': 'the target is reached',
    'exhausted': 'every image of the pool is labelled',
    'rule': 'a rule of active_learning.stop ended it',
    None: 'not finished yet'
}


def write_report(work_dir: str,
                 img_prefix: Optional[str] = None,
                 thumbnails: int = 12,
                 outside_images: bool = False) -> str:
    """Write ``report.html`` and ``curve.png`` into a work folder.

    The page is one file without scripts, and depends on the files of the
    folder and on the images alone. Whatever is missing is left out.

    Args:
        work_dir (str): The work folder of a run, finished or not.
        img_prefix (str, optional): Folder of the pool's images. Default:
            ``img_prefix`` of ``curve.json``; without either the page has no
            pictures of images.
        thumbnails (int): Most pictures to show per query.
        outside_images (bool): Show also images whose names lead out of that
            folder (absolute ones, or with ``..``). Names come from the COCO
            file, which may be another person's, and the page may be sent to
            others: by default such an image is listed by its name alone.

    Returns:
        str: The path of the page.

    Raises:
        FileNotFoundError: If there is no such folder.
        OSError: If the page cannot be written.
    """
    work = WorkDir(work_dir)
    contents = read_work_folder(work_dir)
    if img_prefix is None:
        img_prefix = contents.curve.img_prefix
    if len(contents.curve):
        plot_curves(contents.curve, work.curve_picture)
    write_text(work.report, render(contents, img_prefix, thumbnails,
                                   outside_images))
    return work.report


def render(contents: Contents,
           img_prefix: Optional[str] = None,
           thumbnails: int = 12,
           outside_images: bool = False) -> str:
    """The page as text; see :func:`write_report`."""
    # names of files and classes come from others: they are escaped, and a
    # name that the template misspells is an error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined)
    curve = contents.curve
    header, rows = round_rows(curve)
    picture = None
    if len(curve):
        picture = ('data:image/png;base64,' +
                   base64.b64encode(draw_curves(curve)).decode())

    # The learner collects the notes of the queries in the curve; a note is
    # shown from its query where the curve was lost.
    notes = [curve.note] if curve.note else []
    notes += [f'Round {query.round}: {query.note}'
              for query in contents.chosen
              if query.note and query.note not in curve.note]
    notes += [f'Could not be read: {p}' for p in contents.problems]
    queries = [_query_entry(query, img_prefix, thumbnails, outside_images)
               for query in contents.chosen]
    outside = sum(query['outside'] for query in queries)
    if outside:
        notes.append(f'{amount(outside, "image")} not shown: by name they are '
                     f'outside of the image folder {img_prefix}.')
    return environment.get_template('report.html').render(
        name=contents.name,
        summary=summarise(curve),
        notes=notes,
        picture=picture,
        header=header,
        rows=rows,
        queries=queries,
        unreadable=contents.unreadable,
        settings=contents.settings,
        amount=amount,
        listed=LISTED)


def summarise(curve: Curve) -> str:
    """One sentence on a run, and one if images were drawn at random.

    Examples:
        >>> from mmal.reporting import Record
        >>> summarise(Curve([Record(0, 40, 123, {'coco/bbox_mAP': 0.05})]))
        '1 round, 40 images, 123 boxes; AP 0.050; not finished yet.'
    """
    if not len(curve):
        return 'No round is finished yet.'
    first, last = curve.records[0], curve.records[-1]
    sizes = [
        amount(len(curve), 'round'),
        _from_to(amount(first.images, 'image'), amount(last.images, 'image')),
        _from_to(amount(first.boxes, 'box'), amount(last.boxes, 'box'))
    ]
    if last.reselected:
        sizes.append(f'{last.reselected:,} reselected')
    parts = [', '.join(sizes)]
    for name in [n for n in curve.shown if n != 'AP75']:  # one line is short
        values = [number(v, 3) for v in curve.series(metric=name)[1]]
        if values:
            parts.append(f'{name} {_from_to(values[0], values[-1])}')
    text = '; '.join([*parts, _ENDINGS[curve.stopped]]) + '.'
    return ' '.join(filter(None, (text, drawn_at_random(curve))))


def _from_to(first: str, last: str) -> str:
    return last if first == last else f'{first.split()[0]} → {last}'


def _query_entry(chosen: Chosen, img_prefix: Optional[str],
                 thumbnails: int, outside_images: bool) -> dict[str, Any]:
    """A query as the template shows it."""
    # every image is listed, the first ones are shown
    images = [{
        'id': image.id,
        'file_name': image.file_name or '–',
        'score': '–' if image.score is None else f'{image.score:.4g}',
        'boxes': None if image.labels is None else len(image.labels),
        'reselected': image.reselected
    } for image in chosen.images]
    outside = 0
    for image, shown in zip(chosen.images[:thumbnails], images):
        if img_prefix is not None and image.file_name:
            path = osp.join(img_prefix, image.file_name)
            if outside_images or _is_inside(path, img_prefix):
                shown['picture'] = thumbnail(path, image.labels or [])
            else:
                outside += 1
    return {
        'round': chosen.round,
        'images': images,
        'new': sum(not i['reselected'] for i in images),
        'boxes': chosen.boxes,
        'classes': chosen.classes,
        'pictures': [i for i in images if i.get('picture')],
        'outside': outside
    }


def _is_inside(path: str, folder: str) -> bool:
    """Whether a path leads into a folder, by its words.

    Links are followed, for data sets are often made of them: who can put a
    link into the folder could put the image there as well.
    """
    # behind a link, .. leads elsewhere than the words say
    below = path.removeprefix(folder)
    if '..' in below.replace(osp.sep, '/').split('/'):
        return False
    folder = osp.join(osp.abspath(folder), '')
    return osp.abspath(path).startswith(folder)
