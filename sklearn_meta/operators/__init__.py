"""Forward operators of image reconstruction: what a measurement sees of an image.

An operator measures images, ``y = A x`` or ``y = F(x)``. Those that are not here come from a
matrix, a linear operator of another library, or a torch function.
"""

from ._as_operator import as_operator
from ._base import Operator
from .blur import Blur
from .compose import Compose
from .downsample import Downsample
from .fourier import Fourier
from .gamma import Gamma
from .identity import Identity
from .mask import Mask
from .phase_retrieval import PhaseRetrieval
from .poisson_count import PoissonCount
from .projection import RandomProjection
from .quantization import Quantization
from .radon import Radon
from .saturation import Saturation
from .stack import Stack

__all__ = [
    "Blur",
    "Compose",
    "Downsample",
    "Fourier",
    "Gamma",
    "Identity",
    "Mask",
    "Operator",
    "PhaseRetrieval",
    "PoissonCount",
    "Quantization",
    "Radon",
    "RandomProjection",
    "Saturation",
    "Stack",
    "as_operator",
]
