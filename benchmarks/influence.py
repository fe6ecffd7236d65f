"""Influences by every solver, by the published algorithm, and the truth.

    python benchmarks/influence.py CONFIG work_dirs/RUN_0/round_03 \
        work_dirs/RUN_1/round_03 work_dirs/RUN_2/round_03 --json out.json

For each trained round of an FCOS (one a seed), in this order:

1. The output layers are trained to the end on the labelled images, in float64,
   with damping / 2 * |theta - theta of the checkpoint|^2, the kinks of GIoU
   rounded off so that there is an end. All that follows uses these layers.
2. The truth: for each of a few pool images, the layers are trained to the end
   once more with this image and its true labels added, and once more with its
   pseudo-labels; it is what the mean loss of the validation images, with no
   kink rounded off, became lower by.
3. Each solver computes s_test as InfluenceScorer does, and so does the
   published algorithm: image by image, each step a full forward pass and two
   backward passes, four repeats, a scale for each layer (100, 8000, 5000).
   Its trunk is frozen and its images are in memory, which is generous.
4. What counts for active learning comes first: what the images are worth that
   each one would have labelled for --boxes boxes, its own labels being pseudo.
   The worth is what retraining with their true labels took off the loss, in
   deviations of random choices above their mean (benchmarks/lift.py does the
   same for a whole pool, with true influences in place of retraining).
5. Then Spearman's rank correlation, over the pool images, of each one's
   influences with those of the exact solution of its own operator (blocks in
   float64), and with the truth. A column names first the labels that the
   influences take, then those of the retraining.

Retraining has two legs; the correlation of what both give tells how far it
can be trusted. That of retraining with pseudo-labels and with true ones tells
how far any influence of pseudo-labels can come.
"""
import argparse
import copy
import json
import os.path as osp
import time
from functools import partial

import numpy as np
import torch
from exact_influence import (
    LAYERS,
    FCOSHeadLoss,
    HeadMatrix,
    joined,
    leave_one_in,
    retrain_head,
)
from lift import lift
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from mmengine.runner import load_checkpoint
from precision import splits_of
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from tqdm import tqdm

from mmal.compat.malloc import keep_freed_memory
from mmal.engine.round_config import test_pipeline
from mmal.engine.settings import Settings, pool_dataset
from mmal.influence import LayerRecorder, image_products
from mmal.influence.vectors import dot, flatten, unflatten
from mmal.models.utils import head_outputs, image_losses
from mmal.pool import load_coco
from mmal.pool.layout import RoundDir
from mmal.randomness import seeded_order
from mmal.scoring import (
    CalibratedInfluenceScorer,
    InfluenceScorer,
    ScoringData,
)
from mmal.scoring.data import Split
from mmal.scoring.detector import (
    predictions,
    pseudo_labels,
    twice_differentiable,
)
from mmal.scoring.isal.adapters import adapter_of

SCALES = (100., 8000., 5000.)
PUBLISHED = 'published algorithm'
DEFAULT = 'Gauss-Newton, BlockCholesky (default)'
NONE = 'none (Gradient Similarity)'
CALIBRATED = 'calibrated'
ORACLE = 'retraining itself'
EXACTLY = 'Gauss-Newton, in float64'
HESSIAN = 'exact, in float64'
DEFAULTS = InfluenceScorer()
DAMPING, BOX_STEP = DEFAULTS.solver.damping, DEFAULTS.box_step
LABELS = ('true', 'pseudo')


