"""MetaReconstructor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from sklearn_meta._images_in import (
    Rows,
    like_input,
    pixel_names,
    read_images,
    read_rows,
    shaped,
)
from sklearn_meta._learning import IMAGE_TRAINING_PARAMETERS
from sklearn_meta._prior import Prior
from sklearn_meta._prior_holder import PriorHolder
from sklearn_meta._resolve_prior import is_bundled
from sklearn_meta.metrics import psnr


class MetaReconstructor(TransformerMixin, PriorHolder):
    """Reconstruct images from measurements ``y = A x + n`` or ``y = F(x) + n``.

    ``fit_tasks`` learns what images look like from tasks that may each have their own operator;
    ``adapt`` returns an estimator for a new operator, from pairs of measurements and images, from
    measurements alone, or from the operator alone. Where there is nothing to learn from, a bundled
    prior serves photographs and medical images of any size.

    Measurements and images are arrays with one measurement or image a row, flat or with all
    their axes: ``(n, m)``, ``(n, H, W)``, ``(n, H, W, C)``. Flat rows give flat images, others
    give images. NaN in a measurement means that it is missing.

    Parameters
    ----------
    prior : Prior, path, meta-trained estimator, or "image", default=None
        What was learned before; "image" is the bundled prior, from which ``fit`` starts by itself
        where there is none. ``fit_tasks`` ignores it and starts afresh.
    operator : object, default=None
        Forward operator: one of `sklearn_meta.operators`, a matrix (m, n_pixels), a sparse matrix,
        a `scipy.sparse.linalg.LinearOperator`, or a torch function of images. Clones share it.
        Where there is none, it is learned from pairs; without pairs, the measurements are taken
        for the images with noise.
    image_shape : (H, W) or (H, W, C), default=None
        Shape of the images. It may be left out where the operator, the images or the prior tell.
    noise : "auto", float, array-like of shape (n,), ("poisson", peak) or Noise, default="auto"
        Standard deviation of the noise in units of the measurements, for all images or one each;
        ("poisson", peak) for counts that were divided by their peak. "auto" estimates it.
    learner : str or ReconstructionLearner, default="auto"
        What is learned, and how images are reconstructed. "auto" is a denoising network; for small
        images, alike in shape, held-out images say whether it is a `GaussianMixturePrior` instead,
        which also stays beside the network for operators that are not known. Of measurements
        alone it is a `GaussianPrior`. Gaussian priors serve linear operators only: under others,
        images in [0, 1] are reconstructed from the bundled prior. A prior fixes this and the
        parameters from `batch_size` to `max_time`: others beside it raise, unless a learner runs
        the network of another.
    adapt_to : {"auto", "measurements", "targets"}, default="auto"
        What ``fit`` adapts to: measurements alone, whatever `y` is, or `y`, which holds the images.
        "auto" takes `y` for the images where its trailing shape is `image_shape`, or its product
        and more than one pixel; else `y` is labels, of a step that follows in a Pipeline.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is a GPU where there is one.
    random_state : int, RandomState or None, default=None
        Seed of meta-training.
    verbose : int, default=0
        From 1 on, meta-training shows a progress bar.
    batch_size : int, default="auto"
        Images in a step of meta-training.
    max_iter : int, default="auto"
        Most steps.
    learning_rate_init : float, default="auto"
        First step size.
    alpha : float, default="auto"
        Weight decay of networks.
    early_stopping : bool, default="auto"
        Whether to judge meta-training on held-out images.
    validation_fraction : float, default="auto"
        Share held out.
    n_iter_no_change : int, default="auto"
        Evaluations without improvement after which to end.
    tol : float, default="auto"
        What counts as an improvement.
    max_time : float, default="auto"
        Seconds that meta-training may take, about.
    checkpoint : path, default=None
        File from which an interrupted meta-training goes on.

    Attributes
    ----------
    prior_ : Prior
        What ``fit_tasks`` learned.
    history_ : History
        How meta-training went.
    operator_ : Operator
        The operator that is inverted; the one regressed from pairs where it was unknown.
    image_shape_ : tuple of int
        Shape of the images.
    noise_ : Noise
        Noise that was given or estimated.
    adapt_to_ : {"measurements", "targets"} or None
        What was adapted to; None after ``adapt(operator=A)``.
    n_features_in_ : int
        Number of values of a measurement.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where ``fit`` was given a data frame.

    Notes
    -----
    A table by itself, ``MetaReconstructor().fit(X)`` with neither operator nor image shape, is
    taken as images of one row: a Gaussian prior is learned from its rows, by which they are
    denoised and missing values are filled in. Its noise is the most that the covariance admits.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_meta import MetaReconstructor, Task
    >>> images = load_digits().images / 16
    >>> meta = MetaReconstructor(learner="gaussian").fit_tasks([Task(y=images[:1000])])
    >>> A = np.random.default_rng(0).normal(size=(32, 64))
    >>> measurements = images[1000:1010].reshape(10, -1) @ A.T
    >>> meta.adapt(operator=A).predict_images(measurements).shape
    (10, 8, 8)
    """

    _meta_parameters = ("learner", *IMAGE_TRAINING_PARAMETERS)
    _private_attributes = ("_adapted", "_is_table", "_rows")
    _estimator_type_of_prior = "reconstructor"
    _support = "an operator or measurements"

    def __init__(
        self,
        prior: Any = None,
        *,
        operator: Any = None,
        image_shape: tuple[int, ...] | None = None,
        noise: Any = "auto",
        learner: Any = "auto",
        adapt_to: str = "auto",
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
        batch_size: Any = "auto",
        max_iter: Any = "auto",
        learning_rate_init: Any = "auto",
        alpha: Any = "auto",
        early_stopping: Any = "auto",
        validation_fraction: Any = "auto",
        n_iter_no_change: Any = "auto",
        tol: Any = "auto",
        max_time: Any = "auto",
        checkpoint: Any = None,
    ):
        self.prior = prior
        self.operator = operator
        self.image_shape = image_shape
        self.noise = noise
        self.learner = learner
        self.adapt_to = adapt_to
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.max_time = max_time
        self.checkpoint = checkpoint

    # ------------------------------------------------------------------ fitting

    def fit_tasks(self, tasks: Any, validation_tasks: Any = None) -> MetaReconstructor:
        """Meta-train: learn across tasks what images look like.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            ``Task(X=measurements, y=images, operator=A)``. Without `X`, measurements are simulated;
            without `operator`, it is unknown; without `y`, the images are. Operators, numbers of
            measurements and sizes of images may differ.
        validation_tasks : like `tasks`, default=None
            Whole tasks on which meta-training is judged and stopped.

        Returns
        -------
        self
            With ``prior_`` and ``history_``; not adapted to any operator.

        Raises
        ------
        TypeError, ValueError
            If a task or a parameter cannot be used; the message names it.
        """
        from sklearn_meta._learn_images import learn_image_prior

        prior, history = learn_image_prior(self, tasks, validation_tasks)
        self._forget()
        self.prior_, self.history_ = prior, history
        return self

    def adapt(self, X: Any = None, y: Any = None, operator: Any = None) -> MetaReconstructor:
        """Return a new estimator that is fitted to one operator, from this estimator's prior.

        Parameters
        ----------
        X : array-like of shape (n, m) or ``(n, *measurement_shape)``, default=None
            Measurements under the new operator.
        y : array-like of shape ``(n, *image_shape)`` or (n, n_pixels), default=None
            Images that belong to them.
        operator : object, default=None
            The new operator; by default the parameter of that name. Where there is neither, it is
            learned from the pairs.

        Returns
        -------
        MetaReconstructor
            Shares the prior; this estimator is left as it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Without a prior.
        TypeError, ValueError
            If the data or the operator cannot be used.
        """
        prior = self._prior_or_raise()
        new = self._copy(prior)
        if operator is not None:
            new.operator = operator
        new._become(new._fitted(prior, X, y, may_ignore=False))
        return new

    def adapt_many(self, tasks: Any, n_jobs: int | None = None) -> dict[str, MetaReconstructor]:
        """Adapt to many tasks: a loop over `adapt`.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            Their operator by default is the parameter of that name.
        n_jobs : int, default=None
            Accepted for scikit-learn's interface, and not used.

        Returns
        -------
        dict of str to MetaReconstructor
            In the order given; the name is the position where there is none.
        """
        from sklearn_meta._image_tasks import adapt_each

        self._prior_or_raise()
        return adapt_each(self, tasks)

    def fit(self, X: Any, y: Any = None) -> MetaReconstructor:
        """Fit to measurements, or to pairs of measurements and images: adaptation in place.

        The prior is the one that ``fit_tasks`` learned, else the parameter `prior`, else the
        bundled one; where `y` holds small images, and enough of them, it is learned from these.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``
            Measurements.
        y : array-like, default=None
            Images ``(n, *image_shape)`` or (n, n_pixels), or labels, which are ignored; see
            `adapt_to`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the data do not fit the operator, the prior or one another. The estimator is then
            left as it was.
        """
        if X is None:
            raise ValueError("X is None, expected measurements; adapt(operator=) needs none.")
        self._become(self._fitted(self._prior_or_none(), X, y))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> MetaReconstructor:
        """Take more rows: the same as to fit to all rows so far.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``
        y : array-like, default=None
            As in ``fit``: the images of these rows where those of the rows before were given.

        Returns
        -------
        self
        """
        if not self.__sklearn_is_fitted__() or self._rows is None:
            return self.fit(X, y)
        seen, images = self._rows
        rows = read_rows(self, X, reset=False)
        values = np.concatenate([seen, rows.values.reshape(-1, *seen.shape[1:])])
        if self._is_table:
            values = values.reshape(len(values), -1)
        if images is not None:
            if y is None:
                raise ValueError("y is None, but the rows before came with images; pass y too.")
            y = np.concatenate([images, read_images(y, self.image_shape_)])
        fitted = self._fitted(self._prior_or_none(), values, None if images is None else y)
        if hasattr(self, "feature_names_in_"):
            fitted["feature_names_in_"] = self.feature_names_in_
        self._become(fitted)
        return self

    def _fitted(
        self, prior: Prior | None, X: Any, y: Any, may_ignore: bool = True
    ) -> dict[str, Any]:
        """Adapt; return the fitted attributes. Nothing is set: a fit that fails leaves no trace."""
        from sklearn_meta._image_fit import adapt_to_support
        from sklearn_meta._image_support import read_support

        scratch = self._copy()  # scikit-learn's checks write names on it
        own = prior is not None and not is_bundled(prior)
        shapes = prior.signature["image_shapes"] if own else []
        support = read_support(
            scratch,
            X,
            y,
            self.operator,
            prior_shape=tuple(shapes[0]) if len(shapes) == 1 else None,
            may_be_table=prior is None,
            may_ignore=may_ignore,
        )
        names = {k: v for k, v in vars(scratch).items() if self._is_fitted_name(k)}
        return adapt_to_support(self, prior, support) | names

    # ------------------------------------------------------------------ reconstruction

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Reconstruct images.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``
            Measurements; NaN is missing.
        return_std : bool, default=False
            Whether to return the posterior standard deviation of each pixel too.

        Returns
        -------
        images : ndarray of shape (n, n_pixels) for flat rows, else ``(n, *image_shape)``
        std : ndarray of the same shape
            Only with ``return_std=True``.

        Raises
        ------
        ValueError
            If `X` does not fit the operator, or `return_std` is asked of a learner without one.
        """
        rows, images, std = self._reconstruct(X, return_std)
        if not return_std:
            return like_input(images, rows)
        return like_input(images, rows), like_input(std, rows)

    def predict_images(self, X: Any) -> np.ndarray:
        """Reconstruct images with all their axes, whatever the shape of the rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``

        Returns
        -------
        ndarray of shape ``(n, *image_shape)``
        """
        rows, images, _ = self._reconstruct(X)
        return images.astype(rows.dtype, copy=False)

    def transform(self, X: Any) -> np.ndarray:
        """Reconstruct images, flat: for a classifier of pixels that follows in a Pipeline.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``

        Returns
        -------
        ndarray of shape (n, n_pixels)
        """
        images = self.predict_images(X)
        return images.reshape(len(images), -1)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Measure images without noise, by the forward operator.

        Parameters
        ----------
        X : array-like of shape (n, n_pixels) or ``(n, *image_shape)``

        Returns
        -------
        ndarray of shape (n, m) for flat images, else ``(n, *measurement_shape)``
        """
        self._check_fitted()
        rows = read_rows(self, X, reset=False, names=False)
        images = read_images(rows.values, self.image_shape_, "X")
        return like_input(self._adapted.measure(images), rows)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`: pixels, or the columns of a table.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the names of the measurements.

        Returns
        -------
        ndarray of str objects
            ``"pixel_0_1"`` is in row 0, column 1; ``"pixel_0_1_2"`` of channel 2.
        """
        self._check_fitted()
        names = OneToOneFeatureMixin.get_feature_names_out(self, input_features)
        return names if self._is_table else pixel_names(self.image_shape_)

    def score(self, X: Any, y: Any = None) -> float:
        """Peak signal-to-noise ratio in dB, the mean over images.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, m) or ``(n, *measurement_shape)``
            Measurements.
        y : array-like of shape ``(n, *image_shape)`` or (n, n_pixels), default=None
            The images; see `sklearn_meta.metrics.psnr`. Without them, and where `y` is labels, a
            tenth of the measurements is hidden, but never all of an image, and how well it is
            foreseen by what is reconstructed from the others is the score.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If `y` has the axes of images, but not their shape; or it holds none, and no image has
            two measurements, of which one could be hidden.
        """
        from sklearn_meta._hidden_score import score_of_hidden
        from sklearn_meta._image_support import holds_images

        rows = self._rows_of(X)
        if y is not None and holds_images(
            y,
            self.image_shape_,
            None,
            may_be_labels=self.adapt_to != "targets",
            to_leave_out="To be judged by hidden measurements, leave y out.",
        ):
            read_images(y, self.image_shape_)
            # As it came: the range of the images may be that of their dtype.
            return psnr(y, self._adapted.reconstruct(self._measured(rows))[0])
        return score_of_hidden(self._adapted, self._measured(rows))

    def _rows_of(self, X: Any) -> Rows:
        self._check_fitted()
        return read_rows(self, X, reset=False)

    def _measured(self, rows: Rows) -> np.ndarray:
        """Checked measurements ``(n, *measurement_shape)``."""
        self._adapted.check_n_rows(len(rows.values))
        return shaped(rows.values, self.operator_.measurement_shape, "X", "measurement")

    def _reconstruct(
        self, X: Any, return_std: bool = False
    ) -> tuple[Rows, np.ndarray, np.ndarray | None]:
        rows = self._rows_of(X)
        return rows, *self._adapted.reconstruct(self._measured(rows), return_std)

    # ------------------------------------------------------------------ scikit-learn's hooks

    def __sklearn_clone__(self) -> MetaReconstructor:
        bare = self._copy(getattr(self, "prior_", None))
        bare.operator = None
        new = super(MetaReconstructor, bare).__sklearn_clone__()
        new.operator = self.operator  # shared: it may be large, or no copy of it possible
        return new

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
