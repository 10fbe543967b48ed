"""Model-agnostic meta-learning: a start from which a few gradient steps are enough."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_meta.tasks._episodes import TaskBatch

from ._gradient import GradientLearner, negative_log_likelihood


class MAML(GradientLearner):
    """Meta-gradient descent: initialise, adapt to every task, follow the tasks' gradients, repeat.

    A network and a linear head start every task at the same meta-learned parameters and adapt to
    its support by a few steps of gradient descent on the mean squared error (summed over targets)
    or mean cross-entropy. The start is trained so that after these steps the query is foreseen
    well; the gradient looks through the steps.

    Where labels mean nothing beyond a task the head starts at the support's prototypes, so that
    the number of classes may vary and predictions do not depend on how they are numbered. In
    regression the noise of each target is meta-learned, as a function of the number of rows.

    Parameters
    ----------
    inner_steps : int, default=5
        Gradient steps of an adaptation.
    inner_learning_rate : float, default=0.05
        Their size; targets have about unit variance.
    first_order : bool, default=False
        Take the gradients of the steps for constants (FOMAML): quicker, and for networks without
        second derivatives.
    learn_step_size : bool, default=True
        Learn a step size for every parameter, beginning at `inner_learning_rate` (Meta-SGD): far
        better after as much meta-training. False is MAML as it was published first.
    head_only : bool, default=False
        Adapt the head alone (ANIL): much quicker, above all on images.
    multi_step_loss : bool, default=False
        Train on the query loss after every step, not the last alone (MAML++). Of K steps the k-th
        has a weight in proportion to ``2**k``: fixed weights, like those in the middle of the
        paper's annealing, so that training needs to know nothing of its own progress.

    References
    ----------
    C. Finn, P. Abbeel, S. Levine (2017). Model-agnostic meta-learning for fast adaptation of deep
    networks. https://arxiv.org/abs/1703.03400

    Z. Li, F. Zhou, F. Chen, H. Li (2017). Meta-SGD: learning to learn quickly for few-shot
    learning. https://arxiv.org/abs/1707.09835

    A. Antoniou, H. Edwards, A. Storkey (2019). How to train your MAML.
    https://arxiv.org/abs/1810.09502

    A. Raghu, M. Raghu, S. Bengio, O. Vinyals (2020). Rapid learning or feature reuse? Towards
    understanding the effectiveness of MAML. https://arxiv.org/abs/1909.09157

    E. Triantafillou et al. (2020). Meta-Dataset: a dataset of datasets for learning to learn from
    few examples. https://arxiv.org/abs/1903.03096 (Proto-MAML)
    """

    def __init__(
        self,
        inner_steps: int = 5,
        inner_learning_rate: float = 0.05,
        first_order: bool = False,
        learn_step_size: bool = True,
        head_only: bool = False,
        multi_step_loss: bool = False,
    ):
        self.inner_steps = inner_steps
        self.inner_learning_rate = inner_learning_rate
        self.first_order = first_order
        self.learn_step_size = learn_step_size
        self.head_only = head_only
        self.multi_step_loss = multi_step_loss

    @property
    def needs_second_order(self) -> bool:
        """Whether the outer gradient looks through the steps."""
        return not self.first_order

    def total(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        every_step = self.multi_step_loss and module.training
        path = self.descend(module, episodes.support, every_step=every_step)
        losses = [negative_log_likelihood(module, parameters, episodes) for parameters in path]
        if len(losses) == 1:
            return losses[0]
        weights = 2.0 ** torch.arange(len(losses), device=losses[0].device)
        return torch.stack(losses) @ (weights / weights.sum()).to(losses[0].dtype)
