"""The encoders: how a prior names them, and how they are made again."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_meta.preprocessing._encoder import TableEncoder
from sklearn_meta.preprocessing._image import ImageEncoder
from sklearn_meta.preprocessing._own_table import OwnTableEncoder
from sklearn_meta.preprocessing._state import Damaged

#: A new encoder is a new file and a line here.
ENCODERS = {encoder.__name__: encoder for encoder in (TableEncoder, OwnTableEncoder, ImageEncoder)}


def export_encoder(encoder: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Export a fitted encoder as a JSON-able dict, its name included, and named arrays."""
    config, arrays = encoder.to_dict()
    return {"name": type(encoder).__name__, **config}, arrays


def import_encoder(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """Read back what `export_encoder` gave.

    Raises
    ------
    ValueError
        If it is damaged, or there is no such encoder.
    """
    config = dict(config)
    name = config.pop("name", TableEncoder.__name__)
    if name not in ENCODERS:
        raise Damaged("encoder", f"there is no encoder {name!r}, only {sorted(ENCODERS)}")
    return ENCODERS[name].from_dict(config, arrays)
