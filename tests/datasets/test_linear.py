import numpy as np

from sklearn_meta.datasets import make_linear_tasks


def test_coefficients_give_the_targets():
    tasks, parameters = make_linear_tasks(
        20, (10, 15), n_features=3, noise=0.0, random_state=0, return_parameters=True
    )
    for (X, y), coef, intercept in zip(
        tasks, parameters["coef"], parameters["intercept"], strict=True
    ):
        solution = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)[0]
        np.testing.assert_allclose(solution, [*coef, intercept], atol=1e-10)


def test_tasks_vary_around_the_mean_of_their_group():
    _, p = make_linear_tasks(
        3000, 1, n_groups=2, spread=0.5, random_state=0, return_parameters=True
    )
    for group in range(2):
        mine = p["group"] == group
        assert abs(mine.mean() - 0.5) < 0.05
        away = p["coef"][mine] - p["group_coef"][group]
        np.testing.assert_allclose(away.mean(0), 0, atol=0.1)
        np.testing.assert_allclose(np.cov(away.T), 0.25 * np.eye(5), atol=0.06)
        assert abs((p["intercept"][mine] - p["group_intercept"][group]).std() - 0.5) < 0.05


def test_no_spread_is_one_model():
    _, p = make_linear_tasks(5, 4, spread=0.0, random_state=0, return_parameters=True)
    np.testing.assert_array_equal(p["coef"], np.repeat(p["group_coef"], 5, axis=0))


def test_noise_has_its_standard_deviation():
    tasks, p = make_linear_tasks(200, 50, noise=0.7, random_state=0, return_parameters=True)
    residuals = [
        y - X @ coef - intercept
        for (X, y), coef, intercept in zip(tasks, p["coef"], p["intercept"], strict=True)
    ]
    assert abs(np.std(residuals) - 0.7) < 0.02
