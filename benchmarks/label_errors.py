"""How many planted label errors stand first in a ranking, beside cleanlab's.

Of the boxes of a data set 5% are dropped, another 5% get another class, and
another 5% are moved by a quarter to a half of their width and height. One
detector is trained on half of the images, with their errors; its detections on
all images are kept in --work-dir, so that rankings are compared again in
seconds. The table has the precision of each ranking at 20, 50 and 100: for
images that the detector was not trained on, as the images that a run chose are
for the detector that chose them, and for those that it was trained on.

A suspect counts if it is the planted error: the box that was moved or got
another class, or, for a dropped box, a detection that overlaps it by at least
half and has its class. Labels of real data have errors of their own, which
count as none: precision is a lower bound. With --influence the boxes that the
detector was trained on are ranked by their influence on the loss of the
validation images as well, which tells no kinds apart.

    MMAL_DATA_ROOT=/data python benchmarks/label_errors.py bccd voc07

cleanlab's "best thresholds" are those of its thresholds of scores, tried from
0.2 to 0.7, that have the highest precision at 50: a choice that only the
planted errors tell. Without cleanlab (requirements/benchmarks.txt) its rows
are left out.
"""
import argparse
import importlib.util
import os
import os.path as osp
import subprocess
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from mmal.analysis.finished_round import FinishedRound, find_round
from mmal.analysis.label_errors import box_tables, predict_boxes
from mmal.analysis.label_influence import rank_by_influence
from mmal.engine.settings import Settings, pool_dataset
from mmal.evaluation.label_errors import KINDS, find_suspects
from mmal.fileio import read_json, write_json
from mmal.pool import load_coco

ROOT = osp.normpath(osp.join(osp.dirname(__file__), '..'))
# config, images to train on, iterations, and what makes a training on a CPU
# shorter: smaller images, and a backbone that stays as ImageNet has it
DATA = dict(
    bccd=('configs/al/fcos-lite0_random_bccd.py', 146, 400, []),
    voc07=('configs/al/fcos-lite0_random_voc07mini.py', 1000, 700, [
        'model.backbone.frozen_stages=6',
        *(f'{loader}_dataloader.dataset.pipeline.{resize}.scale=(224,224)'
          for loader, resize in (('train', 2), ('val', 1), ('test', 1)))]))
AT = (20, 50, 100)
# Of given boxes, for rankings that tell no kinds apart. The names of both
# kinds are in it.
EITHER = 'class or badly placed'
# of scores, for cleanlab
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', nargs='+', choices=DATA)
    parser.add_argument('--rate', type=float, default=0.05,
                        help='share of the boxes for each kind (default: '
                        '0.05)')
    parser.add_argument('--seed', type=int, default=0,
                        help='of the errors (default: 0)')
    parser.add_argument('--influence', type=int, metavar='N',
                        help='rank what was trained on by influence as well, '
                        'with N images in the Hessian (default: not)')
    parser.add_argument('--work-dir', default='work_dirs/label_errors')
    parser.add_argument('--json', help='where all numbers go')
    return parser.parse_args()


def plant_errors(coco: dict, rate: float, seed: int) -> tuple[dict, list]:
    """Drop, rename and move some boxes.

    Args:
        coco (dict): A COCO file; crowds stay as they are.
        rate (float): Share of the boxes for each kind of error, in [0, 1/3].
        seed (int): Of the choice.

    Returns:
        tuple[dict, list[dict]]: The file with the errors, and of each error
        ``kind``, ``image_id``, ``annotation`` (id), and the true
        ``category_id`` and ``bbox``.
    """
    generator = np.random.default_rng(seed)
    size = {i['id']: (i['width'], i['height']) for i in coco['images']}
    classes = [c['id'] for c in coco['categories']]
    given = [a for a in coco['annotations'] if not a.get('iscrowd')]

    # every box moved, towards the side where the image goes on
    corner, side = np.split(np.array([a['bbox'] for a in given], float), 2, 1)
    end = np.array([size[a['image_id']] for a in given]) - side
    step = generator.uniform(0.25, 0.5, side.shape) * side
    forward = generator.random(side.shape) < 0.5
    forward = np.where(corner + step > end, False, forward)
    forward = np.where(corner - step < 0, True, forward)
    moved = np.clip(np.where(forward, corner + step, corner - step), 0,
                    end.clip(min=0))
    # one that fills its image cannot move, and is no error
    shared = (side - abs(moved - corner)).clip(min=0).prod(1)
    is_wrong = shared / (2 * side.prod(1) - shared) < 0.5

    number, order = round(rate * len(given)), generator.permutation(len(given))
    chosen = {'badly placed': order[is_wrong[order]][:number]}
    left = order[~np.isin(order, chosen['badly placed'])]
    chosen |= {'overlooked': left[:number], 'class': left[number:2 * number]}
    changed, errors = {}, []
    for kind in KINDS:
        for i in chosen[kind]:
            old, new = given[i], dict(given[i])
            if kind == 'class':
                new['category_id'] = int(generator.choice(
                    [c for c in classes if c != old['category_id']]))
            elif kind == 'badly placed':
                new['bbox'] = [*moved[i].round(2).tolist(),
                               *side[i].tolist()]
            changed[old['id']] = None if kind == 'overlooked' else new
            errors.append(dict(
                kind=kind, image_id=old['image_id'], annotation=old['id'],
                category_id=old['category_id'], bbox=old['bbox']))
    kept = (changed.get(a['id'], a) for a in coco['annotations'])
    return dict(coco, annotations=[a for a in kept if a]), errors