def solvers():
    """Name to options of InfluenceScorer."""
    def by(kind, hessian='gauss-newton', **options):
        solver = dict(type=f'mmal.{kind}', damping=DAMPING, **options)
        return dict(hessian=hessian, solver=solver)

    return {
        NONE: dict(solver=dict(type='mmal.Identity')),
        DEFAULT: {},
        'Gauss-Newton, CG, 20 steps': by('ConjugateGradient', max_iters=20),
        'Gauss-Newton, CG, 100 steps': by('ConjugateGradient', max_iters=100),
        'Gauss-Newton, LiSSA, 4 repeats': by('LiSSA', repeats=4),
        'exact, MINRES, 60 steps': by('MINRES', 'exact', max_iters=60),
    }


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of an FCOS')
    parser.add_argument('rounds', nargs='+', help='folders of trained rounds')
    parser.add_argument('--pool', type=int, default=40,
                        help='unlabelled images that are retrained with')
    parser.add_argument('--boxes', type=int,
                        help='that the first table buys; default: a quarter '
                        "of the pool images'")
    parser.add_argument('--normalizer', default='labelled',
                        choices=['labelled', 'image'],
                        help='of all losses, as of InfluenceScorer; the '
                        "published algorithm has the paper's")
    parser.add_argument('--labelled', type=int,
                        help='so many labelled images instead of all')
    parser.add_argument('--reference', type=int,
                        help='so many validation images instead of all')
    parser.add_argument('--damping', type=float, default=0.1,
                        help='of the retraining')
    parser.add_argument('--smoothing', type=float, default=0.01,
                        help='of the kinks of GIoU in training, as a share '
                        'of a box')
    parser.add_argument('--steps', type=int, default=1000,
                        help='of a repeat of the published algorithm')
    parser.add_argument('--repeats', type=int, default=4)
    parser.add_argument('--published-damping', type=float, default=0.01)
    parser.add_argument('--first-iters', type=int, default=500,
                        help='steps of the first training of the layers')
    parser.add_argument('--iters', type=int, default=60,
                        help='steps of each leg of a retraining')
    parser.add_argument('--skip', nargs='*', default=[],
                        help='solvers to leave out, by a part of their names')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', help='where all numbers go')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


class Timed(InfluenceScorer):
    """Keeps what the solver said and how long the reference took."""

    def _reference_gradients(self, *args):
        model, start = args[0], now(args[0])
        found = super()._reference_gradients(*args)
        self.reference_seconds = now(model) - start
        return found

    def prepare(self, model, data):
        original = self.solver.solve

        def solve(*args):
            self.solution = original(*args)
            return self.solution

        self.solver.solve = solve
        super().prepare(model, data)


