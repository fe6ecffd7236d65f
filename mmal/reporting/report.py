"""``report.html``: one page that shows what a run did."""
from __future__ import annotations

import base64
import json
import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional
from urllib.parse import quote

import jinja2
import numpy as np

from mmal.colours import class_colours, hexadecimal
from mmal.evaluation.forecast import MIN_ROUNDS, forecast_curve
from mmal.fileio import write_text
from mmal.pool.layout import WorkDir
from mmal.pool.names import is_inside
from .baseline import Baseline, read_baseline
from .charts import (
    balance_chart,
    boxes_chart,
    class_metric_chart,
    curve_charts,
    map_chart,
    merged_charts,
    score_chart,
    time_chart,
)
from .curve import AXES, Curve
from .merged import MergedCurve
from .number_table import NumberTable
from .page_options import PageOptions, from_work_dir
from .plots import draw_curves, plot_curves
from .reasons import how_chosen, reason, score_name
from .tables import amount, drawn_at_random, duration, number, round_rows
from .thumbnails import make_thumbnails
from .vega import MISSING, vega_scripts
from .work_folder import FIRST_SET, Chosen, Contents, read_work_folder

# Characters of a page: boxes that do not fit are left out, and pictures go
# beside it.
LARGEST_PAGE = 4_900_000
# Those of the page's own texts and tables, and of the addresses of an image.
_FRAME, _ADDRESSES = 60_000, 150
# Predictions are many and mostly unsure.
_LEAST_SCORE = 0.05

