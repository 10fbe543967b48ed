"""scikit-learn's own checks, with an empty list of expected failures."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_meta import MetaClassifier, MetaRegressor

ESTIMATORS = [
    MetaRegressor(),
    MetaClassifier(),
    MetaRegressor(learner="bayesian_linear", max_iter=5),
    MetaClassifier(learner="bayesian_logistic", max_iter=5),
    MetaClassifier(learner="prototypical", max_iter=5),
]


# The checks warn on purpose: they are run as scikit-learn runs them.
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
