"""What a labelling tool has exported, as the labels that a run waits for."""
from __future__ import annotations

import os.path as osp
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import unquote

from mmal.fileio import write_json
from .coco import CocoData, group_by_image, load_coco, some, spelled_otherwise
from .formats.conversion import CocoBuilder, Notes, box_inside
from .formats.exchange import LabelBox, LabelExport, LabelImage
from .formats.photos import is_photo, stem_of
from .label_request import LabelRequest, load_starting_boxes
from .names import NameIndex


@dataclass(frozen=True)
class ImportOptions:
    """What people decide about an export.

    Args:
        confirm_empty (bool): Photos of the request listed without boxes have
            nothing on them. Those that the run has labels of keep these.
        empty (collection[str]): Photos that have nothing on them, listed or
            not, by file name.
        confirm_unchanged (bool): Photos whose boxes came back as the detector
            predicted them were looked at.
        renamed (Mapping[str, str]): Classes of the export -> ours.
        ignored (collection[str]): Classes of the export to leave out.
        crowd (str): 'ignore' keeps crowd regions, which nothing is trained
            on; 'boxes' takes them as boxes like all others.
        stretched (bool): Whether photos were scaled to another shape for
            labelling, the whole photo, without cutting or borders.
    """
    confirm_empty: bool = False
    empty: Collection[str] = ()
    confirm_unchanged: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()
    crowd: str = 'ignore'
    stretched: bool = False


@dataclass
class ImportResult:
    """What became of an export. All lists are of our file names.

    Args:
        content (dict): The COCO file to write, with what was there before.
        labelled (list[str]): With boxes, of the request.
        empty (list[str]): Taken as empty.
        may_be_empty (list[str]): Without boxes, and nobody has said that
            nothing is on them.
        unchanged (list[str]): With the predicted boxes, and nobody has said
            that they were looked at.
        unfinished (list[str]): Not handed in by a person yet.
        problems (dict[str, str]): Photos that cannot be taken, and why.
        missing (list[str]): Asked for, and neither in the export nor in what
            was there before.
        corrected (list[str]): Photos that the run has labels of already.
        not_asked (list[str]): Photos of the pool that nobody asked for.
        unknown (list[str]): Names that are none of the pool, as they stand
            in the export.
        rescaled (list[str]): Labelled in another size.
        crowd (int): Crowd regions.
        notes (Notes): What was cut or left out.
    """
    content: dict
    labelled: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    may_be_empty: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rescaled: list[str] = field(default_factory=list)
    crowd: int = 0
    notes: Notes = field(default_factory=Notes)

    @property
    def waiting(self) -> list[str]:
        """Photos of the request that have no labels yet."""
        return [*self.may_be_empty, *self.unchanged, *self.unfinished,
                *self.problems, *self.missing]

    def lines(self) -> list[str]:
        """What a person should know, a line for each kind."""
        boxes = len(self.content['annotations'])
        kinds = (
            ('labelled', self.labelled),
            ('taken as empty', self.empty),
            ('given again, though the run has labels of them: what differs is '
             'a correction', self.corrected),
            ('rescaled, for they were labelled in another size',
             self.rescaled),
            ('without boxes, NOT taken: say --confirm-empty if nothing is on '
             'them (or name those: --confirm-empty NAME …)',
             self.may_be_empty),
            ('with just the predicted boxes, NOT taken: say '
             '--confirm-unchanged if somebody has looked at them',
             self.unchanged),
            ('not handed in yet, NOT taken', self.unfinished),
            ('not in the export', self.missing),
            ('of the pool, but not asked for, left out', self.not_asked),
            ('of other names than the pool has, left out', self.unknown),
        )
        lines = [
            f'{len(names):5} {what}' + (
                '' if what == 'labelled' else f': {some(names, 3)}')
            for what, names in kinds if names]
        lines += [f'      {name}: NOT taken, {why}'
                  for name, why in list(self.problems.items())[:10]]
        if len(self.problems) > 10:
            lines.append(f'      … and {len(self.problems) - 10} more that '
                         'cannot be taken')
        if self.crowd:
            lines.append(f'{self.crowd:5} crowd regions, which no training '
                         'uses as boxes (--crowd boxes takes them as such)')
        lines += [f'      {line}' for line in self.notes.lines()]
        return [*lines, f'{boxes:5} boxes in all']


