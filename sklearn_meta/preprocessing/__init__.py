"""Tables to arrays: one encoder and one target scaling, fitted across the meta-training tasks."""

from sklearn_meta.preprocessing._encoder import TableEncoder
from sklearn_meta.preprocessing._image import ImageEncoder
from sklearn_meta.preprocessing._target import TargetScaler

__all__ = ["ImageEncoder", "TableEncoder", "TargetScaler"]