def prepare(name: str, args: argparse.Namespace) -> tuple:
    """Plant errors, train and predict, whatever of it is not done yet.

    Returns:
        tuple: The labels with errors, the errors, all predictions, and the
        round with the detector.
    """
    folder = osp.join(args.work_dir, f'{name}_{args.rate:g}_{args.seed}')
    noisy, planted, predicted = (osp.abspath(osp.join(folder, f'{n}.json'))
                                 for n in ('noisy', 'errors', 'predictions'))
    config, size, iterations, options = DATA[name]
    if not osp.exists(planted):
        os.makedirs(folder, exist_ok=True)
        root = os.environ.get('MMAL_DATA_ROOT', 'data')
        coco, errors = plant_errors(
            read_json(osp.join(root, name, 'pool.json')), args.rate,
            args.seed)
        write_json(noisy, coco)
        write_json(planted, errors)
    run = osp.join(folder, 'run')
    if not osp.exists(predicted):
        subprocess.run([
            sys.executable, 'tools/al_train.py', config, '--resume',
            '--work-dir', osp.abspath(run), '--cfg-options',
            f'active_learning.data.ann_file={noisy}',
            f'active_learning.initial.size={size}',
            'active_learning.rounds=1',
            f'train_cfg.max_iters={iterations}',
            f'train_cfg.val_interval={iterations}',
            f'param_scheduler.1.end={iterations}',
            f'param_scheduler.1.T_max={iterations - 30}', *options
        ], cwd=ROOT, check=True)
        this = find_round(run)
        cfg = this.run_config()
        coco = load_coco(noisy)
        write_json(predicted, predict_boxes(
            this, pool_dataset(cfg, Settings.from_config(cfg)), coco,
            coco.ids))
    return (load_coco(noisy), read_json(planted), read_json(predicted),
            find_round(run))


def our_rankings(coco, ids: list, rows: list) -> dict:
    """Kind -> (value, annotation or None, COCO result), best first."""
    given, predicted, annotations = box_tables(coco, ids, rows)
    found = find_suspects(given, predicted)
    rankings = {kind: [(value, annotations[g] if g >= 0 else None, rows[p])
                   for value, g, p in zip(*(c.tolist() for c in (
                       found.of(kind).values, found.of(kind).given,
                       found.of(kind).predicted)))] for kind in KINDS}
    # a box that is there with both kinds counts with the likelier one
    both = {}
    for suspect in sorted(rankings['class'] + rankings['badly placed'],
                          key=lambda r: -r[0]):
        both.setdefault(suspect[1]['id'], suspect)
    return {**rankings, EITHER: list(both.values())}


def influence_rankings(this: FinishedRound, images: int) -> dict:
    """Kind -> (value, annotation, None) of what was trained on: influence
    tells no kinds apart, and ranks given boxes alone."""
    path = osp.join(this.run, f'influence_{images}.json')
    if not osp.exists(path):
        write_json(path, [[box.value, box.annotation_id]
                          for box in rank_by_influence(this.run, images)])
    ranking = [(value, dict(id=annotation), None)
               for value, annotation in read_json(path)]
    return dict.fromkeys(('class', 'badly placed', EITHER), ranking)