def import_labels(export: LabelExport, request: LabelRequest, pool: CocoData,
                  options: Optional[ImportOptions] = None) -> ImportResult:
    """Match an export with a request. Nothing is written.

    Photos are matched by name (see :class:`~mmal.pool.names.NameIndex`), or by
    the name without extension where one photo of the pool has it.

    Args:
        export (LabelExport): What the tool has exported.
        request (LabelRequest): What the run waits for; photos that it has
            accepted before are corrected.
        pool (CocoData): All images of the run.
        options (ImportOptions, optional): What people have decided.

    Raises:
        ValueError: If no photo is known, several are one, a class is unknown,
            or a photo was labelled in another shape.
    """
    options = options or ImportOptions()
    sizes = {name: tuple(map(round, size))
             for name, size in zip(pool.file_names, pool.sizes.tolist())}
    asked = [request.images.images[i]['file_name'] for i in request.open_ids]
    confirmed = _confirmed_names(options.empty, sizes, asked)
    matched, unknown = match_images(export.images, list(sizes))
    if not matched:
        raise ValueError(
            f'none of the {len(export.images)} photos of the export is one of '
            f'the pool. They are called {some(unknown, 3)} there and '
            f'{some(asked, 3)} here: is it the right file?')
    result = ImportResult({}, unknown=unknown)
    result.notes.merge(export.notes)
    _check_classes(export, matched, request.images.class_names, options)

    # Boxes travel as text of two decimals at least, or six of a share; some
    # forms of some tools have whole pixels alone.
    is_whole = not any(image.is_share for image in matched.values()) and all(
        float(v).is_integer() for image in matched.values()
        for box in image.boxes for v in box.bbox)
    precision = 1. if is_whole else 0.02  # pixels of the tool's photo
    given = load_starting_boxes(request.files)
    new: dict[str, list[LabelBox]] = {}
    wanted = {*asked, *request.accepted}
    # Where a tool has dropped the folders of names, "a" may be of any photo
    # that is called so, not just of the one that lies in no folder.
    has_folders = any('/' in ours and stem_of(image.name).endswith(
        stem_of(ours)) for ours, image in matched.items())
    namesakes = Counter(osp.basename(stem_of(name)) for name in wanted)
    for ours, image in matched.items():
        is_doubtful = not (has_folders or image.is_our_name
                           or image.name == ours) and namesakes[
                               osp.basename(stem_of(ours))] > 1
        if ours not in wanted:
            result.not_asked.append(ours)
        elif image.problem:
            result.problems[ours] = image.problem
        elif is_doubtful:
            result.problems[ours] = 'photos of several folders have this ' \
                'name, and the export has no folders: export them as well ' \
                '(rel_dir of FiftyOne)'
        elif image.is_finished is False:
            result.unfinished.append(ours)
        else:
            boxes, is_scaled = _our_boxes(image, ours, sizes[ours], options)
            exact = precision
            if is_scaled:
                result.rescaled.append(ours)
                if not image.is_share:
                    exact *= max(a / b for a, b in zip(sizes[ours],
                                                       image.size))
            if not boxes:
                is_empty = image.is_finished or ours in confirmed or (
                    options.confirm_empty and ours not in request.accepted)
                (result.empty if is_empty else result.may_be_empty).append(
                    ours)
                if not is_empty:
                    continue
            elif all(box_inside((x, y, x + w, y + h), *sizes[ours]) is None
                     for x, y, w, h in (box.bbox for box in boxes)):
                # it would pass for an empty one
                result.problems[ours] = 'none of its boxes is inside the photo'
                continue
            elif not (image.is_finished or options.confirm_unchanged) and any(
                    _are_same(boxes, start, exact)
                    for start in given.get(ours, ())):
                result.unchanged.append(ours)
                continue
            else:
                result.labelled.append(ours)
            new[ours] = boxes
    for ours in confirmed:
        drawn = [box for box in matched[ours].boxes
                 if box.label not in options.ignored] \
            if ours in matched else []
        if drawn:
            raise ValueError(f'{ours} is said to be empty, but the export has '
                             f'{len(drawn)} boxes on it: correct one of the '
                             'two.')
        if ours in wanted and ours not in new:
            new[ours] = []
            result.empty.append(ours)
            result.problems.pop(ours, None)

    header, before = _labels_before(request, set(new), sizes)
    result.content = {**header,
                      **_join(request, new, before, sizes, result)}
    listed = {image['file_name'] for image in result.content['images']}
    for name, why in result.problems.items():
        if name in listed or name in request.accepted:
            result.notes.add(f'photos whose labels of before stay, for {why}',
                             name)
    for names in (result.may_be_empty, result.unchanged, result.unfinished):
        names[:] = [n for n in names if n not in listed]
    result.problems = {n: why for n, why in result.problems.items()
                       if n not in listed}
    known = {*listed, *result.waiting}
    result.missing = [name for name in asked if name not in known]
    accepted = request.accepted
    result.corrected = [n for n in new if n in accepted]
    for names in (result.labelled, result.empty, result.may_be_empty,
                  result.unchanged, result.unfinished):
        names[:] = [n for n in names if n not in accepted]
    result.problems = {n: why for n, why in result.problems.items()
                       if n not in accepted}
    return result


