"""Tables to arrays: encoders and a target scaling, fitted across the meta-training tasks."""

from sklearn_meta.preprocessing._encoder import TableEncoder
from sklearn_meta.preprocessing._image import ImageEncoder
from sklearn_meta.preprocessing._own_table import OwnTableEncoder
from sklearn_meta.preprocessing._target import TargetScaler

__all__ = ["ImageEncoder", "OwnTableEncoder", "TableEncoder", "TargetScaler"]
