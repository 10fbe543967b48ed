"""Forward operators of image reconstruction: what a measurement sees of an image.

An operator measures images, ``y = A x`` or ``y = F(x)``. Those that are not here come from a
matrix, a linear operator of another library, or a torch function.
"""

from ._base import Operator
from .blur import Blur
from .compose import Compose
from .downsample import Downsample
from .identity import Identity
from .mask import Mask
from .stack import Stack

__all__ = [
    "Blur",
    "Compose",
    "Downsample",
    "Identity",
    "Mask",
    "Operator",
    "Stack",
]