def save_labels(result: ImportResult, request: LabelRequest) -> str:
    """Write the labels where the run looks for them; returns the path."""
    write_json(request.files.labels, result.content)
    return request.files.labels


def match_images(images: Sequence[LabelImage], ours: Sequence[str]
                 ) -> tuple[dict[str, LabelImage], list[str]]:
    """Which of our images each photo of an export is.

    Args:
        images (sequence[LabelImage]): Of the export.
        ours (sequence[str]): File names of the pool.

    Returns:
        tuple[dict[str, LabelImage], list[str]]: Photos by our name; and the
        names of those that are not known, or whose names are several of ours.

    Raises:
        ValueError: If two photos with boxes are one image of ours.
    """
    index = NameIndex(ours, other_folders=True)
    stems = Counter(map(stem_of, ours))
    by_stem = {stem_of(name): name for name in ours
               if stems[stem_of(name)] == 1}
    stem_index = NameIndex(by_stem, other_folders=True)
    # a server that stores uploads keeps no blanks and signs in their names
    stored = Counter(map(_stored_name, by_stem))
    by_stored = {_stored_name(stem): name for stem, name in by_stem.items()
                 if stored[_stored_name(stem)] == 1}
    stored_index = NameIndex(by_stored, other_folders=True)
    exact = set(ours)

    def find(name: str) -> Optional[str]:
        image = index.find(name)
        if image is None:
            image = by_stem.get(stem_index.find(stem_of(name)))
        if image is None:
            image = by_stored.get(stored_index.find(
                _stored_name(stem_of(name))))
        return image

    matched: dict[str, list[LabelImage]] = {}
    unknown = []
    for image in images:
        if image.is_our_name and image.name in exact:
            matched.setdefault(image.name, []).append(image)
            continue
        # an address may have a signature behind the name
        names = [n.partition('?')[0] if '://' in n and '?d=' not in n else n
                 for n in (image.name, *image.other_names)]
        # a name without an ending says least, and counts if no other does
        meant = {find(n) for n in names if is_photo(n)} - {None} or {
            find(n) for n in names} - {None}
        if len(meant) == 1:
            matched.setdefault(meant.pop(), []).append(image)
        else:
            unknown.append(image.name if not meant else
                           f'{image.name} ({some(sorted(meant))} by its '
                           'names)')
    chosen, doubtful = {}, []
    for name, alike in matched.items():
        # a task that was imported twice and labelled once
        done = [i for i in alike if i.is_finished is not False] or alike[:1]
        if len(done) > 1 and any(i.boxes != done[0].boxes for i in done):
            doubtful += [f'{i.name} ({len(i.boxes)} boxes)' for i in done]
        chosen[name] = done[0]
    if doubtful:
        raise ValueError(
            'several photos of the export are the same image of the pool: '
            f'{some(doubtful)}. Keep one of each; photos that were augmented '
            'are no labels, so export without augmentation.')
    return chosen, unknown


