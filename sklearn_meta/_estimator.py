"""What the estimators share: meta-train, resolve the prior, adapt, clone."""

from __future__ import annotations

import os
import platform
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_consistent_length

from sklearn_meta._many import adapt_many
from sklearn_meta._prior import Prior
from sklearn_meta._task_table import split_table
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta.preprocessing import TableEncoder
from sklearn_meta.tasks import Task, TaskStore, check_tasks

TRAINING_PARAMETERS = (
    "shots",
    "batch_size",
    "max_iter",
    "learning_rate_init",
    "alpha",
    "early_stopping",
    "validation_fraction",
    "n_iter_no_change",
    "tol",
    "max_time",
)
NOVELTY_WARNING = 20.0
HIDDEN = (64, 64, 32)


@dataclass(frozen=True)
class Targets:
    """The targets of all meta-training tasks, as a learner takes them.

    Attributes
    ----------
    kind : {"regression", "classification", "multilabel"}
    y : ndarray of shape (n_rows, n_outputs) or (n_rows,)
    n_outputs : int
        Number of targets, classes or labels.
    encode_more : callable
        Gives the same of other tasks: (y, ways).
    shared_classes : bool
    ways : ndarray of shape (n_tasks,) or None
        Number of classes of each task, where they are not shared.
    facts : dict
        What else the prior must know of the targets, as JSON has it.
    config, arrays : dict or None
        Of the target scaling.
    """

    kind: str
    y: np.ndarray
    n_outputs: int
    encode_more: Callable[[list[Task]], tuple[np.ndarray, np.ndarray | None]]
    shared_classes: bool = False
    ways: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    arrays: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class EncodedTargets:
    """The targets of one support, as a learner takes them.

    Attributes
    ----------
    y : ndarray of shape (n_rows, n_outputs) or (n_rows,)
    ways : int or None
        Number of classes, where codes mean nothing beyond this task.
    attributes : dict
        Fitted attributes of the estimator.
    """

    y: np.ndarray
    ways: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class MetaEstimator(BaseEstimator, metaclass=ABCMeta):
    """Base of the estimators; a subclass brings the targets."""

    #: Parameters that the prior fixes.
    _meta_parameters: tuple[str, ...] = ("learner", "network", "preprocessor", *TRAINING_PARAMETERS)

    @property
    @abstractmethod
    def _estimator_type_of_prior(self) -> str:
        """Kind of estimator that a prior must be for."""

    @abstractmethod
    def _default_learner(self, y: Any) -> str:
        """Name of the learner where the parameter is "auto"."""

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
    def _encode_more(self, y: np.ndarray, classes: Any) -> EncodedTargets:
        """Targets of more rows of the task that this estimator is adapted to."""

    def _classes_of_table(self, y: np.ndarray) -> Any:
        """Labels that every task of a table may have."""
        return None

    def _fitted_targets(self) -> dict[str, Any]:
        """Fitted attributes that describe the targets."""
        return {}

    # ------------------------------------------------------------------ meta-training

    def fit_tasks(self, tasks: Any, validation_tasks: Any = None) -> MetaEstimator:
        """Meta-train: learn across tasks what they share.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            At least two tasks with the same columns.
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
        prior, history = self._meta_train(tasks, validation_tasks)
        self._forget()
        self.prior_, self.history_ = prior, history
        return self

    def _meta_train(self, tasks: Any, validation_tasks: Any = None) -> tuple[Prior, Any]:
        import torch

        from sklearn_meta._model import resolve_device
        from sklearn_meta._training import meta_train
        from sklearn_meta.learners import learner_config
        from sklearn_meta.learners._base import Signature

        device = resolve_device(self.device)
        numeric = self._estimator_type_of_prior == "regressor"
        tasks = check_tasks(tasks, y_numeric=numeric, same_columns=True, min_tasks=1)
        names = [task.name for task in tasks]
        encoder = self._new_encoder().fit([task.X for task in tasks], names=names)
        x, offsets = encoder.transform_many([task.X for task in tasks], names=names)
        targets = self._learn_targets(tasks, x, offsets)
        learner = self._new_learner(tasks[0].y)
        if targets.kind not in learner.kinds:
            raise ValueError(
                f"learner {type(learner).__name__} serves {' and '.join(learner.kinds)}, "
                f"and these tasks are {targets.kind}; choose another learner."
            )
        signature = Signature(
            targets.kind, x.shape[1], targets.n_outputs, targets.shared_classes, self._hidden()
        )
        store = TaskStore(x, targets.y, offsets, names, targets.ways)
        config = resolve(
            TrainingConfig(**{name: getattr(self, name) for name in TRAINING_PARAMETERS}), store
        )
        validation_store = None
        if validation_tasks is not None:
            validation_store = self._validation_store(validation_tasks, encoder, targets)

        rng = self._generator()
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        prepared = learner.prepare(store, signature, rng)
        module = learner.build(signature, prepared, generator)
        if "inputs" in prepared:
            store = store.replace(x=prepared["inputs"])
        if validation_store is not None:
            rows = torch.from_numpy(validation_store.x)
            with torch.no_grad():
                inputs = learner.inputs(module, rows).numpy()
            validation_store = validation_store.replace(x=inputs)
        module, history = meta_train(
            learner,
            module,
            store,
            config=config,
            rng=rng,
            validation_store=validation_store,
            device=device,
            verbose=self.verbose,
            checkpoint=self.checkpoint,
        )
        encoder_config, encoder_arrays = encoder.to_dict()
        prior = Prior(
            estimator_type=self._estimator_type_of_prior,
            learner_config=learner_config(learner),
            signature=signature.to_dict() | targets.facts,
            weights={name: t.detach().cpu().numpy() for name, t in module.state_dict().items()},
            encoder=encoder_config,
            encoder_arrays=encoder_arrays,
            target=targets.config,
            target_arrays=targets.arrays,
            meta={
                "n_tasks": len(tasks),
                "n_rows": len(x),
                "columns": [str(name) for name in encoder.get_feature_names_out()],
                "versions": _versions(torch),
                "meta_parameters": self._described_meta_parameters(),
                "training": {name: getattr(config, name) for name in TRAINING_PARAMETERS},
            },
        )
        return prior, history

    def _validation_store(self, tasks: Any, encoder: TableEncoder, targets: Any) -> TaskStore:
        numeric = self._estimator_type_of_prior == "regressor"
        checked = check_tasks(tasks, argument="validation_tasks", min_tasks=1, y_numeric=numeric)
        names = [task.name for task in checked]
        x, offsets = encoder.transform_many([task.X for task in checked], names=names)
        y, ways = targets.encode_more(checked)
        return TaskStore(x, y, offsets, names, ways)

    # ------------------------------------------------------------------ adaptation

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
        return self._with_prior(self._own_prior_or_raise())._adapt_to(X, y)

    def fit(self, X: Any, y: Any) -> MetaEstimator:
        """Fit to one data set: adaptation in place.

        The prior is the one that ``fit_tasks`` learned, else the parameter `prior`. Without
        either the model is a supervised one: `learner` trained on this one data set, or, where
        that is "auto", Gaussian processes under a vague prior. With `task_column` the rows are
        those of many tasks: without a prior they are meta-trained on, and each is adapted to.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)

        Returns
        -------
        self
        """
        if self.task_column is not None:
            return self._fit_table(X, y)
        return self._adapt_to(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> MetaEstimator:
        """Take more support rows: the same as `fit` on all rows so far.

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
            return self._adapt_to(X, y, classes)
        y = self._check_rows(X, y)
        model, z = self._adapted.model, self._encode(self._adapted.model, X)
        encoded = self._encode_more(y, classes)
        support = model.support([z], [encoded.y], encoded.ways)
        self._adapted = model.update(self._adapted, support, self._checked_use_prior())
        self._describe(z, encoded.y)
        return self

    def adapt_many(self, tasks: Any, n_jobs: int | None = None) -> dict[str, MetaEstimator]:
        """Adapt to many tasks at once: the numbers of a loop over `adapt`, much faster.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        n_jobs : int, default=None
            Accepted for scikit-learn's interface; tasks are batched on the device instead.

        Returns
        -------
        dict of str to MetaEstimator
            In the order given; the name is the position where there is none.
        """
        return adapt_many(self._with_prior(self._own_prior_or_raise()), tasks)

    def _adapt_to(self, X: Any, y: Any, classes: Any = None) -> MetaEstimator:
        y = self._check_rows(X, y)
        model = self._model_for(X, y)
        return self._adapt_encoded(model, self._encode(model, X), y, classes)

    def _adapt_encoded(
        self, model: Any, z: np.ndarray, y: np.ndarray, classes: Any = None
    ) -> MetaEstimator:
        encoded = self._encode_support(model, y, classes)
        support = model.support([z], [encoded.y], encoded.ways)
        adapted = model.adapt(support, self._checked_use_prior())
        self._set_adapted(adapted, encoded.attributes)
        self._describe(z, encoded.y)
        return self

    def _set_adapted(self, adapted: Any, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)
        self._adapted = adapted
        self._tasks = None
        self.n_features_in_ = adapted.model.encoder.n_features_in_
        names = getattr(adapted.model.encoder, "feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _describe(self, z: np.ndarray, target: Any = None) -> None:
        """Set what adaptation decided, and warn of a task that is out of this world."""
        model = self._adapted.model
        self.prior_weight_ = float(self._adapted.weight[0]) if model.is_prior else 0.0
        self.novelty_ = 0.0
        if not model.is_prior or not len(z):
            return
        novelty = model.encoder.novelty(z)
        worst = int(novelty.argmax())
        self.novelty_ = float(novelty[worst])
        if self.novelty_ > NOVELTY_WARNING:
            column = model.encoder.get_feature_names_out()[worst]
            warnings.warn(
                f"X lies far from the tasks of meta-training: column {column!r} is "
                f"{self.novelty_:.0f} times as far out as is usual. Is it in other units, or "
                "scaled before (by a StandardScaler, say)? The prior brings its own scaling.",
                UserWarning,
                stacklevel=4,
            )
        far = self._target_novelty(model, target)
        if far > NOVELTY_WARNING:
            self.novelty_ = max(self.novelty_, far)
            warnings.warn(
                f"y lies far from the tasks of meta-training: {far:.0f} times as far out as any "
                "of them. Is it in other units, or scaled before (by a TransformedTargetRegressor, "
                "say)? The prior brings its own scaling.",
                UserWarning,
                stacklevel=4,
            )

    def _target_novelty(self, model: Any, target: Any) -> float:
        return 0.0

    # ------------------------------------------------------------------ one table of many tasks

    def _fit_table(self, X: Any, y: Any) -> MetaEstimator:
        if self.handle_unknown_task not in ("prior", "error"):
            raise ValueError(
                f"handle_unknown_task is {self.handle_unknown_task!r}, expected 'prior' or 'error'."
            )
        y = self._check_rows(X, y)
        table = split_table(X, self.task_column, type(self).__name__, None)
        tasks = table.tasks(y)
        prior, history = self._resolved_prior(), None
        if prior is None:
            prior, history = self._meta_train(tasks)
        one = self._with_prior(prior)
        one.task_column = None
        classes = self._classes_of_table(y)
        adapted = adapt_many(one, tasks, classes)
        model = next(iter(adapted.values()))._adapted.model
        nothing = np.zeros((0, model.signature.n_inputs), np.float32)
        unknown = one._with_prior(prior)._adapt_encoded(model, nothing, y[:0], classes)
        self._set_adapted(unknown._adapted, unknown._fitted_targets())
        self._tasks = adapted
        if history is not None:
            self.history_ = history
        self.n_features_in_ = table.n_features
        if table.feature_names is not None:
            self.feature_names_in_ = table.feature_names
        self.prior_weight_ = float(np.mean([e.prior_weight_ for e in adapted.values()]))
        self.novelty_ = float(max(e.novelty_ for e in adapted.values()))
        return self

    # ------------------------------------------------------------------ prediction

    def _on_rows(self, X: Any, call: Callable[[MetaEstimator, np.ndarray], np.ndarray]) -> Any:
        """Apply `call` to the encoded rows of X, each with the estimator of its task."""
        self._check_fitted()
        if self.task_column is None:
            return call(self, self._encode(self._adapted.model, X))
        table = split_table(X, self.task_column, type(self).__name__, self.n_features_in_)
        z = self._encode(self._adapted.model, table.X)
        parts, unknown = [], []
        for name, rows in table.rows.items():
            known = self._tasks.get(name)
            if known is None:
                unknown.append(name)
            parts.append((rows, call(self if known is None else known, z[rows])))
        if unknown:
            self._report_unknown(unknown)
        out = np.empty((len(z), *parts[0][1].shape[1:]), dtype=parts[0][1].dtype)
        for rows, part in parts:
            out[rows] = part
        return out

    def _report_unknown(self, names: list[str]) -> None:
        shown = ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "")
        message = f"Column {self.task_column!r} names {len(names)} task(s) not seen in fit: {shown}"
        if self.handle_unknown_task == "error":
            raise ValueError(f"{message}; fit with rows of each, or handle_unknown_task='prior'.")
        warnings.warn(f"{message}. They are predicted from the prior.", UserWarning, stacklevel=4)

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
        width = self._adapted.embedding(
            np.zeros((1, self._adapted.model.signature.n_inputs))
        ).shape[1]
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(width)], dtype=object)

    # ------------------------------------------------------------------ the prior

    def _own_prior_or_raise(self) -> Prior:
        prior = self._resolved_prior()
        if prior is None:
            raise NotFittedError(
                f"This {type(self).__name__} has no prior to adapt from: call fit_tasks with tasks "
                "to learn from, or pass prior=. (fit needs none.)"
            )
        return prior

    def _resolved_prior(self) -> Prior | None:
        if hasattr(self, "prior_"):
            prior = self.prior_
        elif self.prior is None:
            return None
        else:
            prior = load_prior(self.prior)
        if prior.estimator_type != self._estimator_type_of_prior:
            raise ValueError(
                f"prior is one of a {prior.estimator_type}, expected one of a "
                f"{self._estimator_type_of_prior}; {type(self).__name__} cannot use it."
            )
        return prior

    def _with_prior(self, prior: Prior) -> MetaEstimator:
        """Copy of this estimator with a prior, not adapted."""
        new = type(self).__new__(type(self))
        new.__dict__.update({name: getattr(self, name) for name in self._parameter_names()})
        new.prior = prior
        return new

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return cls._get_param_names()

    def _model_for(self, X: Any, y: np.ndarray) -> Any:
        from sklearn_meta._model import ready, resolve_device

        device = resolve_device(self.device)
        prior = self._resolved_prior()
        if prior is not None:
            self._refuse_other_meta_parameters(prior)
        elif isinstance(self.learner, str) and self.learner == "auto":
            prior = self._vague_prior(X, y)
        else:
            prior, self.history_ = self._meta_train([Task(X, y)])
        return ready(prior, device)

    def _vague_prior(self, X: Any, y: np.ndarray) -> Prior:
        """Prior that knows nothing but how this one table is to be encoded."""
        from sklearn_meta.learners._base import Signature

        encoder = self._new_encoder().fit([X])
        x = encoder.transform(X, estimator_name=type(self).__name__)
        targets = self._learn_targets([Task(X, y, name="0")], x, np.array([0, len(x)]))
        signature = Signature(targets.kind, x.shape[1], targets.n_outputs, targets.shared_classes)
        encoder_config, encoder_arrays = encoder.to_dict()
        return Prior(
            estimator_type=self._estimator_type_of_prior,
            learner_config={"name": "support_only", "params": {}},
            signature=signature.to_dict() | targets.facts,
            weights={},
            encoder=encoder_config,
            encoder_arrays=encoder_arrays,
            target=targets.config,
            target_arrays=targets.arrays,
        )

    def _refuse_other_meta_parameters(self, prior: Prior) -> None:
        """Raise where a parameter that only meta-training uses was set after it."""
        meta = prior.meta
        trained = meta.get("meta_parameters", {})
        for name, given in self._described_meta_parameters().items():
            if given == "auto" or given in (trained.get(name), meta.get("training", {}).get(name)):
                continue
            raise ValueError(
                f"{name}={getattr(self, name)!r} has no effect: the prior was meta-trained with "
                f"{name}={trained.get(name, 'auto')!r}, and fit and adapt only adapt it. Leave it "
                "at 'auto', or call fit_tasks to meta-train anew; to search over it, use "
                "sklearn_meta.model_selection.TaskEstimator."
            )

    def _described_meta_parameters(self) -> dict[str, Any]:
        """Meta-parameters as JSON has them."""
        return {name: _describe(getattr(self, name)) for name in self._meta_parameters}

    def _new_learner(self, y: Any) -> Any:
        from sklearn_meta.learners import Learner, get_learner

        if isinstance(self.learner, Learner):
            return clone(self.learner)
        if not isinstance(self.learner, str):
            raise TypeError(
                f"learner is {self.learner!r}, expected 'auto', the name of a learner or a Learner."
            )
        return get_learner(self._default_learner(y) if self.learner == "auto" else self.learner)

    def _new_encoder(self) -> TableEncoder:
        if isinstance(self.preprocessor, TableEncoder):
            return clone(self.preprocessor)
        if not (isinstance(self.preprocessor, str) and self.preprocessor == "auto"):
            raise TypeError(
                f"preprocessor is {self.preprocessor!r}, expected 'auto' or a "
                "sklearn_meta.preprocessing.TableEncoder."
            )
        return TableEncoder()

    def _hidden(self) -> tuple[int, ...]:
        if isinstance(self.network, str) and self.network == "auto":
            return HIDDEN
        widths = self.network if isinstance(self.network, (tuple, list)) else ()
        if not widths or not all(isinstance(w, (int, np.integer)) and w > 0 for w in widths):
            raise ValueError(
                f"network is {self.network!r}, expected 'auto' or the widths of the network's "
                "layers, such as (64, 64, 32)."
            )
        return tuple(int(width) for width in widths)

    def _generator(self) -> np.random.Generator:
        """Random numbers from `random_state`; the global generator is never touched."""
        if isinstance(self.random_state, np.random.RandomState):
            return np.random.default_rng(self.random_state.randint(2**31))
        return np.random.default_rng(self.random_state)

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
        _warn_of_names(self, model.encoder, X)
        return model.encoder.transform(X, estimator_name=type(self).__name__)

    def _checked_use_prior(self) -> Any:
        value = self.use_prior
        if isinstance(value, str) and value == "auto":
            return "auto"
        if value is True or (isinstance(value, Real) and 0 <= value <= 1):
            return value if value is True else float(value)
        raise ValueError(f"use_prior is {value!r}, expected 'auto', True or a weight in [0, 1].")

    def _check_fitted(self) -> None:
        if self.__sklearn_is_fitted__():
            return
        if hasattr(self, "prior_"):
            raise NotFittedError(
                f"This {type(self).__name__} is meta-trained but not adapted to a task yet: call "
                "adapt or fit with the support rows of a task first."
            )
        raise NotFittedError(
            f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
            "arguments before using this estimator."
        )

    def _forget(self) -> None:
        """Drop every fitted attribute."""
        parameters = set(self._parameter_names())
        for name in [name for name in vars(self) if name not in parameters]:
            delattr(self, name)

    # ------------------------------------------------------------------ scikit-learn's hooks

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_adapted", None) is not None

    def __sklearn_clone__(self) -> MetaEstimator:
        new = type(self)(
            **{
                name: clone(value, safe=False)
                for name, value in self.get_params(deep=False).items()
            }
        )
        if hasattr(self, "prior_"):
            new.prior = self.prior_
        return new

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def load_prior(prior: Any) -> Prior:
    """Prior from a `Prior`, a path, the name of a bundled one, or a meta-trained estimator.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        If it is none of these; the message says what came.
    """
    if isinstance(prior, Prior):
        return prior
    if isinstance(prior, MetaEstimator):
        if hasattr(prior, "prior_"):
            return prior.prior_
        if prior.prior is not None:
            return load_prior(prior.prior)
        raise ValueError(
            "prior is an estimator that has none: it was not meta-trained. Call its fit_tasks "
            "first and pass meta.prior_."
        )
    if isinstance(prior, (str, os.PathLike)):
        return Prior.load(prior)
    raise TypeError(
        f"prior is of type {type(prior).__name__}, expected a Prior, the path of a saved one, or "
        "a meta-trained estimator."
    )


def _describe(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        params = {name: _describe(v) for name, v in value.get_params(deep=False).items()}
        return {"name": type(value).__name__, "params": params}
    if isinstance(value, (tuple, list)):
        return [_describe(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _versions(torch: Any) -> dict[str, str]:
    from sklearn_meta import __version__

    return {
        "sklearn_meta": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
    }


def _warn_of_names(estimator: MetaEstimator, encoder: TableEncoder, X: Any) -> None:
    """Warn, as scikit-learn does, where names come where none were, or none where some were."""
    columns = getattr(type(X), "columns", None) is not None or hasattr(X, "columns")
    named = columns and all(isinstance(name, str) for name in X.columns)
    known = hasattr(encoder, "feature_names_in_")
    owner = type(estimator).__name__
    if named and not known:
        warnings.warn(
            f"X has feature names, but {owner} was fitted without feature names",
            UserWarning,
            stacklevel=4,
        )
    elif known and not named:
        warnings.warn(
            f"X does not have valid feature names, but {owner} was fitted with feature names",
            UserWarning,
            stacklevel=4,
        )