def cleanlab_rankings(coco, ids: list, rows: list) -> dict:
    """Name of the thresholds -> the same of cleanlab.

    It knows no crowd regions: it is shown neither these nor what is predicted
    inside them. Its thresholds of scores, by default 0.95 and 0.5, are made
    for softmax; the scores of FCOS seldom reach them. So it is asked with
    others too.
    """
    from cleanlab.object_detection import rank
    place = {c['id']: n for n, c in enumerate(coco.categories)}
    by_image = {i: [] for i in ids}
    for row in rows:
        by_image[row['image_id']].append(row)
    labels, predictions, given, ordered = [], [], [], []

    def corners(boxes: list) -> np.ndarray:
        boxes = np.array([b['bbox'] for b in boxes], float).reshape(-1, 4)
        return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])

    for image in ids:
        annotations = coco.annotations_of([image])
        crowds = corners([a for a in annotations if a.get('iscrowd')])
        boxes = [a for a in annotations if not a.get('iscrowd')]
        found = corners(by_image[image])
        inner = (np.minimum(found[:, None, 2:], crowds[None, :, 2:]) -
                 np.maximum(found[:, None, :2], crowds[None, :, :2])).clip(
                     min=0).prod(-1)
        area = (found[:, 2:] - found[:, :2]).prod(-1)
        kept = ~(inner > 0.5 * area[:, None]).any(1)
        # below all thresholds a prediction counts for nothing
        left = [r for r, keep in zip(by_image[image], kept)
                if keep and r['score'] >= min(THRESHOLDS)]
        classes = [[r for r in left if place[r['category_id']] == n]
                   for n in range(len(place))]
        labels.append(dict(
            bboxes=corners(boxes),
            labels=np.array([place[a['category_id']] for a in boxes], int)))
        by_class = np.empty(len(place), object)
        for n, own in enumerate(classes):
            by_class[n] = np.hstack([corners(own), np.array(
                [r['score'] for r in own], float).reshape(-1, 1)])
        predictions.append(by_class)
        given.append(boxes)
        ordered.append([r for own in classes for r in own])
    # it cannot take images without labels or predictions
    usable = [n for n in range(len(ids)) if given[n] and ordered[n]]
    labels, predictions, given, ordered = (
        [column[n] for n in usable]
        for column in (labels, predictions, given, ordered))
    alpha = 0.9  # its default; the IoUs are computed once
    auxiliary = dict(
        alpha=alpha,
        auxiliary_inputs=rank._get_valid_inputs_for_compute_scores(
            alpha, labels, predictions))
    of_thresholds = {}
    for low, high in [(0.5, 0.95), *((t, t) for t in THRESHOLDS)]:
        rankings = {}
        for kind, scores in zip(KINDS, (
                rank.compute_overlooked_box_scores(
                    high_probability_threshold=high, **auxiliary),
                rank.compute_swap_box_scores(
                    high_probability_threshold=high, **auxiliary),
                rank.compute_badloc_box_scores(
                    low_probability_threshold=low, **auxiliary))):
            ranking = []
            for n, of_image in enumerate(scores):
                for m, score in enumerate(of_image):
                    if np.isfinite(score):
                        ranking.append((-score, None, ordered[n][m])
                                       if kind == 'overlooked' else
                                       (-score, given[n][m], None))
            rankings[kind] = sorted(ranking, key=lambda r: -r[0])
        of_thresholds[low, high] = rankings
    return of_thresholds


def hits(ranking: list, kind: str, errors: list) -> np.ndarray:
    """Which of the suspects are planted errors of the kind, each counted
    once."""
    own = [e for e in errors if e['kind'] in kind]
    if kind != 'overlooked':
        planted = {e['annotation'] for e in own}
        return np.array([a['id'] in planted for _, a, _ in ranking], bool)
    dropped = {}
    for error in own:
        dropped.setdefault((error['image_id'], error['category_id']),
                           []).append(np.array(error['bbox']))
    out = np.zeros(len(ranking), bool)
    for n, (_, _, row) in enumerate(ranking):
        boxes = dropped.get((row['image_id'], row['category_id']), [])
        box = np.array(row['bbox'])
        for m, other in enumerate(boxes):
            shared = (np.minimum(box[:2] + box[2:], other[:2] + other[2:]) -
                      np.maximum(box[:2], other[:2])).clip(min=0).prod()
            if shared >= 0.5 * (box[2:].prod() + other[2:].prod() - shared):
                out[n] = True
                del boxes[m]
                break
    return out


def main() -> None:
    args = parse_args()
    has_cleanlab = importlib.util.find_spec('cleanlab') is not None
    if not has_cleanlab:
        print('cleanlab is not installed: its rows are left out.')
    results = []
    for name in args.data:
        coco, errors, rows, this = prepare(name, args)
        trained = set(this.labelled().ids)
        for seen in (False, True):
            ids = [i for i in coco.ids if (i in trained) is seen]
            wanted = set(ids)
            own = [r for r in rows if r['image_id'] in wanted]
            planted = [e for e in errors if e['image_id'] in wanted]
            table = Table(title=f'{name}: {len(ids):,} images that the '
                          f'detector was {"" if seen else "not "}trained on')
            for column in ('kind', 'planted', 'ranking',
                           *(f'precision at {n}' for n in AT)):
                table.add_column(column, justify='right')
            rankings = {'mmal': our_rankings(coco, ids, own)}
            if seen and args.influence:
                rankings['influence'] = influence_rankings(
                    this, args.influence)
            others = cleanlab_rankings(coco, ids, own) if has_cleanlab else {}
            for kind in (*KINDS, EITHER):
                number = sum(e['kind'] in kind for e in planted)
                precisions = {}
                for method, ranking in {**rankings, **others}.items():
                    if kind not in ranking:
                        continue
                    right = hits(ranking[kind], kind, planted)
                    precisions[method] = [right[:n].sum() / n for n in AT]
                if others and kind in KINDS:
                    precisions['cleanlab'] = precisions[0.5, 0.95]
                    # the best at 50, which nobody knows who has no truth
                    best = max(others, key=lambda o: precisions[o][1])
                    precisions['cleanlab, best thresholds'] = precisions[best]
                    for key in others:
                        del precisions[key]
                for method, precision in precisions.items():
                    results.append(dict(
                        data=name, seen=seen, kind=kind, method=method,
                        planted=number, precision=precision))
                    table.add_row(kind, str(number), method,
                                  *(f'{p:.2f}' for p in precision))
            Console(width=100).print(table)
    if args.json:
        write_json(args.json, results, indent=1)


if __name__ == '__main__':
    main()
