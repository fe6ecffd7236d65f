"""Influence beside chosen images against training again with them."""
import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mmal.selection import BatchInfluence, TopN


class Logistic:
    """A convex problem: logistic regression.

    ``labelled``, ``pool`` and ``reference`` are inputs times their labels,
    so that the loss of a row x is log(1 + exp(-x·θ)).
    """

    def __init__(self, seed, labelled=60, pool=80, reference=1000, dim=5,
                 damping=.02):
        rng = np.random.default_rng(seed)
        true = .7 * rng.standard_normal(dim)

        def draw(n):
            x = rng.standard_normal((n, dim)) * np.geomspace(.3, 2, dim)
            positive = rng.uniform(size=n) < 1 / (1 + np.exp(-x @ true))
            return x * np.where(positive, 1, -1)[:, None]

        self.labelled, self.pool, self.reference = map(
            draw, (labelled, pool, reference))
        self.n, self.dim = labelled, dim
        self.theta, self.damping = np.zeros(dim), 0.
        self.theta = self.train()
        self.damping = damping  # a penalty for leaving this minimum

    def train(self, more=()):
        """Parameters after training with some images of the pool added."""
        rows = np.concatenate([self.labelled, self.pool[list(more)]])

        def loss(theta):
            away = theta - self.theta
            return np.logaddexp(0, -rows @ theta).sum() + \
                self.n * self.damping / 2 * away @ away, \
                self.gradients(rows, theta).sum(0) + \
                self.n * self.damping * away

        return minimize(loss, self.theta, jac=True, method='BFGS',
                        options=dict(gtol=1e-9)).x

    def gradients(self, rows, theta):
        return -rows / (1 + np.exp(rows @ theta))[:, None]

    def hessian(self, rows, theta):
        p = 1 / (1 + np.exp(rows @ theta))
        return (rows * (p * (1 - p))[:, None]).T @ rows / len(rows)

    def loss(self, theta):
        return np.logaddexp(0, -self.reference @ theta).mean()

    def first(self):
        """The damped H, v and the gradients of the pool before the query."""
        theta = self.theta
        damped = self.hessian(self.labelled, theta) + \
            self.damping * np.eye(self.dim)
        return damped, self.gradients(self.reference, theta).mean(0), \
            self.gradients(self.pool, theta)

    def embeddings(self):
        """What :class:`GradientEmbeddingScorer` gives."""
        damped, v, g = self.first()
        hessian = damped - self.damping * np.eye(self.dim)
        root = np.linalg.cholesky(hessian).T @ np.linalg.inv(damped)
        return (g @ root.T) / self.n**.5, \
            scores_of(g @ np.linalg.solve(damped, v))


@pytest.mark.parametrize('seed', range(3))
def test_influences_move_as_training_again_moves_them(seed):
    """All of a problem is computed again with one image added: v at the new
    parameters, H with the image, the other gradients there. Of some rules for
    what changes, one is near it."""
    n = 3000
    problem = Logistic(seed, labelled=n, reference=20_000)
    damped, v, g = problem.first()
    rows, scores = problem.embeddings()
    steps = np.linalg.solve(damped, g.T).T
    truth, rules = [], {name: [] for name in (
        'moved', 'no damping', 'descent', 'shrunk')}
    for z in range(0, 80, 16):
        theta = problem.train([z])
        grown = problem.hessian(
            np.concatenate([problem.labelled, problem.pool[[z]]]), theta)
        grown = grown * (n + 1) / n + problem.damping * np.eye(problem.dim)
        again = problem.gradients(problem.pool, theta) @ np.linalg.solve(
            grown, problem.gradients(problem.reference, theta).mean(0))
        truth.append(again - scores.values)
        rules['moved'].append(-rows @ rows[z])
        rules['no damping'].append(-g @ steps[z] / n)
        rules['descent'].append(-g @ g[z])
        rules['shrunk'].append(-g @ steps[z] * scores.values[z] / (
            n + g[z] @ steps[z]))
    truth = np.concatenate(truth)
    rules = {name: np.concatenate(rule) for name, rule in rules.items()}
    # by the learning rate that suits it best
    rate = rules['descent'] @ truth / np.square(rules['descent']).sum()
    rules['descent'] *= rate
    errors = {name: np.linalg.norm(rule - truth) / np.linalg.norm(truth)
              for name, rule in rules.items()}
    assert errors['moved'] < .15
    assert errors['no damping'] > .18
    assert errors['descent'] > .2
    assert errors['shrunk'] > .8


def by_hand(problem, n):
    """The system is solved again for each image, in all parameters."""
    damped, v, g = problem.first()
    hessian = damped - problem.damping * np.eye(problem.dim)
    chosen = []
    for _ in range(n):
        s_test = np.linalg.solve(damped, v)
        influence = g @ s_test
        influence[chosen] = -np.inf
        chosen.append(int(influence.argmax()))
        v = v - hessian @ np.linalg.solve(damped, g[chosen[-1]]) / problem.n
    return [f'image {i}' for i in chosen]


@pytest.mark.parametrize('seed', range(5))
def test_equals_solving_the_system_again_for_each_image(seed):
    problem = Logistic(seed)
    rows, scores = problem.embeddings()
    got = BatchInfluence().select(scores, 80, rows)
    assert got == by_hand(problem, 80)
    assert BatchInfluence().select(scores, 7, rows) == got[:7]


def test_training_with_the_batch_lowers_the_reference_loss_more():
    """Than with as many images of the highest influence each."""
    better = []
    for seed in range(8):
        problem = Logistic(seed, labelled=100, pool=150, dim=8)
        rows, scores = problem.embeddings()
        before = problem.loss(problem.theta)
        falls = [
            before - problem.loss(problem.train(
                scores.ids.index(i) for i in selector.select(
                    scores, 12, rows)))
            for selector in (BatchInfluence(), TopN())]
        better.append(falls[0] - falls[1])
    assert sum(b > 0 for b in better) >= 7


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 10_000))
def test_every_image_comes_once_and_in_an_order_of_its_own(n, dim, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)).astype('f4')
    scores = scores_of(rng.standard_normal(n))
    scores.values[rng.uniform(size=n) < .2] = -np.inf
    got = BatchInfluence().select(scores, n, rows)
    assert sorted(got) == sorted(scores.ids)
    assert got[0] == TopN().select(scores, 1)[0]
    order = rng.permutation(n)
    assert BatchInfluence().select(scores.take(order), n, rows[order]) == got
    assert BatchInfluence(step=0).select(scores, n, rows) == \
        TopN().select(scores, n)


def test_equal_values_are_settled_by_the_tiebreak():
    scores = scores_of([1, 1, 1, -np.inf], [.3, .1, .2, 0])
    rows = np.zeros((4, 2), 'f4')
    assert BatchInfluence().select(scores, 4, rows) == [
        f'image {i}' for i in (1, 2, 0, 3)]


def test_mistakes_are_told():
    scores = scores_of([1, 2])
    with pytest.raises(ValueError, match='step is -1'):
        BatchInfluence(step=-1)
    with pytest.raises(ValueError, match=r'\[2, D\]'):
        BatchInfluence().order(scores)
    with pytest.raises(ValueError, match='number 1'):
        BatchInfluence().order(scores, np.array([[1.], [np.inf]]))
    scores.values[1] = np.inf
    with pytest.raises(ValueError, match='image 1 is infinite'):
        BatchInfluence().order(scores, np.ones((2, 1)))
