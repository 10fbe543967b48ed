"""Random numbers as scikit-learn's `random_state` gives them."""

from __future__ import annotations

from typing import Any

import numpy as np


def generator_of(random_state: Any) -> np.random.Generator:
    """Random numbers from an int, a RandomState, a Generator, or from the system for None.

    NumPy's global generator is never touched.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(random_state)
