"""What every estimator with a prior does with it: resolve it, carry it through clones, forget."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sklearn_meta._prior import Prior
from sklearn_meta._resolve_prior import check_agreement, check_prior_serves, load_prior


class PriorHolder(BaseEstimator):
    """Base of the estimators that adapt from a prior, whatever they adapt to.

    A subclass has the parameter `prior`, learns `prior_` and `history_`, and keeps what it adapted
    in the private attribute ``_adapted``.
    """

    #: Parameters that the prior fixes.
    _meta_parameters: tuple[str, ...]

    #: Fitted attributes beside those whose names end with an underscore.
    _private_attributes: tuple[str, ...] = ("_adapted",)

    #: Kind of estimator that a prior must be for.
    _estimator_type_of_prior: str

    #: What adaptation needs, for messages.
    _support: str = "the support rows of a task"

    # ------------------------------------------------------------------ the prior

    def _prior_or_none(self) -> Prior | None:
        """Prior to adapt from; the parameters that it fixes agree with it."""
        if not hasattr(self, "prior_") and self.prior is None:
            return None
        prior = (
            self.prior_
            if hasattr(self, "prior_")
            else load_prior(self.prior, self._estimator_type_of_prior)
        )
        check_prior_serves(prior, self._estimator_type_of_prior, type(self).__name__)
        check_agreement({name: getattr(self, name) for name in self._meta_parameters}, prior)
        return prior

    def _prior_or_raise(self) -> Prior:
        prior = self._prior_or_none()
        if prior is None:
            raise NotFittedError(
                f"This {type(self).__name__} has no prior to adapt from: call fit_tasks with tasks "
                "to learn from, or pass prior=. (fit needs none.)"
            )
        return prior

    # ------------------------------------------------------------------ state

    def _copy(self, prior: Prior | None = None) -> PriorHolder:
        """Unfitted copy, with another prior where one is given; faster than `clone`."""
        new = type(self).__new__(type(self))
        vars(new).update({k: v for k, v in vars(self).items() if not self._is_fitted_name(k)})
        if prior is not None:
            new.prior = prior
        return new

    def _become(self, fitted: dict[str, Any]) -> None:
        """Replace what was fitted before; what `fit_tasks` learned stays."""
        self._forget(("prior_", "history_") if hasattr(self, "prior_") else ())
        vars(self).update(fitted)

    def _forget(self, but: tuple[str, ...] = ()) -> None:
        """Drop fitted attributes."""
        for name in [name for name in vars(self) if self._is_fitted_name(name)]:
            if name not in but:
                delattr(self, name)

    @classmethod
    def _is_fitted_name(cls, name: str) -> bool:
        return (name[-1] == "_" and name[0] != "_") or name in cls._private_attributes

    @property
    def n_iter_(self) -> int:
        """Steps of the meta-training that this estimator ran; 1 where it ran none."""
        if hasattr(self, "history_"):
            return max([1, *self.history_.iteration])
        self._check_fitted()
        return 1

    def _check_fitted(self) -> None:
        if self.__sklearn_is_fitted__():
            return
        if hasattr(self, "prior_"):
            raise NotFittedError(
                f"This {type(self).__name__} is meta-trained but not adapted to a task yet: call "
                f"adapt or fit with {self._support} first."
            )
        raise NotFittedError(
            f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
            "arguments before using this estimator."
        )

    # ------------------------------------------------------------------ scikit-learn's hooks

    def __sklearn_is_fitted__(self) -> bool:
        return "_adapted" in vars(self)

    def __sklearn_clone__(self) -> PriorHolder:
        new = super().__sklearn_clone__()
        if hasattr(self, "prior_"):
            new.prior = self.prior_
        return new
