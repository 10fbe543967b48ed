"""What `DeepKernelGP` learns across tasks: network, kernel, prior mean and noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._kernels import Kernel

MIN_LOG_NOISE = -7.0  # of the standard deviation, in units of the scaled target


class DeepKernelModule(nn.Module):
    """Network, kernel, prior mean and noise.

    Parameters
    ----------
    signature : Signature
    kind : str
        Of the kernel.
    generator : torch.Generator
    """

    def __init__(self, signature: Signature, kind: str, generator: torch.Generator):
        super().__init__()
        self.network = signature.make_network(generator)
        self.n_columns = signature.n_inputs if signature.is_plain else 0
        n_features = self.network.n_features
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(n_features))
        self.kernel = Kernel(kind, self.n_columns, n_features, generator)
        self.classes = signature.kind == "classification"
        knows_outputs = signature.shared_classes or not self.classes
        n_outputs = signature.n_outputs if knows_outputs else 1
        n_inputs = self.n_columns + n_features
        self.mean = nn.Parameter(torch.zeros(1 + n_inputs, n_outputs), knows_outputs)
        n_noises = 1 if self.classes else n_outputs
        self.log_noise = nn.Parameter(torch.full((n_noises,), 0.0 if self.classes else -0.8))
        # The scale of a single target, or of a latent function, is that of the kernel.
        self.log_output_scale = nn.Parameter(torch.zeros(n_outputs), n_noises > 1)
        self.log_temperature = nn.Parameter(torch.zeros(1), self.classes)
        self.log_moderation = nn.Parameter(torch.full((1,), -1.0), self.classes)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser: the network learns more slowly, and only it decays."""
        network = list(self.network.parameters())
        own = {id(p) for p in network}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        return [
            {"params": network, "lr": 0.2 * learning_rate, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def inputs(self, x: Tensor) -> Tensor:
        """Inputs (T, n, d) of the kernel: columns, features; float64 where the device has it.

        Kernel matrices of rows that are alike are too ill-conditioned for float32.
        """
        z = (self.network(x) - self.centre) / self.spread
        z = torch.cat([x[..., : self.n_columns], z], -1)
        return z if x.device.type == "mps" else z.double()

    def prior_mean(self, z: Tensor) -> Tensor:
        """Prior mean (T, n, k) of the targets, or log-odds of the classes, at inputs (T, n, d)."""
        mean = self.mean.to(z.dtype)
        return mean[0] + z @ mean[1:]

    def output_scale(self, z: Tensor) -> Tensor:
        """Factors (k,) by which targets differ in scale; 1 where there is one, and for classes."""
        return self.log_output_scale.to(z.dtype).exp()

    def noise(self, z: Tensor) -> Tensor:
        """Variances (g,) of the noise, in units of the kernel; one for all classes."""
        return (2 * self.log_noise.to(z.dtype).clamp_min(MIN_LOG_NOISE)).exp()

    def logits(self, prior: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Log-odds (T, n, C): the less certain a latent function is, the less it changes."""
        moderation = self.log_moderation.to(prior.dtype).exp()
        temperature = self.log_temperature.to(prior.dtype).exp()
        return prior + temperature * mean / (1 + moderation * variance).sqrt()
