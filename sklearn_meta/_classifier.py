"""MetaClassifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import (
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import check_array, column_or_1d

from sklearn_meta._estimator import MetaEstimator
from sklearn_meta._learning import new_learner
from sklearn_meta._shared_classes import classes_are_shared
from sklearn_meta._targets import EncodedTargets, Targets
from sklearn_meta.tasks import Task


class MetaClassifier(ClassifierMixin, MetaEstimator):
    """Classifier that learns across tasks and adapts to a new one from few rows.

    ``fit_tasks`` meta-trains on many small data sets; ``adapt`` returns an ordinary fitted
    classifier for a new one. A clone of a meta-trained estimator keeps its prior, so that
    cross-validation, pipelines and searches adapt from it in every fold.

    A label matrix of zeros and ones (n_rows, n_labels) is taken for label sets.

    Parameters
    ----------
    prior : Prior, path, meta-trained estimator, or "tabular", default=None
        What was learned across tasks before; "tabular" is the bundled prior, from which ``fit``
        starts by itself where there is none. ``fit_tasks`` ignores it and starts afresh.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is a GPU where there is one.
    random_state : int, RandomState or None, default=None
        Seed of meta-training. Adaptation is deterministic.
    verbose : int, default=0
        From 1 on, meta-training shows a progress bar.
    learner : str or Learner, default="auto"
        Algorithm of meta-learning; "auto" is `BayesianLogistic`, `InContext` where tasks differ in
        their columns, or `PrototypicalNetwork` for images and for a network of your own. This and
        all parameters up to `image_shape` are fixed by the prior: set beside one they raise.
    network : tuple of int or torch.nn.Module, default="auto"
        Widths of the layers of the learner's network, the last of which is the number of its
        features; channels of its convolutions where rows are images. A module maps rows (or
        images) to features; a copy of it is trained, which starts with its weights.
    preprocessor : TableEncoder or ImageEncoder, default="auto"
        Encoder of the columns, fitted once over the meta-training tasks; where these differ in
        their columns, on each table by itself.
    shared_classes : bool, default="auto"
        Whether a label means the same in every task; "auto" asks tasks left out whether models of
        other tasks foresee their labels.
    shots : int or (int, int), default="auto"
        Support rows drawn in meta-training, in all; of each class where rows are images whose
        classes are not shared.
    batch_size : int, default="auto"
        Tasks in a step.
    max_iter : int, default="auto"
        Most steps.
    learning_rate_init : float, default="auto"
        First step size.
    alpha : float, default="auto"
        Weight decay of networks.
    early_stopping : bool, default="auto"
        Whether to judge meta-training on tasks held out.
    validation_fraction : float, default="auto"
        Share of the tasks held out; learners that cross-fit hold out folds instead.
    n_iter_no_change : int, default="auto"
        Evaluations (each of 50 steps) without improvement after which to end.
    tol : float, default="auto"
        What counts as an improvement, in nats.
    max_time : float, default="auto"
        Seconds that meta-training may take, about; "auto" is 60, or 300 for images whose classes
        are not shared.
    image_shape : (H, W) or (C, H, W), default=None
        Rows are images of this shape, their pixels one after the other.
    checkpoint : path, default=None
        File from which an interrupted meta-training goes on.
    use_prior : "auto", True or float, default="auto"
        Weight of the prior against a model of the support alone: "auto" by their evidence.
    task_column : str or int, default=None
        Column of X that says to which task a row belongs. ``fit`` then takes the rows of many
        tasks and ``predict`` uses each row's own.
    handle_unknown_task : {"prior", "error"}, default="prior"
        What ``predict`` does with rows of a task that ``fit`` has not seen.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of the support, and those of ``classes=``. For label sets a list of arrays.
    prior_ : Prior
        What ``fit_tasks`` learned.
    history_ : History
        How meta-training went.
    prior_weight_ : float
        Weight of the prior against the support alone, in [0, 1].
    novelty_ : float
        How far out the task lies among those of meta-training; about 1 is usual. It is 1 where
        columns and units are the table's own.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where the prior's tasks had names; under an open prior, where this table has.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_meta import MetaClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> pairs = [(a, b) for a in range(6) for b in range(a)]
    >>> tasks = [(X[(y == a) | (y == b)][:30], y[(y == a) | (y == b)][:30]) for a, b in pairs]
    >>> meta = MetaClassifier(random_state=0, max_iter=100, shared_classes=False).fit_tasks(tasks)
    >>> new = (y == 8) | (y == 9)
    >>> model = meta.adapt(X[new][:6], y[new][:6])
    >>> model.predict(X[new][6:8]).shape
    (2,)
    """

    _meta_parameters = (*MetaEstimator._meta_parameters, "shared_classes")
    _private_attributes = (*MetaEstimator._private_attributes, "_is_multilabel", "_known")
    _estimator_type_of_prior = "classifier"
    _default_learner = "bayesian_logistic"
    _default_learner_of_networks = "prototypical"

    def __init__(
        self,
        prior: Any = None,
        *,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
        learner: Any = "auto",
        network: Any = "auto",
        preprocessor: Any = "auto",
        shared_classes: Any = "auto",
        shots: Any = "auto",
        batch_size: Any = "auto",
        max_iter: Any = "auto",
        learning_rate_init: Any = "auto",
        alpha: Any = "auto",
        early_stopping: Any = "auto",
        validation_fraction: Any = "auto",
        n_iter_no_change: Any = "auto",
        tol: Any = "auto",
        max_time: Any = "auto",
        image_shape: tuple[int, ...] | None = None,
        checkpoint: Any = None,
        use_prior: Any = "auto",
        task_column: str | int | None = None,
        handle_unknown_task: str = "prior",
    ):
        self.prior = prior
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.learner = learner
        self.network = network
        self.preprocessor = preprocessor
        self.shared_classes = shared_classes
        self.shots = shots
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.max_time = max_time
        self.image_shape = image_shape
        self.checkpoint = checkpoint
        self.use_prior = use_prior
        self.task_column = task_column
        self.handle_unknown_task = handle_unknown_task

    def adapt(self, X: Any, y: Any, classes: Any = None) -> MetaClassifier:
        """Return a new estimator that is fitted to one task, from this estimator's prior.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
            Support rows.
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
            Their labels.
        classes : array-like, default=None
            Labels that may occur beside those in `y`.

        Returns
        -------
        MetaClassifier
            Shares the prior; this estimator is left as it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Without a prior.
        ValueError
            If the data do not fit the prior.
        """
        return self._copy(self._prior_or_raise())._fit(X, y, classes)

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_labels)
        """
        p = self.predict_proba(X)
        if self._is_multilabel:
            return (p > 0.5).astype(np.int64)
        return self.classes_[p.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities of the classes, or of each label of a set.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes) or (n_rows, n_labels)
        """
        return self._on_rows(X, _probabilities)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict log probabilities, see `predict_proba`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes) or (n_rows, n_labels)
        """
        p = self.predict_proba(X)
        return np.log(np.maximum(p, np.finfo(p.dtype).tiny))

    def _check_targets(self, y: Any) -> np.ndarray:
        if sparse.issparse(y):
            raise TypeError("y is sparse, expected a dense array; pass y.toarray().")
        labels = np.asarray(y)
        if labels.ndim == 1 and labels.dtype.kind in "biuUS":
            return labels
        if labels.dtype.kind == "f":
            check_array(labels, ensure_2d=False, ensure_min_samples=0, input_name="y")
        kind = type_of_target(y, input_name="y")
        if kind == "multilabel-indicator":
            labels = check_array(y, dtype=np.int64, input_name="y")
            if np.isin(labels, (0, 1)).all():
                return labels
        check_classification_targets(y)
        if kind in ("multilabel-indicator", "multiclass-multioutput"):
            raise ValueError(
                "y has several columns of classes, expected one label a row or a matrix of zeros "
                "and ones (label sets); fit one classifier a column (MultiOutputClassifier)."
            )
        return column_or_1d(y, warn=True)

    def _checked_targets(self, tasks: list[Task]) -> list[np.ndarray]:
        """Targets of many tasks; a fault is reported with the name of its task."""
        checked = []
        for task in tasks:
            try:
                checked.append(self._check_targets(task.y))
            except ValueError as error:
                raise ValueError(f"tasks: task {task.name!r}: {error}") from error
        return checked

    def _learn_targets(self, tasks: list[Task], x: np.ndarray, offsets: np.ndarray) -> Targets:
        ys = self._checked_targets(tasks)
        # Zeros and ones in two columns and more are label sets, even where each task has one row.
        if ys[0].ndim == 2:
            return self._learn_label_sets(ys)
        labels = [np.unique(y) for y in ys]
        classes = np.unique(np.concatenate(labels))
        y = np.searchsorted(classes, np.concatenate(ys))
        shared = self._decide_shared(x, y, np.repeat(np.arange(len(ys)), np.diff(offsets)))
        if shared:
            return Targets(
                kind="classification",
                y=y,
                n_outputs=len(classes),
                encode_more=lambda tasks: (_known_codes(tasks, classes), None),
                shared_classes=True,
                facts={"classes": classes.tolist()},
            )

        def encode(tasks: list[Task]) -> tuple[np.ndarray, np.ndarray]:
            pairs = [np.unique(task.y, return_inverse=True) for task in tasks]
            return np.concatenate([p[1] for p in pairs]), np.array([len(p[0]) for p in pairs])

        codes, ways = encode(tasks)
        return Targets(
            kind="classification",
            y=codes,
            n_outputs=int(ways.max()),
            encode_more=encode,
            ways=ways,
            labels=y,
        )

    def _learn_label_sets(self, ys: list[np.ndarray]) -> Targets:
        return Targets(
            kind="multilabel",
            y=np.concatenate(ys),
            n_outputs=ys[0].shape[1],
            encode_more=lambda tasks: (np.concatenate([task.y for task in tasks]), None),
            shared_classes=True,
        )

    def _decide_shared(self, x: np.ndarray, y: np.ndarray, task: np.ndarray) -> bool:
        if isinstance(self.shared_classes, (bool, np.bool_)):
            return bool(self.shared_classes)
        if not (isinstance(self.shared_classes, str) and self.shared_classes == "auto"):
            raise ValueError(
                f"shared_classes is {self.shared_classes!r}, expected 'auto', True or False."
            )
        # The decision has its own random numbers: it must not move those of meta-training.
        return classes_are_shared(x, y, task, np.random.default_rng(0))

    def _encode_support(self, model: Any, y: np.ndarray, classes: Any) -> EncodedTargets:
        multilabel = model.signature.kind == "multilabel"
        if multilabel or y.ndim == 2:
            return self._encode_label_sets(model, y, multilabel)
        labels = np.unique(y)
        if classes is not None:
            labels = _union(labels, classes)
        codes = np.searchsorted(labels, y)
        attributes: dict[str, Any] = {"classes_": labels, "_is_multilabel": False, "_known": None}
        known = {} if model.classes is None else {c: i for i, c in enumerate(model.classes)}
        if model.signature.shared_classes and all(label in known for label in labels.tolist()):
            positions = np.array([known[label] for label in labels.tolist()], dtype=np.int64)
            attributes["_known"] = positions
            return EncodedTargets(positions[codes], attributes=attributes)
        return EncodedTargets(codes, ways=len(labels), attributes=attributes)

    def _encode_supports(self, model: Any, tasks: list[Task], classes: Any) -> list[EncodedTargets]:
        encoded = []
        for task, y in zip(tasks, self._checked_targets(tasks), strict=True):
            try:
                encoded.append(self._encode_support(model, y, classes))
            except ValueError as error:
                raise ValueError(f"tasks: task {task.name!r}: {error}") from error
        return encoded

    def _encode_label_sets(self, model: Any, y: np.ndarray, multilabel: bool) -> EncodedTargets:
        n_labels = model.signature.n_outputs
        if len(y) == 0:
            y = np.zeros((0, n_labels), np.int64)
        if not multilabel or y.ndim != 2 or y.shape[1] != n_labels:
            expected = f"label sets of {n_labels} labels" if multilabel else "one label a row"
            where = "the first rows had" if model.is_opened else "the prior was meta-trained on"
            raise ValueError(f"y has shape {y.shape}, but {where} {expected}.")
        classes = [np.array([0, 1])] * n_labels
        return EncodedTargets(
            y, attributes={"classes_": classes, "_is_multilabel": True, "_known": None}
        )

    def _encode_more(self, y: np.ndarray, classes: Any) -> EncodedTargets:
        model = self._adapted.model
        if self._is_multilabel:
            return self._encode_label_sets(model, y, True)
        labels = np.unique(y) if classes is None else _union(np.unique(y), classes)
        both = unique_labels(labels, self.classes_) if len(labels) else self.classes_
        foreign = np.setdiff1d(both, self.classes_)
        if len(foreign):
            raise ValueError(
                f"y or classes holds {foreign[:5].tolist()}, which the first rows did not "
                "announce: pass all labels that may come as classes= in the first call."
            )
        codes = np.searchsorted(self.classes_, y)
        attributes = {
            name: getattr(self, name) for name in ("classes_", "_is_multilabel", "_known")
        }
        if self._known is None:
            return EncodedTargets(codes, len(self.classes_), attributes)
        return EncodedTargets(self._known[codes], None, attributes)

    def _targets_of_tables(
        self, tasks: list[Task]
    ) -> list[list[tuple[np.ndarray, tuple[str, ...] | None]]]:
        return [
            # Zeros and ones of label sets are no names.
            [(_codes(label), None) for label in y.T] if y.ndim == 2 else [(_codes(y), _texts(y))]
            for y in self._checked_targets(tasks)
        ]

    def _open(self, model: Any, encoder: Any, y: np.ndarray, classes: Any) -> Any:
        if y.ndim == 2:
            return model.opened("multilabel", y.shape[1], encoder, None)
        labels = _texts(y if classes is None else _union(np.unique(y), classes))
        return model.opened("classification", 0, encoder, None, labels)

    def _announced_classes(self) -> Any:
        return None if self._is_multilabel else self.classes_

    def _classes_of_table(self, y: np.ndarray) -> Any:
        return None if y.ndim == 2 else np.unique(y)

    def _serves_label_sets(self) -> bool:
        if isinstance(self.learner, str) and self.learner == "auto":
            return True
        try:
            return "multilabel" in new_learner(self).kinds
        except (TypeError, ValueError):
            return False  # no learner at all: fit says so

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        tags.classifier_tags.multi_label = self._serves_label_sets()
        return tags


