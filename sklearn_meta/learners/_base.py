"""What every learner is: one contract, so that an estimator never asks which one it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_meta.networks import make_network
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch

State = Any

#: Log-odds of a class that a task has not.
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Signature:
    """What goes into a learner and what comes out.

    Attributes
    ----------
    kind : {"regression", "classification", "multilabel"}
    n_inputs : int
        Width of the encoded rows.
    n_outputs : int
        Number of targets, of classes in the meta-training tasks, or of labels.
    shared_classes : bool
        Classification: whether class ``c`` means the same in every task; codes are then positions
        in the list of all classes, else they are local to each task.
    hidden : tuple of int
        Widths of the layers of the learner's network; the last is the number of its features.
        Where rows are images, the channels of its convolutions.
    image_shape : (H, W) or (C, H, W), optional
        Rows are images with their pixels in this order, one after the other.
    template : nn.Module, optional
        The user's own network, copied and never trained in place.
    """

    kind: str
    n_inputs: int
    n_outputs: int
    shared_classes: bool = False
    hidden: tuple[int, ...] = (64, 64, 32)
    image_shape: tuple[int, ...] | None = None
    template: nn.Module | None = field(default=None, compare=False, repr=False)

    @property
    def is_plain(self) -> bool:
        """Whether rows are columns of a table, and the network is an MLP of the library's own."""
        return self.image_shape is None and self.template is None

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Make the network of features: rows (..., n_inputs) -> (..., ``n_features``)."""
        return make_network(self.n_inputs, self.hidden, self.image_shape, self.template, generator)

    def to_dict(self) -> dict[str, Any]:
        """Return the signature as JSON has it; of a template, that there was one."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "template"}
        return plain | {"own_network": self.template is not None}

    @classmethod
    def from_dict(cls, config: dict[str, Any], template: nn.Module | None = None) -> Signature:
        """Make a signature again from `to_dict` and the template, if there was one."""
        config = {name: value for name, value in config.items() if name != "own_network"}
        for name in ("hidden", "image_shape"):
            if config.get(name) is not None:
                config[name] = tuple(config[name])
        return cls(**config, template=template)


class Learner(BaseEstimator):
    """Base of all learners: constructor parameters only, no state.

    Everything that meta-training learns is in the module that `build` returns; everything that
    adaptation learns is in the state that `adapt` returns. All methods work on a batch of tasks,
    the task axis first, padded and masked.

    A learner may train several members at once, each on its own part of the tasks, as an ensemble
    does. `loss` then returns one value a member, and ``module.members`` names the member of each
    slice of each parameter, so that the loop clips, stops and restores every member on its own.
    """

    #: Kinds of task that the learner serves.
    kinds: tuple[str, ...] = ("regression", "classification", "multilabel")

    #: True if members hold out their own folds of the tasks: the loop then needs to hold out none.
    cross_fitted: bool = False

    #: Whether its network may be one for images, or the user's own (`Signature.make_network`).
    takes_networks: bool = True

    #: Whether tasks may differ in columns, classes and units: each is then encoded by itself.
    heterogeneous: bool = False

    def defaults(self, signature: Signature) -> dict[str, Any]:
        """Parameters of meta-training that suit the learner better than the common defaults."""
        return {}

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Look once at all meta-training tasks; what is found goes to `build`.

        Parameters
        ----------
        store : TaskStore
            Encoded tasks.
        signature : Signature
        rng : numpy.random.Generator

        Returns
        -------
        dict of str to ndarray
            With the key ``"inputs"``, of shape (n_rows, n), these rows replace the encoded ones in
            meta-training. They are what `inputs` would give, but for out-of-fold predictions.
            Without it `loss` is given encoded rows, and applies `inputs` itself where it must.
        """
        return {}

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        """Make the module that holds every meta-learned parameter and buffer.

        Parameters
        ----------
        signature : Signature
        prepared : dict of str to ndarray
            From `prepare`, or the weights of a prior, of which only the shapes are used.
        generator : torch.Generator
            Source of the random start.
        """
        raise NotImplementedError

    def restore(self, signature: Signature, weights: dict[str, np.ndarray]) -> nn.Module:
        """Make the module again from its weights, in eval mode.

        Raises
        ------
        ValueError
            If the weights do not fit the learner.
        """
        try:
            module = self.build(signature, weights, torch.Generator().manual_seed(0))
            module.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        except (KeyError, IndexError, RuntimeError) as error:
            own = ""
            if signature.template is not None:
                own = f" with a {type(signature.template).__name__} for its network"
            raise ValueError(
                f"the weights do not fit {type(self).__name__}{own}: {error}"
            ) from error
        return module.eval().requires_grad_(False)

    def finish(self, module: nn.Module, held_out: Sequence[TaskBatch]) -> nn.Module:
        """Take a last look at held-out episodes when meta-training is over; default: none.

        Parameters
        ----------
        module : nn.Module
            Trained, in eval mode.
        held_out : sequence of TaskBatch
            Empty where nothing was held out.
        """
        return module

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        """Turn encoded rows (..., n_inputs) into the rows that the other methods take.

        What of a row depends on no task is computed here once, however often it is used.
        """
        return x

    def adapt(self, module: nn.Module, support: Rows) -> State:
        """Adapt to the support of every task in a batch."""
        raise NotImplementedError

    def update(self, module: nn.Module, state: State, support: Rows) -> State:
        """Take more support rows into a state."""
        raise NotImplementedError

    def predict(self, module: nn.Module, state: State, x: Tensor) -> Distribution:
        """Predict rows (T, n, ...): batch shape (T, n) or, for several targets, (T, n, k)."""
        raise NotImplementedError

    def embed(self, module: nn.Module, state: State, x: Tensor) -> Tensor:
        """Return the adapted embedding (T, n, width) of rows (T, n, ...)."""
        raise NotImplementedError

    def evidence(self, module: nn.Module, state: State) -> Tensor:
        """Return how well the prior foresaw each support: its log likelihood, of shape (T,)."""
        raise NotImplementedError

    def sample(
        self,
        module: nn.Module,
        state: State,
        x: Tensor,
        n_samples: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw targets (n_samples, T, n, k); default: each row by itself, normal.

        Learners whose predictive distribution is joint over the rows draw jointly.
        """
        predicted = self.predict(module, state, x)
        shape = (n_samples, *predicted.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        return predicted.mean + predicted.stddev * noise

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return the loss that meta-training minimises, a scalar or one value a member.

        In ``module.eval()`` mode it is the loss by which held-out tasks are judged.
        """
        state = self.adapt(module, episodes.support)
        y = episodes.query.y
        if y.ndim > 2:  # labels are numbers where one is a distribution of its own
            y = y.to(episodes.query.x.dtype)
        log_prob = self.predict(module, state, episodes.query.x).log_prob(y)
        if log_prob.ndim > 2:  # several targets or labels
            log_prob = log_prob.mean(-1)
        mask = episodes.query.mask
        return -(log_prob * mask).sum() / mask.sum().clamp_min(1)
