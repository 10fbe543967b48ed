"""What columns of different tables are known by, so that they can be told to be the same."""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class EncodedColumn(NamedTuple):
    """One encoded column, as other tables may have it too.

    Attributes
    ----------
    name : str or None
        See `normalised`; that of a level is its column's and its own. None where there is none.
    kind : {"number", "level", "missing"}
    log_sd : float
        Logarithm of what the encoder divided the column by; NaN where that has the unit of the
        table, and says nothing to another one.
    clip : float
        Beyond it values grow only logarithmically, see `soft_clip`.
    """

    name: str | None
    kind: str
    log_sd: float
    clip: float = math.inf


def normalised(name: str) -> str:
    """Lower-case words, joined by blanks: ``"livingArea_m2"`` becomes ``"living area m 2"``."""
    name = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", name)
    name = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", name)
    return " ".join(re.sub(r"[\W_]+", " ", name).lower().split())