def _probabilities(one: MetaClassifier, z: np.ndarray) -> np.ndarray:
    p = one._adapted.probabilities(z)
    if one._is_multilabel:
        return p
    if one._known is not None:
        p = p[:, one._known]
    # The prior may know classes that this task has not; what is left has sum 1.
    return p / p.sum(axis=1, keepdims=True)


def _codes(y: np.ndarray) -> np.ndarray:
    return np.unique(y, return_inverse=True)[1]


def _texts(y: np.ndarray) -> tuple[str, ...]:
    """Labels as text, sorted as their codes are, by which other tables may know them.

    Whole numbers are the same whatever their dtype.
    """
    labels = np.unique(y)
    if labels.dtype.kind == "f":
        labels = np.array([int(v) if v.is_integer() else v for v in labels.tolist()], dtype=object)
    return tuple(map(str, labels.tolist()))


def _known_codes(tasks: list[Task], classes: np.ndarray) -> np.ndarray:
    """Codes of labels by value; a label that no training task had is an error."""
    for task in tasks:
        foreign = np.setdiff1d(task.y, classes)
        if len(foreign):
            raise ValueError(
                f"validation_tasks: task {task.name!r} has labels {foreign[:5].tolist()} that no "
                "task of meta-training has; leave it out, or pass shared_classes=False."
            )
    return np.searchsorted(classes, np.concatenate([task.y for task in tasks]))


def _union(labels: np.ndarray, classes: Any) -> np.ndarray:
    classes = np.unique(column_or_1d(classes))
    return unique_labels(labels, classes) if len(labels) else classes