def _stored_name(name: str) -> str:
    """A path as a web server stores it: blanks become underscores, and other
    signs than letters, digits, dots, dashes and underscores go."""
    return re.sub(r'[^-\w./]', '', unquote(name).replace(' ', '_'))


def _confirmed_names(given: Collection[str], sizes: Mapping[str, tuple],
                     asked: Collection[str]) -> list[str]:
    """Our names of the photos that people call empty."""
    index = NameIndex(list(sizes), other_folders=True)
    names = {name: index.find(name) for name in given}
    unknown = [name for name, ours in names.items() if ours is None]
    if unknown:
        raise ValueError(f'--confirm-empty names the photos {some(unknown)}, '
                         'which are none of the pool. Those asked for are '
                         f'called {some(asked, 3)}.')
    return list(dict.fromkeys(names.values()))


def _check_classes(export: LabelExport, matched: Mapping[str, LabelImage],
                   ours: Sequence[str], options: ImportOptions) -> None:
    wrong = [name for name in options.renamed.values() if name not in ours]
    if wrong:
        raise ValueError(f'--rename: there are no classes {some(wrong)}, but '
                         f'{some(ours, 10)}.')
    unknown = Counter(
        box.label for image in matched.values() for box in image.boxes
        if options.renamed.get(box.label, box.label) not in ours
        and box.label not in options.ignored)
    if unknown:
        counts = ', '.join(f'{name!r} ({n})' for name, n in
                           unknown.most_common(10))
        raise ValueError(
            f'the export has boxes of classes that the run does not know: '
            f'{counts}. It knows {some(ours, 10)}.'
            f'{spelled_otherwise(unknown, ours)} Say what they are with '
            '--rename THEIRS=OURS, or leave them out with --ignore-class '
            'THEIRS.')


def _our_boxes(image: LabelImage, name: str, size: tuple[int, int],
               options: ImportOptions) -> tuple[list[LabelBox], bool]:
    """Boxes in pixels of our photo, and whether it was shown in another
    size.

    Raises:
        ValueError: If it was shown in another shape.
    """
    width, height = size
    is_scaled = image.size is not None and image.size != size
    if is_scaled and not options.stretched:
        w, h = image.size
        # either side is rounded to a pixel when a photo is resized
        if abs(w * height - h * width) > max(width + height, w + h):
            raise ValueError(
                f'{image.name} was labelled in {w}x{h} pixels, but {name} has '
                f'{width}x{height}, another shape. Export the labels of the '
                'photos as they are: neither turned, cut nor padded. If they '
                'were only stretched, --stretched scales the boxes back.')
    sx, sy = (width, height) if image.is_share else (1., 1.)
    if is_scaled and not image.is_share:
        sx, sy = width / image.size[0], height / image.size[1]
    boxes = []
    for box in image.boxes:
        if box.label in options.ignored:
            continue
        x, y, w, h = box.bbox
        boxes.append(LabelBox(
            options.renamed.get(box.label, box.label),
            (x * sx, y * sy, w * sx, h * sy),
            is_crowd=box.is_crowd and options.crowd != 'boxes'))
    return boxes, is_scaled