class Case:
    """A checkpoint with converged output layers, its images and the truth."""

    def __init__(self, args, cfg, folder):
        self.args = args
        self.model = MODELS.build(copy.deepcopy(cfg.model)).eval()
        load_checkpoint(self.model, RoundDir(folder).latest_checkpoint(),
                        map_location='cpu')
        self.model.to(args.device)
        self.layers = [f'bbox_head.{name}' for name in LAYERS]
        self.recorder = LayerRecorder(self.model, self.layers)
        settings = Settings.from_config(cfg)
        splits = splits_of(cfg, load_coco(RoundDir(folder).labelled).ids,
                           None)
        pool = pool_dataset(cfg, settings)
        pool.update(
            ann_file=osp.abspath(pool['ann_file']),
            pipeline=test_pipeline(cfg))
        self.splits = self.few(splits, pool)
        self.means = None
        self.data = self.batches_of(8)
        self.train()

    def few(self, splits, pool):
        """The images of this comparison, pool images with labels too."""
        args = self.args
        sizes = dict(unlabelled=args.pool, labelled=args.labelled,
                     val=args.reference)
        found = {}
        for name, size in sizes.items():
            split = splits[name]
            ids = ScoringData({name: split}, progress=False).ids(name)
            split.ids = seeded_order(ids, 0, 0, name)[:size]
            found[name] = split
        found['pool'] = Split(pool, True, found['unlabelled'].ids)
        return found

    def batches_of(self, size):
        return ScoringData(self.splits, batch_size=size, num_workers=0,
                           progress=False)

    def problem(self, split):
        return self.normalized(FCOSHeadLoss(self.model, (
            (b.inputs, labels_of(b))
            for b in self.data.batches(split, self.model))))

    def normalized(self, problem):
        """A problem, its losses divided by what divides them all."""
        if self.args.normalizer == 'labelled':
            self.means = self.means or problem.means  # the labelled come first
            problem.divide_by(*self.means)
        return problem

    def train(self):
        """Step 1."""
        args = self.args
        self.labelled, self.reference = map(self.problem, ('labelled', 'val'))
        self.rounded = copy.copy(self.labelled)
        self.rounded.smoothing = args.smoothing
        self.centre = theta = self.labelled.theta
        for _ in range(2):  # the second time with factors of the optimum
            self.factors = HeadMatrix(self.rounded,
                                      theta).factors(args.damping)
            self.trained = retrain_head(
                [self.rounded], theta, self.centre, args.damping,
                self.factors, args.first_iters)
            theta = joined(self.trained)
        self.theta = theta
        with torch.no_grad():
            values = unflatten(theta, self.recorder.params)
            for param, value in zip(self.recorder.params, values):
                param.copy_(value)

    def matrix(self, positive=True, box_step=BOX_STEP):
        return HeadMatrix(self.labelled, self.theta, positive, box_step)

    def truth(self):
        """Step 2: {labels: loss taken off [2, pool], after either leg}."""
        found = {labels: [] for labels in LABELS}
        for batch in tqdm(self.batches_of(1).batches('pool', self.model),
                          'retraining', self.args.pool):
            both = labels_of(batch), self.detected(batch)
            for name, labels in zip(LABELS, both):
                image = self.normalized(
                    FCOSHeadLoss(self.model, [(batch.inputs, labels)],
                                 smoothing=self.args.smoothing))
                found[name].append(self.legs(image))
        return {name: np.array(legs).T for name, legs in found.items()}

    def detected(self, batch):
        """Pseudo-labels."""
        with torch.no_grad():
            outputs = head_outputs(self.model, batch.inputs)
        return pseudo_labels(
            predictions(self.model, outputs, batch.samples), 0.1)

    def legs(self, image):
        changes, start = [], None
        for _ in range(2):
            change, start = leave_one_in(
                self.rounded, image, self.reference, self.theta, self.centre,
                self.args.damping, self.factors, self.args.iters, start)
            changes.append(-change)
        return changes

    def counts(self):
        """Boxes of the pool images."""
        return np.array([len(labels) for b in self.data.batches(
            'pool', self.model) for labels in labels_of(b)])

    def gradient(self, share=slice(None)):
        """v in float64."""
        theta = self.theta.clone().requires_grad_()
        loss = self.reference.losses(theta)[share].mean()
        return torch.autograd.grad(loss, theta)[0]

    def reference_loss(self):
        """Of the checkpoint and of the trained layers."""
        with torch.no_grad():
            return [float(self.reference.losses(t).mean())
                    for t in (self.centre, self.theta)]

    def products(self, vectors, labels):
        """Scores [M, pool] of M vectors with true or pseudo-labels."""
        scorer = InfluenceScorer(self.layers)
        scorer.adapter = adapter_of(self.model)
        if self.means is not None:
            positives, centerness = self.means
            scorer.adapter.factors = dict(
                loss_cls=positives, loss_centerness=positives,
                loss_bbox=centerness)
        params = self.recorder.params
        like = [unflatten(v.to(params[0]), params) for v in vectors]
        rows = []
        for batch in self.data.batches('pool', self.model):
            with self.recorder:
                outputs = scorer.adapter.forward(batch)
                if labels == 'true':
                    losses = scorer.adapter.image_losses(
                        outputs, batch.samples, labels_of(batch))
                else:
                    losses, *_ = scorer.adapter.expected_losses(
                        outputs, batch.samples, scorer.rule)
            rows.append(image_products(losses, self.recorder, like).detach())
        return torch.cat(rows).T.double().cpu().numpy()


