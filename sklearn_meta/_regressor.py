"""MetaRegressor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_array

from sklearn_meta._estimator import MetaEstimator
from sklearn_meta._random import generator_of
from sklearn_meta._targets import EncodedTargets, Targets
from sklearn_meta.preprocessing import TargetScaler
from sklearn_meta.tasks import Task


class MetaRegressor(RegressorMixin, MetaEstimator):
    """Regressor that learns across tasks and adapts to a new one from few rows.

    ``fit_tasks`` meta-trains on many small data sets; ``adapt`` returns an ordinary fitted
    regressor for a new one. A clone of a meta-trained estimator keeps its prior, so that
    cross-validation, pipelines and searches adapt from it in every fold.

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
        Algorithm of meta-learning; "auto" is `BayesianLinear`, `InContext` where tasks differ in
        their columns, or `DeepKernelGP` for images and for a network of your own. This and
        all parameters up to `image_shape` are fixed by the prior: set beside one they raise.
    network : tuple of int or torch.nn.Module, default="auto"
        Widths of the layers of the learner's network, the last of which is the number of its
        features; channels of its convolutions where rows are images. A module maps rows (or
        images) to features; a copy of it is trained, which starts with its weights.
    preprocessor : TableEncoder or ImageEncoder, default="auto"
        Encoder of the columns, fitted once over the meta-training tasks; where these differ in
        their columns, on each table by itself.
    shots : int or (int, int), default="auto"
        Support rows drawn in meta-training.
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
        Seconds that meta-training may take, about; "auto" is 60.
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
    >>> import numpy as np
    >>> from sklearn_meta import MetaRegressor
    >>> rng = np.random.default_rng(0)
    >>> def task(slope, n):
    ...     X = rng.normal(size=(n, 1))
    ...     return X, slope * X[:, 0] + 0.1 * rng.normal(size=n)
    >>> tasks = [task(rng.normal(2.0), 20) for _ in range(30)]
    >>> meta = MetaRegressor(random_state=0, max_iter=100).fit_tasks(tasks)
    >>> X, y = task(3.0, 5)
    >>> meta.adapt(X, y).predict([[1.0]]).shape
    (1,)
    """

    _private_attributes = (*MetaEstimator._private_attributes, "_n_targets")
    _estimator_type_of_prior = "regressor"
    _default_learner = "bayesian_linear"
    _default_learner_of_networks = "deep_kernel"

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

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict targets.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
        return_std : bool, default=False
            Whether to return the standard deviation of the predictive distribution too: that of a
            new observation, noise included.

        Returns
        -------
        mean : ndarray of shape (n_rows,) or (n_rows, n_targets)
        std : ndarray of the same shape
            Only with ``return_std=True``.
        """
        mean, std = self._on_rows(X, _mean_and_std).swapaxes(0, 1)
        return (mean, std) if return_std else mean

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Draw observations from the posterior of the prior, jointly over the rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
        n_samples : int, default=1
        random_state : int, RandomState or None, default=0

        Returns
        -------
        ndarray of shape (n_rows, n_samples) or (n_rows, n_targets, n_samples)
        """
        import torch

        seed = int(generator_of(random_state).integers(2**63))

        def draw(one: MetaRegressor, z: np.ndarray) -> np.ndarray:
            model = one._adapted.model
            generator = torch.Generator(device=model.device).manual_seed(seed)
            scaled = one._adapted.samples(z, n_samples, generator)
            samples = np.stack([model.scaler.inverse_transform(s) for s in scaled], -1)
            return samples[:, 0] if one._n_targets == 1 else samples

        return self._on_rows(X, draw)

    def _check_targets(self, y: Any) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", ensure_min_samples=0)
        if y.ndim > 2:
            raise ValueError(f"y has shape {y.shape}, expected (n_rows,) or (n_rows, n_targets).")
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the "
                "shape of y to (n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=4,
            )
            y = y[:, 0]
        return y

    def _learn_targets(self, tasks: list[Task], x: np.ndarray, offsets: np.ndarray) -> Targets:
        ys = [_columns(task.y) for task in tasks]
        scaler = TargetScaler().fit(ys)

        def encode(tasks: list[Task]) -> tuple[np.ndarray, None]:
            joined = np.concatenate([_columns(task.y) for task in tasks])
            return scaler.transform(joined).astype(np.float32), None

        y, _ = encode(tasks)
        centers = [np.median(part, axis=0) for part in np.split(y, offsets[1:-1])]
        reach = np.abs(centers).max(axis=0)
        config, arrays = scaler.to_dict()
        return Targets(
            kind="regression",
            y=y,
            n_outputs=y.shape[1],
            encode_more=encode,
            facts={"target_reach": reach.tolist()},
            config=config,
            arrays=arrays,
        )

    def _targets_of_tables(self, tasks: list[Task]) -> list[list[tuple[np.ndarray, None]]]:
        return [[(y, None) for y in _columns(task.y).T] for task in tasks]

    def _open(self, model: Any, encoder: Any, y: np.ndarray, classes: Any) -> Any:
        y = _columns(y)
        return model.opened("regression", y.shape[1], encoder, TargetScaler().fit([y]))

    def _encode_support(self, model: Any, y: np.ndarray, classes: Any) -> EncodedTargets:
        if classes is not None:
            raise ValueError("classes has no meaning for a regressor; leave it out.")
        y = _columns(y)
        n_targets = model.signature.n_outputs
        if y.shape[1] != n_targets:
            where = "the first rows had" if model.is_opened else "the prior was meta-trained with"
            raise ValueError(f"y has {y.shape[1]} target(s), but {where} {n_targets}.")
        attributes = {"_n_targets": n_targets}
        return EncodedTargets(model.scaler.transform(y), attributes=attributes)

    def _encode_supports(self, model: Any, tasks: list[Task], classes: Any) -> list[EncodedTargets]:
        joined = np.concatenate([_columns(task.y) for task in tasks])
        both = self._encode_support(model, joined, classes)
        ends = np.cumsum([len(task.y) for task in tasks])[:-1]
        return [EncodedTargets(y, None, both.attributes) for y in np.split(both.y, ends)]

    def _encode_more(self, y: np.ndarray, classes: Any) -> EncodedTargets:
        return self._encode_support(self._adapted.model, y, classes)


def _columns(y: np.ndarray) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    return y[:, None] if y.ndim == 1 else y


def _mean_and_std(one: MetaRegressor, z: np.ndarray) -> np.ndarray:
    """Mean and standard deviation in the user's units: (n, 2) or (n, 2, k)."""
    mean, var = one._adapted.moments(z)
    mean, std = one._adapted.model.scaler.inverse_transform(mean, np.sqrt(var))
    both = np.stack([mean, std], axis=1)
    return both[..., 0] if one._n_targets == 1 else both
