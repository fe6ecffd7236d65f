import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers import ClassMixture

EXTREME = [-6e4, -1e4, -90., -1., 0., 0.5, 88., 1e4, 6e4]


def raw(n=5, k=3, c=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, k, c), (n, k, c), (n, k))
    return [
        2 * torch.randn(s, generator=generator, dtype=torch.float64)
        for s in shapes
    ]


@pytest.mark.parametrize('k', [1, 3])
def test_equals_loops_over_rows_components_and_classes(k):
    logits, variance_logits, weight_logits = raw(k=k)
    full = ClassMixture.from_raw(logits, variance_logits, weight_logits)
    plain = ClassMixture.from_raw(logits, None, weight_logits)
    for i in range(5):
        pi = weight_logits[i].exp() / weight_logits[i].exp().sum()
        p = [row.exp() / row.exp().sum() for row in logits[i]]
        mean = sum(pi[j] * p[j] for j in range(k))
        spread = sum(pi[j] * (p[j] - mean)**2 for j in range(k))
        noise = sum(pi[j] / (1 + (-variance_logits[i, j]).exp())
                    for j in range(k))
        eq_8 = sum(
            pi[j] * (torch.diag(p[j]) - torch.outer(p[j], p[j]))
            for j in range(k)).diagonal()
        for mixture in (full, plain):
            torch.testing.assert_close(mixture.probs[i], mean)
            torch.testing.assert_close(mixture.epistemic[i], spread)
            torch.testing.assert_close(mixture.softmax_aleatoric[i], eq_8)
        torch.testing.assert_close(full.aleatoric[i], noise)
        torch.testing.assert_close(plain.aleatoric[i], eq_8)


def test_sampled_labels_have_the_total_variance_of_the_efficient_form():
    logits, _, weight_logits = raw(n=1)
    mixture = ClassMixture.from_raw(logits, None, weight_logits)
    total = mixture.aleatoric + mixture.epistemic
    torch.manual_seed(0)
    component = torch.multinomial(mixture.weights[0], 100_000, True)
    label = torch.multinomial(logits[0].softmax(-1)[component], 1)
    one_hot = torch.nn.functional.one_hot(label[:, 0], 4).double()
    torch.testing.assert_close(
        one_hot.var(dim=0), total[0], rtol=0, atol=0.005)


@pytest.mark.parametrize('efficient', [False, True])
def test_gradients_of_every_quantity(efficient):
    logits, variances, weights = (t.requires_grad_() for t in raw(n=2))

    def outputs(*values):
        mixture = ClassMixture.from_raw(
            values[0], None if efficient else variances, values[1])
        return mixture.probs, mixture.aleatoric, mixture.epistemic

    assert torch.autograd.gradcheck(outputs, (logits, weights))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3), st.integers(1, 3), st.integers(1, 3),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    st.booleans(), st.data())
def test_finite_for_extreme_logits(n, k, c, dtype, efficient, data):

    def draw(*shape):
        size = int(torch.tensor(shape).prod())
        numbers = data.draw(
            st.lists(
                st.sampled_from(EXTREME), min_size=size, max_size=size))
        return torch.tensor(numbers).view(shape).to(dtype).requires_grad_()

    logits, variances, weights = draw(n, k, c), draw(n, k, c), draw(n, k)
    mixture = ClassMixture.from_raw(logits, None if efficient else variances,
                                    weights)
    outputs = mixture.probs, mixture.aleatoric, mixture.epistemic
    for output in outputs:
        assert output.dtype == torch.float32 and output.shape == (n, c)
        assert ((output >= 0) & (output <= 1 + 1e-6)).all()
        grads = torch.autograd.grad(
            output.sum(), (logits, variances, weights),
            retain_graph=True,
            allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None)
    torch.testing.assert_close(mixture.probs.sum(-1), torch.ones(n))


def test_classes_are_softmaxed_before_mixing():
    mixture = ClassMixture.from_raw(
        torch.tensor([[[100., 0.], [-1., 0.]]]), None, torch.zeros(1, 2))
    expected = (1 + float(torch.tensor(-1.).sigmoid())) / 2
    assert float(mixture.probs[0, 0]) == pytest.approx(expected)


@pytest.mark.parametrize('efficient', [False, True])
def test_indexing_takes_rows_of_all_parts(efficient):
    logits, variances, weights = raw()
    mixture = ClassMixture.from_raw(logits, None if efficient else variances,
                                    weights)
    for index in (torch.tensor([4, 1]), torch.arange(5) % 2 == 1, 3):
        for name in ('probs', 'aleatoric', 'epistemic', 'weights'):
            torch.testing.assert_close(
                getattr(mixture[index], name), getattr(mixture, name)[index])
    assert mixture.num_components == mixture[0].num_components == 3


@pytest.mark.parametrize('logits, weights', [((5, 2, 4), (5, 2, 1)),
                                             ((5, 2, 4), (5, 3)),
                                             ((5, 0, 4), (5, 0))])
def test_refuses_shapes_that_do_not_fit(logits, weights):
    with pytest.raises(ValueError, match='a class mixture got logits'):
        ClassMixture(torch.zeros(logits), None, torch.zeros(weights))
