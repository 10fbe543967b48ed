"""scikit-learn's own checks, with an empty list of expected failures."""

from unittest import SkipTest

import numpy as np
import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklearn_meta import MetaClassifier, MetaReconstructor, MetaRegressor
from sklearn_meta.learners import LEARNERS, MAML, Reptile, get_learner

ESTIMATORS = [
    MetaRegressor(),
    MetaClassifier(),
    MetaReconstructor(),
    MetaRegressor(learner="bayesian_linear", max_iter=5),
    MetaClassifier(learner="bayesian_logistic", max_iter=5),
    MetaClassifier(learner="prototypical", max_iter=5),
    *(
        estimator(learner=learner, max_iter=1, network=(8,), early_stopping=False)
        for estimator in (MetaRegressor, MetaClassifier)
        for learner in (MAML(inner_steps=1), Reptile(inner_steps=1), "deep_kernel")
    ),
    MetaRegressor(learner="neural_process", max_iter=1, network=(8,), early_stopping=False),
]

WIDTHS = (3, 2, 10, 4, 5)  # numbers of columns of the checks' data
#: Checks that fit tables of two widths, of several targets, or of label sets: no prior suits them.
UNSUITED = {
    "check_classifiers_multilabel_output_format_decision_function",
    "check_classifiers_multilabel_output_format_predict",
    "check_classifiers_multilabel_output_format_predict_proba",
    "check_classifiers_multilabel_representation_invariance",
    "check_classifiers_train",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_positive_only_tag_during_fit",
    "check_regressor_multioutput",
}
SERVED = [
    (estimator, name)
    for estimator, kind in ((MetaRegressor, "regression"), (MetaClassifier, "classification"))
    for name in LEARNERS
    if kind in get_learner(name).kinds
]


# The checks warn on purpose: they are run as scikit-learn runs them.
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def prior_of(estimator, learner, width):
    rng = np.random.default_rng(0)
    tasks = [(rng.normal(size=(12, width)), np.arange(12) % 3) for _ in range(4)]
    own = {"shared_classes": False} if estimator is MetaClassifier else {}
    if not get_learner(learner).heterogeneous:  # which has no network
        own["network"] = (8, 4)
    # A check sets `alpha` to 0.01.
    meta = estimator(learner=learner, max_iter=1, alpha=0.01, random_state=0, **own)
    return meta.fit_tasks(tasks).prior_


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "learner"), SERVED)
def test_scikit_learn_checks_with_a_prior_as_wide_as_their_data(estimator, learner):
    failed = None
    for width in WIDTHS:
        left = {}
        with_prior = estimator(prior=prior_of(estimator, learner, width))
        for one, check in estimator_checks_generator(with_prior):
            name = check.func.__name__
            if name in UNSUITED or (failed is not None and name not in failed):
                continue
            try:
                check(one)
            except SkipTest:
                continue
            except (AssertionError, ValueError) as error:
                left[name] = error
        failed = left
    assert not failed