_TEMPLATES = osp.join(osp.dirname(osp.abspath(__file__)), 'templates')
_ENDINGS = {
    'rounds': 'all rounds are done',
    'target': 'the target is reached',
    'exhausted': 'every image of the pool is labelled',
    'rule': 'a rule of active_learning.stop ended it',
    None: 'not finished yet'
}


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side, for a tab of the page.

    Args:
        curves (sequence[MergedCurve]): The methods.
        tables (dict[str, NumberTable]): See
            :func:`~mmal.reporting.merged_tables`.
        notes (sequence[str]): What a reader must know of the runs.
    """
    curves: Sequence[MergedCurve]
    tables: dict[str, NumberTable]
    notes: Sequence[str] = ()


def write_report(work_dir: str,
                 img_prefix: Optional[str] = None,
                 outside_images: bool = False,
                 comparison: Optional[Comparison] = None,
                 baseline: Optional[Sequence[str]] = None,
                 map_kind: Optional[str] = None) -> str:
    """Write ``report.html`` and ``curve.png`` into a work folder.

    The page is one file that works offline, and is kept at 5 MB: boxes of the
    chosen images that do not fit are left out, the least sure predictions
    first, then the parts of their scores; small pictures that do not fit are
    files in ``report_files`` beside it. Names, scores and reasons of the
    images and the charts are always there: where tens of thousands of images
    were chosen, these alone take more. The page depends on the files of the
    folder and on the images alone. Whatever is missing is left out.

    Args:
        work_dir (str): The work folder of a run, finished, waiting or not.
        img_prefix (str, optional): Folder of the pool's images. Default:
            ``img_prefix`` of ``curve.json``, or what the config says; without
            any the page has no pictures of images.
        outside_images (bool): Show also images whose names lead out of that
            folder (absolute ones, or with ``..``). Names come from the COCO
            file, which may be another person's, and the page may be sent to
            others: by default such an image is listed by its name alone.
        comparison (Comparison, optional): This run and others.
        baseline (sequence[str], optional): Work folders of runs whose mean
            curve is drawn beside the run's own; empty for none. It is kept
            in ``report.json``, by which the run makes its page again.
            Default: what is kept there.
        map_kind (str, optional): How embeddings are laid out, 'pca',
            'umap' or 'tsne'; kept and found likewise.

    Returns:
        str: The path of the page.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no such map.
        OSError: If the page cannot be written.
    """
    work = WorkDir(work_dir)
    problems = []
    try:
        options = kept = PageOptions.load(work)
    except (OSError, ValueError) as e:  # whoever asks anew puts it right
        options, kept = PageOptions(), None
        # no page says where the folder is
        problems = [f'{osp.basename(work.report_options)}: ' +
                    str(e).replace(osp.join(work.path, ''), '')]
    if baseline is not None:
        options = replace(options, baseline=from_work_dir(baseline, work))
    if map_kind is not None:
        options = replace(options, map=map_kind)
    contents = read_work_folder(work_dir, options.map)
    if options != kept and (baseline is not None or map_kind is not None):
        options.save(work)
    else:
        contents.problems += problems
    if len(contents.curve):
        plot_curves(contents.curve, work.curve_picture)
    metrics = [name for name in contents.curve.shown
               if contents.curve.series(metric=name)[1]]
    write_text(work.report, render(
        contents, work, img_prefix, outside_images, comparison,
        read_baseline(work, options.folders(work), metrics)))
    return work.report


def render(contents: Contents,
           work: WorkDir,
           img_prefix: Optional[str] = None,
           outside_images: bool = False,
           comparison: Optional[Comparison] = None,
           baseline: Optional[Baseline] = None) -> str:
    """The page as text; see :func:`write_report`."""
    baseline = baseline or Baseline((), {})
    curve = contents.curve
    scripts = vega_scripts()
    images = _gallery(contents)
    gallery = dict(classes=[
        dict(name=name, colour=hexadecimal(colour)) for name, colour in zip(
            contents.classes, class_colours(len(contents.classes)))],
        scoreName=score_name(contents.method), images=images)
    forecasts = _forecasts(curve) if scripts else {}
    charts = _charts(contents, images, forecasts, comparison,
                     baseline) if scripts else {}
    budget = LARGEST_PAGE - len(scripts or '') - len(_json(charts)) - \
        _FRAME - _ADDRESSES * len(images)
    left_out = _leave_out(images, gallery, budget)
    img_prefix = img_prefix or curve.img_prefix or contents.img_prefix
    outside = _add_pictures(images, work, img_prefix, outside_images,
                            budget - len(_json(gallery)))

    # The learner collects the notes of the queries in the curve; a note is
    # shown from its query where the curve was lost.
    notes = [curve.note] if curve.note else []
    notes += [f'Round {query.round}: {query.note}'
              for query in contents.chosen
              if query.note and query.note not in curve.note]
    notes += [f'Could not be read: {p}' for p in contents.problems]
    notes += baseline.notes
    if contents.map and contents.map.points.note:
        notes.append('The map is of principal components: '
                     f'{contents.map.points.note}')
    notes += left_out
    if outside:
        notes.append(f'{amount(outside, "image")} not shown: by name they are '
                     f'outside of the image folder {img_prefix}. '
                     'mmal report --outside-images shows them.')
    missing = sum('small' not in image for image in images) - outside
    if missing:
        notes.append(
            ('No image could' if missing == len(images) else
             f'{amount(missing, "image")} could not') + ' be read' +
            (f' in {img_prefix}' if img_prefix else '') +
            ': say where they are with mmal report --img-prefix.')
    if not scripts:
        notes.append(MISSING)

    # names of files and classes come from others: they are escaped, and a
    # name that the template misspells is an error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined)
    header, rows = round_rows(curve)
    picture = None
    if len(curve) and not scripts:
        picture = ('data:image/png;base64,' +
                   base64.b64encode(draw_curves(curve)).decode())
    return environment.get_template('report.html').render(
        name=contents.name,
        state=_state(contents),
        summary=summarise(curve),
        tiles=_tiles(contents),
        notes=notes,
        untimed=[r.round for r in curve.records if r.train_seconds is None],
        forecast=bool(forecasts),
        baseline=[run.name for run in baseline.runs] if baseline.curves
        else [],
        map_text=contents.map.points.text if contents.map else '',
        waits_for=len(contents.waits_for),
        waits_with_boxes=any('seen' in i and 'waits' in i for i in images),
        request=contents.request,
        labels=contents.labels,
        picture=picture,
        header=header,
        rows=rows,
        queries=_queries(contents),
        chart_names={name: list(by) for name, by in charts.items()},
        unreadable=contents.unreadable,
        settings=contents.settings,
        score_name=score_name(contents.method),
        pool_is_counted=any(query.pool for query in contents.chosen),
        images=len(images),
        comparison=comparison,
        amount=amount,
        data=_json(dict(gallery, charts=charts)),
        scripts=scripts)


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
    ending = _ENDINGS.get(curve.stopped, str(curve.stopped))
    text = '; '.join([*parts, ending]) + '.'
    return ' '.join(filter(None, (text, drawn_at_random(curve))))


def _from_to(first: str, last: str) -> str:
    return last if first == last else f'{first.split()[0]} → {last}'


def _state(contents: Contents) -> tuple[str, str]:
    """A word for the style, and what a reader sees."""
    stopped = contents.curve.stopped
    if stopped is not None:
        return 'finished', f'Finished: {_ENDINGS.get(stopped, stopped)}'
    if contents.waits_for:
        return 'waiting', ('Waits for the labels of '
                           f'{amount(len(contents.waits_for), "image")}')
    return 'open', 'Not finished yet'


def _tiles(contents: Contents) -> list[tuple[str, str, str]]:
    """Name, value and what it was before, of the numbers at the top."""
    records = contents.curve.records
    if not records:
        return []
    first, last = records[0], records[-1]
    tiles = [('round' if len(records) == 1 else 'rounds',
              f'{len(records):,}', '')]
    for name, before, now in (('labelled images', first.images, last.images),
                              ('labelled boxes', first.boxes, last.boxes)):
        tiles.append((name, f'{now:,}', f'from {before:,}'
                      if now != before else ''))
    if last.hours is not None:
        tiles.append(('hours of labelling', number(last.hours, 1), ''))
    metric = contents.curve.shown[0]
    values = contents.curve.series(metric=metric)[1]
    if values:
        tiles.append((metric, number(values[-1], 3), f'from {values[0]:.3f}'
                      if len(values) > 1 else ''))
    seconds = [s for r in records for s in (r.train_seconds, r.query_seconds)
               if s is not None]
    if seconds:
        # a training that was interrupted and resumed has no time
        unknown = sum(r.train_seconds is None for r in records)
        tiles.append(('computing', duration(sum(seconds)),
                      f'without {amount(unknown, "training")} of unknown time'
                      if unknown else ''))
    return tiles


def _queries(contents: Contents) -> list[dict[str, Any]]:
    """What each query chose, as rows of a table."""
    rows = []
    for query in contents.chosen:
        kinds = Counter(how_chosen(image, query, contents.method)
                        for image in query.images)
        rows.append(dict(
            round=query.round, is_first=query.round == FIRST_SET,
            candidates=query.scores.candidates if query.scores else None,
            images=len(query.images), method=kinds['method'],
            random=kinds['random'], reselected=kinds['reselected'],
            boxes=query.boxes, classes=query.classes[:20],
            more=max(0, len(query.classes) - 20)))
    return rows


def _gallery(contents: Contents) -> list[dict[str, Any]]:
    """Every chosen image as the page shows it; boxes are lists of the class'
    number and ``x, y, w, h``, predictions with a score after these."""
    position = {name: i for i, name in enumerate(contents.classes)}

    def box_of(name: str, box: Any) -> Optional[list]:
        try:
            values = [round(float(v), 1) for v in box]
        except (TypeError, ValueError, OverflowError):
            return None
        if len(values) != 4 or not all(abs(v) < 1e7 for v in values):
            return None
        return [position.get(name, -1),
                *(int(v) if v == int(v) else v for v in values)]

    images = []
    waits = set(contents.waits_for)
    for query in contents.chosen:
        for n, image in enumerate(query.images, 1):
            entry = dict(
                id=image.id, name=image.file_name, round=query.round, pick=n,
                how=how_chosen(image, query, contents.method),
                why=reason(image, n, query, contents.method))
            if image.score is not None:
                entry['score'] = float(f'{image.score:.5g}')
            if image.id in waits:
                entry['waits'] = True
            if query.scores and query.scores.parts.get(image.id):
                entry['parts'] = [
                    [name, float(f'{value:.4g}')]
                    for name, value in query.scores.parts[image.id]]
            if image.size:
                entry['size'] = list(image.size)
            if image.labels is not None:
                entry['truth'] = [b for name, box in image.labels
                                  if (b := box_of(name, box))]
            if image.predictions is not None:
                entry['seen'] = [
                    [*b, round(p.score, 3),
                     *([[float(f'{v:.3g}') for v in p.std]] if p.std else [])]
                    for p in image.predictions if p.score >= _LEAST_SCORE
                    and (b := box_of(p.name, p.box))]
            images.append(entry)
    return images


def _leave_out(images: list[dict], gallery: dict, budget: int) -> list[str]:
    """Leave out boxes that make the page too large: all images keep equally
    many, labelled ones before predictions, the surest of these. Where no box
    fits the parts of the scores are left out too.

    Args:
        images (list[dict]): Those of the gallery; one that loses boxes says
            how many as ``cut``.
        gallery (dict): What the page gets, with these images.
        budget (int): Characters that the gallery and the pictures may take.

    Returns:
        list[str]: Sentences on what is left out.
    """
    boxes = [[*image.get('truth', ()), *image.get('seen', ())]
             for image in images]
    # lengths[n]: characters of the nth boxes of all images
    lengths = np.zeros(max(map(len, boxes), default=0), dtype=np.int64)
    for of_image in boxes:
        lengths[:len(of_image)] += np.array(
            [len(_json(box)) + 1 for box in of_image], dtype=np.int64)
    # pictures need the larger part of what the list of the images leaves
    others = len(_json(gallery)) - int(lengths.sum())
    most = int((lengths.cumsum() <= (budget - others) // 3).sum())
    for image, of_image in zip(images, boxes):
        if len(of_image) > most:
            image['cut'] = len(of_image) - most
            if 'seen' in image:
                image['seen'] = image['seen'][
                    :max(0, most - len(image.get('truth', ())))]
            if 'truth' in image:
                image['truth'] = image['truth'][:most]
    notes = []
    before = sum(map(len, boxes))
    cut = sum(image.get('cut', 0) for image in images)
    if cut:
        notes.append(f'The gallery has {before - cut:,} of '
                     f'{amount(before, "box")}, or this page would be too '
                     'large: of an image the least sure predictions are left '
                     'out first.')
    if others > budget and any('parts' in image for image in images):
        for image in images:
            image.pop('parts', None)
        notes.append('The parts of the scores are left out, or this page '
                     'would be too large.')
    return notes


def _add_pictures(images: list[dict], work: WorkDir,
                  img_prefix: Optional[str], outside_images: bool,
                  budget: int) -> int:
    """Give each image its small picture, and the way to the image itself.

    Returns:
        int: How many are not shown, since their names lead out of the folder.
    """
    if img_prefix is None:
        return 0
    outside, paths = 0, {}
    for n, image in enumerate(images):
        if not image['name']:
            continue
        path = osp.join(img_prefix, image['name'])
        if outside_images or is_inside(path, img_prefix):
            paths[n] = path
        else:
            outside += 1
    sizes = {path: tuple(images[n]['size']) for n, path in paths.items()
             if 'size' in images[n]}
    thumbnails = make_thumbnails(list(paths.values()), work.report_pictures,
                                 budget, sizes)
    for n, path in paths.items():
        thumbnail = thumbnails.get(path)
        if thumbnail is None:
            continue
        images[n].update(small=thumbnail.address, size=list(thumbnail.size))
        try:
            # from the page, so that both can move together
            way = osp.relpath(path, work.path).replace(os.sep, '/')
        except ValueError:  # on another drive
            continue
        images[n]['full'] = quote(way, errors='surrogateescape')
    return outside


def _charts(contents: Contents, images: Sequence[dict],
            forecasts: dict[str, dict[str, list[float]]],
            comparison: Optional[Comparison],
            baseline: Baseline) -> dict[str, dict[str, Any]]:
    """Specifications by place, and by what can be chosen there."""
    curve, classes = contents.curve, contents.classes
    charts: dict[str, dict[str, Any]] = dict(
        curve=curve_charts(curve, forecasts, baseline.curves))
    if comparison:
        charts['compare'] = merged_charts(comparison.curves)
    charts['class_ap'] = {'': class_metric_chart(curve, classes)}
    charts['class_boxes'] = {'': boxes_chart(contents.boxes_of_rounds,
                                             classes)}
    charts['balance'] = _balance_charts(contents)
    charts['scores'] = {
        f'round {query.round}': score_chart(query.scores,
                                            score_name(contents.method))
        for query in reversed(contents.chosen)
        if query.scores and contents.method.scorer != 'RandomScorer'}
    charts['map'] = {'': _map(contents, images)}
    charts['time'] = {'': time_chart(curve)}
    # nothing to show, nothing to choose
    charts = {name: {by: spec for by, spec in choices.items() if spec}
              for name, choices in charts.items()}
    return {name: choices for name, choices in charts.items() if choices}


def _forecasts(curve: Curve) -> dict[str, dict[str, list[float]]]:
    """What the first metric will be, up to twice the last cost, by axis; empty
    where the rounds are too few, or the metric is none in [0, 1]."""
    forecasts = {}
    for by in AXES:
        costs, values = curve.series(by, curve.shown[0])
        if len(costs) < MIN_ROUNDS:
            continue
        try:
            forecasts[by] = forecast_curve(
                costs, values, np.linspace(costs[-1], 2 * costs[-1], 25))
        except ValueError:  # its message is for who asks for the forecast
            continue
    return forecasts


def _balance_charts(contents: Contents) -> dict[str, Optional[dict]]:
    """Boxes by class, of each query that counted those of the pool, the
    newest first, and of all queries."""
    classes, boxes = contents.classes, contents.boxes_of_rounds
    charts = {}
    for query in reversed(contents.chosen):
        if query.pool is None:
            continue
        predicted, labelled = _chosen_counts([query], classes)
        pool = f'{amount(query.pool.images, "candidate")}, as predicted'
        charts[f'round {query.round}'] = balance_chart({
            **({'labelled before': boxes[query.round]}
               if query.round < len(boxes) else {}),
            pool: [query.pool.boxes.get(c, 0.0) for c in classes],
            'chosen, as predicted': predicted,
            'chosen, as labelled': labelled}, classes, grey=pool)
    predicted, labelled = _chosen_counts(contents.chosen, classes)
    charts['all rounds' if charts else ''] = balance_chart({
        **({'first labelled set': boxes[0]} if boxes else {}),
        'chosen, as predicted': predicted,
        'chosen, as labelled': labelled,
        **({'all labelled': contents.boxes} if any(labelled) else {})},
        classes)
    return charts


def _chosen_counts(queries: Sequence[Chosen], classes: Sequence[str]
                   ) -> tuple[list[float], list[int]]:
    """Boxes by class on chosen images, as predicted (the sums of the scores)
    and as labelled.

    Both are of the same images: those that have predictions and labels by
    now. While none of them is labelled the first is of all that have
    predictions.
    """
    images = [image for query in queries for image in query.images
              if not image.reselected and image.predictions is not None]
    images = [i for i in images if i.labels is not None] or images
    predicted: Counter = Counter()
    labelled: Counter = Counter()
    for image in images:
        for prediction in image.predictions:
            predicted[prediction.name] += prediction.score
        labelled.update(name for name, _ in image.labels or ())
    return ([predicted[c] for c in classes], [labelled[c] for c in classes])


def _map(contents: Contents, images: Sequence[dict]) -> Optional[dict]:
    pool_map = contents.map
    if pool_map is None:
        return None
    in_gallery = {image['id']: n for n, image in enumerate(images)
                  if image['how'] != 'reselected'}
    groups = pool_map.groups
    points = []
    for image, round, (x, y) in zip(pool_map.ids, pool_map.rounds,
                                    pool_map.points.points.tolist()):
        point = dict(x=float(f'{x:.4g}'), y=float(f'{y:.4g}'),
                     group=groups[round][0], name=str(image))
        if image in in_gallery:
            point['image'] = in_gallery[image]
            point['name'] = images[in_gallery[image]]['name'] or str(image)
        points.append(point)
    return map_chart(points, pool_map.points.axes, list(groups.values()))


def _json(value: Any) -> str:
    """JSON that can stand inside of ``<script>``."""
    # a name may hold </script> or <!--
    return json.dumps(value, separators=(',', ':'), allow_nan=False
                      ).replace('<', '\\u003c')
