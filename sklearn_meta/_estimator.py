"""What the estimators share: meta-train, adapt, predict, clone."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_consistent_length

from sklearn_meta._checks import check_use_prior, warn_of_names
from sklearn_meta._learn_prior import learn_prior
from sklearn_meta._learning import TRAINING_PARAMETERS
from sklearn_meta._novelty import novelty
from sklearn_meta._one_table import fit_more, fit_one, prior_for
from sklearn_meta._prior import Prior
from sklearn_meta._prior_holder import PriorHolder
from sklearn_meta._targets import EncodedTargets, Targets
from sklearn_meta._task_table import fit_table
from sklearn_meta.tasks import Task


class MetaEstimator(TransformerMixin, PriorHolder, metaclass=ABCMeta):
    """Base of the estimators; a subclass brings the targets."""

    _meta_parameters: tuple[str, ...] = (
        "learner",
        "network",
        "preprocessor",
        *TRAINING_PARAMETERS,
        "image_shape",
    )

    _private_attributes: tuple[str, ...] = ("_adapted", "_tasks", "_rows")

    #: Name of the learner where the parameter is "auto".
    _default_learner: str

    #: The same where rows are images, or the network is the user's own.
    _default_learner_of_networks: str

    @abstractmethod
    def _check_targets(self, y: Any) -> np.ndarray:
        """Check the targets of one data set, in scikit-learn's wording."""

    @abstractmethod
    def _learn_targets(self, tasks: list[Task], x: np.ndarray, offsets: np.ndarray) -> Targets:
        """Look at the targets of all meta-training tasks."""

    @abstractmethod
    def _encode_support(self, model: Any, y: np.ndarray, classes: Any) -> EncodedTargets:
        """Targets of a support as the learner takes them."""

    @abstractmethod
    def _encode_supports(self, model: Any, tasks: list[Task], classes: Any) -> list[EncodedTargets]:
        """Check the targets of many tasks and return what `_encode_support` makes of each."""

    @abstractmethod
    def _encode_more(self, y: np.ndarray, classes: Any) -> EncodedTargets:
        """Targets of more rows of the task that this estimator is adapted to."""

    @abstractmethod
    def _targets_of_tables(
        self, tasks: list[Task]
    ) -> list[list[tuple[np.ndarray, tuple[str, ...] | None]]]:
        """Targets (n_rows,) of tasks by themselves, and what codes of classes stand for."""

    @abstractmethod
    def _open(self, model: Any, encoder: Any, y: np.ndarray, classes: Any) -> Any:
        """Open the model of an open prior for a table with these targets."""

    def _classes_of_table(self, y: np.ndarray) -> Any:
        """Labels that every task of a table may have."""
        return None

    def _announced_classes(self) -> Any:
        """Labels that more rows may have."""
        return None

    # ------------------------------------------------------------------ fitting

    def fit_tasks(self, tasks: Any, validation_tasks: Any = None) -> MetaEstimator:
        """Meta-train: learn across tasks what they share.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            At least two tasks. Where their columns differ, the learner is `InContext`.
        validation_tasks : like `tasks`, default=None
            Whole tasks on which meta-training is judged and stopped. By default some of `tasks`
            are held out.

        Returns
        -------
        self
            With ``prior_`` and ``history_``; not adapted to any task.

        Raises
        ------
        TypeError, ValueError
            If a task or a parameter cannot be used; the message names it.
        """
        prior, history = learn_prior(self, tasks, validation_tasks, min_tasks=2)
        self._forget()
        self.prior_, self.history_ = prior, history
        return self

    def adapt(self, X: Any, y: Any) -> MetaEstimator:
        """Return a new estimator that is fitted to one task, from this estimator's prior.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
            Support rows.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Their targets.

        Returns
        -------
        MetaEstimator
            Shares the prior; this estimator is left as it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Without a prior.
        ValueError
            If the data do not fit the prior.
        """
        return self._copy(self._prior_or_raise())._fit(X, y)

    def fit(self, X: Any, y: Any) -> MetaEstimator:
        """Fit to one data set: adaptation in place.

        The prior is the one that ``fit_tasks`` learned, else the parameter `prior`, else the
        bundled one, which serves tables of any columns. Where the parameters ask for something
        else, the model is a supervised one: `learner` trained on this one data set, or, for images
        and a network of your own, Gaussian processes under a vague prior. With `task_column` the
        rows are those of many tasks: without a prior they are meta-trained on, and each is adapted
        to.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data do not fit the prior, or a parameter that the prior fixes is set to
            something else. The estimator is then left as it was.
        """
        return self._fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> MetaEstimator:
        """Take more support rows: the same as to adapt to all rows so far.

        Under a vague prior columns and targets stay scaled as the first rows were.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        classes : array-like, default=None
            Classifiers: all labels that may come; needed in the first call if not all are in `y`.

        Returns
        -------
        self
        """
        if self.task_column is not None:
            raise ValueError(
                "partial_fit takes the rows of one task, and task_column is "
                f"{self.task_column!r}; adapt a task by itself, or call fit with all rows."
            )
        if not self.__sklearn_is_fitted__():
            return self._fit(X, y, classes)
        y = self._check_rows(X, y)
        if self._adapted.model.is_opened:
            self._become(fit_more(self, X, y, classes))
            return self
        model, use_prior = self._adapted.model, check_use_prior(self.use_prior)
        z = self._encode(model, X)
        encoded = self._encode_more(y, classes)
        support = model.support([z], [encoded.y], encoded.ways)
        adapted = self._adapted.update(support, use_prior)
        value = self._report_novelty(model, z, encoded.y)
        vars(self).update(self._fitted(adapted, encoded.attributes, value))
        return self

    def adapt_many(self, tasks: Any, n_jobs: int | None = None) -> dict[str, MetaEstimator]:
        """Adapt to many tasks at once: the numbers of a loop over `adapt`, much faster.

        Under an open prior, whose tasks differ in columns, it is that loop.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        n_jobs : int, default=None
            Accepted for scikit-learn's interface, and not used.

        Returns
        -------
        dict of str to MetaEstimator
            In the order given; the name is the position where there is none.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Without a prior.
        ValueError
            If the data of a task, which is named, do not fit the prior.
        """
        if self.task_column is not None:
            raise ValueError(
                "adapt_many takes tasks, each by itself, and task_column is "
                f"{self.task_column!r}; set it to None, or call fit with the whole table."
            )
        return self._copy(self._prior_or_raise())._adapt_many(tasks)

    def _adapt_many(
        self, tasks: Any, classes: Any = None, model: Any = None
    ) -> dict[str, MetaEstimator]:
        from sklearn_meta._many import adapt_each, adapt_many

        model = self._model_of(self.prior) if model is None else model
        return adapt_each(self, tasks) if model.is_open else adapt_many(self, model, tasks, classes)

    def _fit(self, X: Any, y: Any, classes: Any = None) -> MetaEstimator:
        # Nothing is set before all is computed: a fit that fails leaves no trace.
        if self.task_column is None:
            self._become(self._fit_task(X, y, classes))
        else:
            self._become(fit_table(self, X, y))
        return self

    def _fit_task(self, X: Any, y: Any, classes: Any) -> dict[str, Any]:
        y = self._check_rows(X, y)
        prior, trained = self._prior_or_none(), {}
        if prior is None:
            prior, trained = prior_for(self, X, y)
        model = self._model_of(prior)
        if model.is_open:
            return fit_one(self, prior, X, y, classes)
        z = self._encode(model, X)
        return self._fit_encoded(prior, model, z, y, classes) | trained

    def _fit_encoded(
        self, prior: Prior, model: Any, z: np.ndarray, y: np.ndarray, classes: Any
    ) -> dict[str, Any]:
        """Adapt to encoded rows; return the fitted attributes."""
        from sklearn_meta._adapted import Adapted

        use_prior = check_use_prior(self.use_prior)
        encoded = self._encode_support(model, y, classes)
        support = model.support([z], [encoded.y], encoded.ways)
        adapted = Adapted(prior, model, model.adapt(support, use_prior))
        value = self._report_novelty(model, z, encoded.y)
        return self._fitted(adapted, encoded.attributes, value)

    def _fitted(
        self, adapted: Any, attributes: dict[str, Any], novelty_value: float
    ) -> dict[str, Any]:
        """Return the fitted attributes of an estimator for one task."""
        encoder = adapted.model.encoder
        fitted = attributes | {
            "_adapted": adapted,
            "_tasks": None,
            "_rows": None,
            "prior_weight_": adapted.weight if adapted.model.is_prior else 0.0,
            "novelty_": float(novelty_value),
            "n_features_in_": encoder.n_features_in_,
        }
        if hasattr(encoder, "feature_names_in_"):
            fitted["feature_names_in_"] = encoder.feature_names_in_
        return fitted

    def _report_novelty(self, model: Any, z: np.ndarray, target: np.ndarray) -> float:
        (value,), (message,) = novelty(model, z[None], target[None])
        if message is not None:
            warnings.warn(message, UserWarning, stacklevel=5)
        return float(value)

    # ------------------------------------------------------------------ prediction

    def transform(self, X: Any) -> np.ndarray:
        """Adapted embedding of rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_components)
        """
        return self._on_rows(X, lambda one, z: one._adapted.embedding(z))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str objects
        """
        self._check_fitted()
        row = np.zeros((1, self._adapted.model.signature.n_inputs))
        prefix, width = type(self).__name__.lower(), self._adapted.embedding(row).shape[1]
        return np.array([f"{prefix}{i}" for i in range(width)], dtype=object)

    def _on_rows(self, X: Any, call: Callable[[MetaEstimator, np.ndarray], np.ndarray]) -> Any:
        """Apply `call` to the encoded rows of X, each with the estimator of its task."""
        self._check_fitted()
        if self._tasks is not None:
            return self._tasks.apply(self, X, call)
        return call(self, self._encode(self._adapted.model, X))

    # ------------------------------------------------------------------ the prior

    def _model_of(self, prior: Prior) -> Any:
        from sklearn_meta._model import ready, resolve_device

        return ready(prior, resolve_device(self.device))

    # ------------------------------------------------------------------ checks

    def _check_rows(self, X: Any, y: Any) -> np.ndarray:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        y = self._check_targets(y)
        if hasattr(X, "shape") or hasattr(X, "__len__"):
            check_consistent_length(X, y)
        return y

    def _encode(self, model: Any, X: Any) -> np.ndarray:
        warn_of_names(type(self).__name__, model.encoder, X)
        return model.encoder.transform(X, estimator_name=type(self).__name__)

    # ------------------------------------------------------------------ scikit-learn's hooks

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
