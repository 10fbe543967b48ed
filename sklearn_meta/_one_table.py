"""Fit to one table by itself: from which prior, and with columns and units of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from sklearn_meta._checks import warn_of_names
from sklearn_meta._learn_prior import learn_prior, vague_prior
from sklearn_meta._learning import new_table_encoder, starts_from_bundled
from sklearn_meta._prior import Prior
from sklearn_meta._resolve_prior import bundled_prior
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.preprocessing._tables import concatenate, match
from sklearn_meta.tasks import Task

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator


def prior_for(estimator: MetaEstimator, X: Any, y: np.ndarray) -> tuple[Prior, dict[str, Any]]:
    """Prior for a table where the user has none, and the fitted attributes of its training."""
    if starts_from_bundled(estimator):
        return bundled_prior(estimator._estimator_type_of_prior), {}
    if isinstance(estimator.learner, str) and estimator.learner == "auto":
        return vague_prior(estimator, X, y), {}
    read_table(X)  # which names its faults as scikit-learn does
    prior, history = learn_prior(estimator, [Task(X, y)])
    return prior, {"history_": history}


def fit_one(
    estimator: MetaEstimator, prior: Prior, X: Any, y: np.ndarray, classes: Any
) -> dict[str, Any]:
    """Adapt from an open prior to the rows of one table; return the fitted attributes.

    Parameters
    ----------
    estimator : MetaEstimator
        It is left as it is.
    prior : Prior
    X : array-like or DataFrame of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Checked targets.
    classes : array-like or None
        Classifiers: labels that may occur beside those in `y`.
    """
    encoder = new_table_encoder(estimator.preprocessor, prior)
    return _fit(estimator, prior, encoder, X, y, classes)


def fit_more(estimator: MetaEstimator, X: Any, y: np.ndarray, classes: Any) -> dict[str, Any]:
    """Adapt to all rows so far and these: columns and units are learned anew.

    Parameters
    ----------
    estimator : MetaEstimator
        Fitted from an open prior; it is left as it is.
    X, y, classes
        As in `fit_one`, for rows to come.
    """
    estimator._encode_more(y, classes)  # which refuses what the first rows did not announce
    adapted, (seen, y_seen) = estimator._adapted, estimator._rows
    owner, encoder = type(estimator).__name__, adapted.model.encoder
    warn_of_names(owner, encoder, X)
    more = match(read_table(X), (seen.names, seen.n_columns), owner)
    table, _ = concatenate([seen, more])
    y = np.concatenate([y_seen, y])
    announced = estimator._announced_classes()
    return _fit(estimator, adapted.prior, clone(encoder), table, y, announced)


def _fit(
    estimator: MetaEstimator, prior: Prior, encoder: Any, X: Any, y: np.ndarray, classes: Any
) -> dict[str, Any]:
    table = read_table(X)
    table = table.take(np.arange(table.n_rows))  # the user may change X later
    model = estimator._open(estimator._model_of(prior), encoder.fit([table]), y, classes)
    z = encoder.transform(table, estimator_name=type(estimator).__name__)
    fitted = estimator._fit_encoded(prior, model, z, y, classes)
    return fitted | {"_rows": (table, np.array(y))}
