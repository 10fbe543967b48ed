"""The file from which an interrupted meta-training goes on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from sklearn_meta._training_config import TrainingConfig
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore

FORMAT = "sklearn_meta.checkpoint.1"


class Checkpoint:
    """A file from which an interrupted run goes on; it holds data only.

    Parameters
    ----------
    path : str or path-like
    fingerprint : str
        What tells this run from any other.

    Raises
    ------
    FileNotFoundError
        If the folder of ``path`` does not exist.
    """

    def __init__(self, path: str | os.PathLike, fingerprint: str) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        if not self.path.resolve().parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint={str(path)!r} cannot be written: its folder does not exist."
            )

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write the file: complete, or not at all. ``state`` is JSON-able."""
        header = json.dumps({"fingerprint": self.fingerprint, "state": state})
        content = to_safetensors(
            {name: _own_copy(tensor) for name, tensor in tensors.items()},
            {FORMAT: header},
        )
        temporary = self.path.with_name(f".{self.path.name}.{uuid4().hex}.tmp")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read what `save` wrote, or return None where there is no file yet.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or that of another run.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as content:
                header = json.loads((content.metadata() or {})[FORMAT])
                tensors = {name: content.get_tensor(name) for name in content.keys()}
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is not a checkpoint of sklearn_meta ({error}); "
                "delete the file or name another."
            ) from error
        if header["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another run: the tasks, the learner or "
                "the meta-parameters differ. Delete the file to start afresh, or name another."
            )
        return tensors, header["state"]

    def remove(self) -> None:
        """Delete the file: the run has reached its end."""
        self.path.unlink(missing_ok=True)


def _own_copy(tensor: Tensor) -> Tensor:
    # safetensors takes no tensors that share memory, and none with gaps.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def identity(
    learner: Learner,
    module: nn.Module,
    store: TaskStore,
    config: TrainingConfig,
    validation_store: TaskStore | None,
) -> str:
    """Fingerprint all that makes a run what it is, but for chance."""
    plain = (bool, int, float, str, type(None))
    parameters = {
        name: value if isinstance(value, plain) else type(value).__qualname__
        for name, value in learner.get_params().items()
    }
    weights = [[name, list(p.shape), str(p.dtype)] for name, p in module.named_parameters()]
    stores = [store] if validation_store is None else [store, validation_store]
    arrays = [array for s in stores for array in s.contents()]
    shapes = [s.image_shape for s in stores]
    return _digest(type(learner).__qualname__, parameters, weights, asdict(config), shapes, *arrays)


def _digest(*parts: Any) -> str:
    """Return the SHA-256 of arrays and of JSON-able values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()