class Published:
    """The algorithm of the paper, one image at a time."""

    def __init__(self, case):
        self.case, self.args = case, case.args
        self.recorder = case.recorder
        data = case.batches_of(1)
        self.images = {
            split: list(data.batches(split, case.model))
            for split in ('labelled', 'val', 'pool')
        }

    def gradient(self, batch, labels=None, twice=False):
        """Of one image, by a forward pass of its own."""
        model = self.case.model
        with self.recorder:
            with twice_differentiable(model):
                outputs = head_outputs(model, batch.inputs)
                loss, = image_losses(model, outputs, batch.samples,
                                     labels or labels_of(batch))
            return torch.autograd.grad(
                loss, self.recorder.params, create_graph=twice)

    def reference(self):
        total = 0
        for batch in self.images['val']:
            total = total + flatten(self.gradient(batch))
        return total / len(self.images['val'])

    def s_test(self, v):
        """Algorithm 3, its mean over the repeats."""
        sizes = [p.numel() for p in self.recorder.params]
        scale = torch.cat([
            v.new_full((n, ), SCALES[i // 2]) for i, n in enumerate(sizes)
        ])
        return sum(
            self.run(v, scale, repeat)
            for repeat in range(self.args.repeats)) / self.args.repeats

    def run(self, v, scale, repeat):
        generator = torch.Generator().manual_seed(repeat)
        images, x = self.images['labelled'], v
        for _ in tqdm(range(self.args.steps), f'{PUBLISHED}, {repeat}'):
            index = int(torch.randint(
                len(images), (), generator=generator))
            moved = self.hessian_product(images[index], x)
            x = v + (1 - self.args.published_damping) * x - moved / scale
        return x / scale

    def hessian_product(self, batch, x):
        params = self.recorder.params
        with self.recorder.unfrozen():
            grads = self.gradient(batch, twice=True)
        with self.recorder.unfrozen():
            product = dot(grads, unflatten(x, params))
            return flatten(torch.autograd.grad(product, params))

    def score(self, x):
        """Algorithm 1 for every pool image."""
        scores, like = [], unflatten(x, self.recorder.params)
        for batch in self.images['pool']:
            labels = self.case.detected(batch)
            scores.append(float(dot(self.gradient(batch, labels), like)))
        return np.array(scores)


def labels_of(batch):
    return [s.gt_instances for s in batch.samples]


def now(model):
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(model, function, *args):
    start = now(model)
    found = function(*args)
    return found, now(model) - start


def run_published(case, rows, vectors):
    published, model = Published(case), case.model
    v, reference = timed(model, published.reference)
    x, seconds = timed(model, published.s_test, v)
    scores, pool = timed(model, published.score, x)
    rows[PUBLISHED] = dict(
        reference_s=reference, s_test_s=seconds, scores=scores,
        steps=case.args.steps * case.args.repeats,
        pool_ms=1e3 * pool / len(scores))
    vectors[PUBLISHED] = x


def run_solver(case, name, options, rows, vectors):
    print(name, flush=True)
    scorer, model = Timed(
        case.layers, empty='background', normalizer=case.args.normalizer,
        **options), case.model
    _, seconds = timed(model, scorer.prepare, model, case.data)
    rows[name] = dict(
        reference_s=scorer.reference_seconds,
        s_test_s=seconds - scorer.reference_seconds,
        steps=scorer.solution.iterations,
        residual=scorer.solution.residual)
    vectors[name] = flatten(scorer.s_test)
    if name == DEFAULT:
        rows[name]['pool_ms'] = pool_milliseconds(case, scorer)


def pool_milliseconds(case, scorer):
    """An image, pseudo-labels included, once everything is warm."""
    model = case.model

    def score():
        for batch in case.data.batches('unlabelled', model):
            scorer.process(model, batch)

    score()
    return 1e3 * timed(model, score)[1] / case.args.pool


def run_calibrated(case, rows):
    """Adds its row; returns the boxes that pool images are expected to have,
    at least 1."""
    print(CALIBRATED, flush=True)
    scorer = CalibratedInfluenceScorer(
        layers=case.layers, empty='background',
        normalizer=case.args.normalizer)
    scorer.prepare(case.model, case.data)
    found = [scorer.process(case.model, batch)
             for batch in case.data.batches('unlabelled', case.model)]
    scores, boxes = (
        torch.cat([f[key] for f in found]).double().cpu().numpy()
        for key in ('score', 'expected_boxes'))
    rows[CALIBRATED] = dict(scores=scores)
    return np.maximum(boxes, 1)


def add_exact(case, rows, vectors):
    """Exact solutions, and what limits them: the curvature of boxes,
    damping, layers, reference."""
    v, gauss_newton, hessian = (case.gradient(), case.matrix(),
                                case.matrix(False, 0.))

    def add(name, matrix=gauss_newton, damping=DAMPING, v=v):
        rows[name], vectors[name] = {}, matrix.solve(v, [damping] * 3)

    add(EXACTLY)
    add(HESSIAN, hessian)
    for step in (0., 0.005, 0.01, 0.05, 0.1):
        add(f'… box_step {step:g}', case.matrix(box_step=step))
    for damping in (1e-3, 0.01, 1., 10.):
        add(f'… damping {damping:g}', damping=damping)
    for layer, part in zip(LAYERS, slices(case.labelled.layer_sizes)):
        name = f'… {layer} alone'
        rows[name], vectors[name] = {}, torch.zeros_like(v)
        vectors[name][part] = vectors[EXACTLY][part]
    for share in (4, 2):
        add(f'… 1/{share} of the reference',
            v=case.gradient(slice(None, None, share)))
    decay = [s * case.args.published_damping for s in SCALES]
    return {PUBLISHED: hessian.solve(v, decay)}


def slices(sizes):
    ends = np.cumsum(sizes)
    return [slice(e - n, e) for e, n in zip(ends, sizes)]


def correlation(a, b):
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float('nan')
    return float(spearmanr(a, b)[0])


def own_solution(name):
    """The row that has the exact solution of a solver's operator."""
    if name.startswith('exact, M'):
        return HESSIAN
    ours = ('Gauss-Newton, CG', 'Gauss-Newton, B', 'Gauss-Newton, L')
    return EXACTLY if name.startswith(ours) else None


def compare(args, cfg, folder):
    """All numbers of one checkpoint."""
    case = Case(args, cfg, folder)
    rows, vectors = {}, {}
    runs = {PUBLISHED: run_published}
    for name, options in solvers().items():
        runs[name] = partial(run_solver, name=name, options=options)
    for name, run in runs.items():
        if not any(part in name for part in args.skip):
            run(case, rows=rows, vectors=vectors)
    expected = run_calibrated(case, rows)
    own = add_exact(case, rows, vectors)
    legs = case.truth()
    scores = {
        labels: dict(zip(vectors, case.products(vectors.values(), labels)))
        for labels in LABELS
    }
    own = dict(zip(own, case.products(own.values(), 'pseudo')))
    counts = case.counts()
    budget = args.boxes or int(counts.sum()) // 4
    for name, row in rows.items():
        mine = row.pop('scores', None)
        if mine is not None:
            scores['pseudo'][name] = mine
        row['lift'], row['lift_per_box'] = [
            lift(values, legs['true'][1], counts, budget, 2000)[0]
            for values in (scores['pseudo'][name],
                           scores['pseudo'][name] / expected)]
        exact = own.get(name, scores['pseudo'].get(own_solution(name)))
        if exact is not None:
            row['own'] = correlation(scores['pseudo'][name], exact)
        for mine, theirs in PAIRS:
            if name in scores[mine]:  # some scores are no products
                row[f'{mine}/{theirs}'] = correlation(
                    scores[mine][name], legs[theirs][1])
    rows[ORACLE] = dict(zip(('lift', 'lift_per_box'), (
        lift(legs['true'][1] / share, legs['true'][1], counts, budget, 2000)[0]
        for share in (1, np.maximum(counts, 1)))))
    return dict(
        rows=rows, boxes=budget,
        truth_of_both_legs=[correlation(*legs[x]) for x in LABELS],
        truth_of_both_labels=correlation(*(legs[x][1] for x in LABELS)),
        changes={x: legs[x].tolist() for x in LABELS},
        reference_loss=case.reference_loss(),
        training={
            layer: dict(evaluations=t.evaluations, gradient=t.gradient,
                        late_change=t.change)
            for layer, t in zip(LAYERS, case.trained)
        },
        labelled=case.labelled.num_images,
        reference=case.reference.num_images, parameters=len(case.theta))


LIFTS = {'lift': 'by value', 'lift_per_box': 'by value per expected box'}
PAIRS = (('true', 'true'), ('pseudo', 'pseudo'), ('pseudo', 'true'))
COLUMNS = {
    'steps': '{:.0f}', 'residual': '{:.0e}', 'reference_s': '{:.1f}',
    's_test_s': '{:.1f}', 'pool_ms': '{:.0f}', 'own': '{:.2f}',
    **{f'{mine}/{theirs}': '{:.2f}' for mine, theirs in PAIRS}
}
HEADS = ('solver', 'steps', 'residual', 'reference s', 's_test s',
         'pool ms/img', 'own exact',
         *(f'{mine} / {theirs}' for mine, theirs in PAIRS))


def lift_table(cases):
    """The headline: mean over models ± standard error."""
    table = Table(title='worth of the images that about '
                  f'{cases[0]["boxes"]} boxes buy, in deviations above '
                  'random; mean ± standard error')
    table.add_column('solver', no_wrap=True)
    for head in LIFTS.values():
        table.add_column(head, justify='right')
    for name in cases[0]['rows']:
        cells = []
        for key in LIFTS:
            values = np.array([c['rows'][name][key] for c in cases])
            error = f' ± {values.std(ddof=1) / len(values)**0.5:.2f}' \
                if len(values) > 1 else ''
            cells.append(f'{values.mean():+.2f}{error}')
        table.add_row(name, *cells)
    return table


def table_of(cases):
    table = Table(title=f'mean of {len(cases)} models; last columns: '
                  'labels of the influences / of the retraining')
    for head in HEADS:
        first = head == 'solver'
        table.add_column(
            head, justify='left' if first else 'right', no_wrap=first)
    for name in cases[0]['rows']:
        if name == ORACLE:
            continue
        cells = []
        for key, form in COLUMNS.items():
            values = [c['rows'][name].get(key) for c in cases]
            values = [v for v in values if v is not None]
            cells.append(form.format(np.mean(values)) if values else '–')
        table.add_row(name, *cells)
    return table


def main():
    args = parse_args()
    register_all_modules()
    keep_freed_memory()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    cases = []
    for folder in args.rounds:
        cases.append(compare(args, cfg, folder))
        if args.json:
            with open(args.json, 'w') as f:
                json.dump(dict(options=vars(args), cases=cases), f, indent=1)
    first, console = cases[0], Console(width=140)
    console.print(lift_table(cases))
    console.print(table_of(cases))
    console.print(
        f'{first["labelled"]} labelled, {first["reference"]} reference, '
        f'{args.pool} pool images; {first["parameters"]:,} parameters; '
        f'retrained with damping {args.damping:g}; '
        f'{torch.get_num_threads()} threads, {args.device}')
    for case in cases:
        before, after = case['reference_loss']
        console.print(
            f'reference loss of the checkpoint {before:.4f}, retrained '
            f'{after:.4f}; both legs of retraining agree to '
            f'{min(case["truth_of_both_legs"]):.3f}, retraining with '
            f'pseudo-labels and with true ones to '
            f'{case["truth_of_both_labels"]:.2f} (Spearman)')


if __name__ == '__main__':
    main()
