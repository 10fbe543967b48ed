import pytest
import torch

from sklearn_meta.learners.reconstruction._factored import Conditioner, FactoredMixture, join, pool

N_PIXELS, N_MEASUREMENTS, RANK = 12, 7, 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def mixture():
    root = draw(3, RANK, RANK, seed=1)
    return FactoredMixture(
        draw(N_PIXELS, seed=2),
        torch.linalg.qr(draw(N_PIXELS, N_PIXELS, seed=3)).Q,
        draw(N_PIXELS - RANK, seed=4).abs(),
        torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
        draw(3, RANK, seed=5),
        root @ root.mT,
    )


@pytest.fixture
def matrix():
    return draw(N_MEASUREMENTS, N_PIXELS, seed=6)


@pytest.fixture
def variance():
    return draw(N_MEASUREMENTS, seed=7).abs() + 0.1


def test_components_are_conditioned_as_dense_gaussians(mixture, matrix, variance):
    y = draw(4, N_MEASUREMENTS, seed=8)
    found = Conditioner(mixture, matrix, variance)(y)
    for k in range(3):
        mean, covariance = mixture.components([k]).moments()
        total = matrix @ covariance @ matrix.T + torch.diag(variance)
        gain = torch.linalg.solve(total, matrix @ covariance)
        law = torch.distributions.MultivariateNormal(matrix @ mean, total)
        evidence = law.log_prob(y) + mixture.weights[k].log()
        torch.testing.assert_close(found.log_evidence[:, k], evidence)
        torch.testing.assert_close(found.images[k], mean + (y - matrix @ mean) @ gain)
        left = covariance - covariance @ matrix.T @ gain
        torch.testing.assert_close(found.variances[k], left.diagonal())


def test_one_component_is_one_gaussian(mixture, matrix, variance):
    y = draw(4, N_MEASUREMENTS, seed=8)
    one = mixture.components([1])
    single = FactoredMixture.single(*one.moments())
    a, b = (Conditioner(m, matrix, variance)(y) for m in (one, single))
    torch.testing.assert_close(a.mean(), b.mean())
    torch.testing.assert_close(a.std(), b.std())


def test_moments_of_the_posterior_are_those_of_samples(mixture, matrix, variance):
    y = draw(1, N_MEASUREMENTS, seed=9)
    found = Conditioner(mixture, matrix, variance)(y)
    share = found.log_evidence.softmax(1)[0]
    mean = (share[:, None] * found.images[:, 0]).sum(0)
    second = (share[:, None] * (found.variances + found.images[:, 0].square())).sum(0)
    torch.testing.assert_close(found.mean()[0], mean)
    torch.testing.assert_close(found.std()[0], (second - mean.square()).sqrt())


def test_components_apart_join_to_all(mixture, matrix, variance):
    y = draw(4, N_MEASUREMENTS, seed=8)
    parts = [Conditioner(mixture.components(i), matrix, variance)(y) for i in ([2], [0, 1])]
    torch.testing.assert_close(join(parts).mean(), Conditioner(mixture, matrix, variance)(y).mean())


def test_arrays_make_the_mixture_again(mixture, matrix, variance):
    y = draw(4, N_MEASUREMENTS, seed=8)
    again = FactoredMixture.from_arrays(mixture.arrays(), torch.device("cpu"))
    expected = Conditioner(mixture, matrix, variance)(y).mean()
    assert torch.equal(Conditioner(again, matrix, variance)(y).mean(), expected)


def test_no_noise_and_as_many_measurements_give_the_image(mixture):
    matrix = draw(N_PIXELS, N_PIXELS, seed=10)
    images = draw(3, N_PIXELS, seed=11)
    found = Conditioner(mixture, matrix, torch.zeros(N_PIXELS, dtype=torch.float64))
    torch.testing.assert_close(found(images @ matrix.T).mean(), images, atol=1e-4, rtol=0)


def test_members_are_pooled_by_evidence(mixture, matrix, variance):
    y = draw(4, N_MEASUREMENTS, seed=8)
    other = mixture.components([0, 2])
    other = FactoredMixture(
        *(getattr(other, n) for n in ("center", "basis", "rest")),
        torch.tensor([0.6, 0.4], dtype=torch.float64),
        other.means + 1,
        other.covariances,
    )
    both = Conditioner(pool([mixture, other]), matrix, variance)(y)
    parts = [Conditioner(m, matrix, variance)(y) for m in (mixture, other)]
    share = torch.stack([p.log_evidence.logsumexp(1) for p in parts], 1).softmax(1)
    expected = sum(share[:, [i]] * p.mean() for i, p in enumerate(parts))
    torch.testing.assert_close(both.mean(), expected)