def _are_same(boxes: Sequence[LabelBox], start: Sequence[LabelBox],
              exact: float) -> bool:
    """Whether two sets have the same boxes, each side to ``exact`` pixels."""
    if len(boxes) != len(start):
        return False
    left = list(start)
    for box in boxes:
        match = next((other for other in left if other.label == box.label
                      and all(abs(a - b) <= exact
                              for a, b in zip(box.bbox, other.bbox))), None)
        if match is None:
            return False
        left.remove(match)
    return True


def labelled_so_far(request: LabelRequest, pool: CocoData) -> dict[str, int]:
    """The images that the file of labels has labels of, by our name, and how
    many boxes each has.

    Args:
        request (LabelRequest): Whose file it is; it need not exist.
        pool (CocoData): All images of the run.
    """
    sizes = {name: tuple(map(round, size))
             for name, size in zip(pool.file_names, pool.sizes.tolist())}
    index = NameIndex(list(sizes), other_folders=True)
    return {
        index.find(entry['file_name']): len(rows)
        for entry, rows, _ in _labels_before(request, set(), sizes)[1]
    }


def _labels_before(request: LabelRequest, replaced: Collection[str],
                   sizes: Mapping[str, tuple[int, int]]
                   ) -> tuple[dict, list[tuple[dict, list[dict], list[dict]]]]:
    """What the file of labels says: its header; and of each other photo the
    entry, its annotations, and the categories that their numbers mean."""
    path = request.files.labels
    if not osp.exists(path):
        return {}, []
    index = NameIndex(list(sizes), other_folders=True)
    coco = load_coco(path, read_size=lambda name: sizes.get(
        index.find(name), 'no image of the pool has this name'))
    may_be_empty = coco.header.get('confirm_empty') is True
    by_image = group_by_image(coco.annotations_of(coco.ids))
    return coco.header, [
        (entry, by_image.get(i, []), coco.categories)
        for i, entry in coco.images.items()
        if index.find(entry['file_name']) not in replaced
        and (may_be_empty or i in by_image)
    ]


def _join(request: LabelRequest, new: Mapping[str, Iterable[LabelBox]],
          before: Sequence[tuple[dict, list[dict], list[dict]]],
          sizes: Mapping[str, tuple[int, int]],
          result: ImportResult) -> dict:
    """The file of labels: the new ones, and what was there before."""
    builder = CocoBuilder('the export', result.notes)
    categories = [dict(c) for c in request.images.categories]
    ids = {c['name']: c['id'] for c in categories}
    for name, boxes in new.items():
        entry = builder.add_image(name, *sizes[name])
        for box in boxes:
            x, y, w, h = box.bbox
            builder.add_box(entry, ids[box.label], (x, y, x + w, y + h), name,
                            int(box.is_crowd))
            result.crowd += box.is_crowd
    for a in builder.annotations:
        # what comes of percents and shares is not exact to the last digit
        a['bbox'] = [round(v, 6) for v in a['bbox']]
        a['area'] = round(a['area'], 6)
    content = builder.finish(categories)
    content['confirm_empty'] = True  # whatever is listed was confirmed
    free = max((c['id'] for c in categories if isinstance(c['id'], int)),
               default=0) + 1
    for number, (image, rows, theirs) in enumerate(
            before, len(builder.images) + 1):
        content['images'].append({**image, 'id': number})
        names = {c['id']: c['name'] for c in theirs}
        for a in rows:
            name = names[a['category_id']]
            if name not in ids:
                ids[name], free = free, free + 1
                content['categories'].append(dict(id=ids[name], name=name))
            content['annotations'].append({
                **a, 'id': len(content['annotations']) + 1,
                'image_id': number, 'category_id': ids[name]})
    return content
