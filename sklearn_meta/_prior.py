"""Prior: what meta-training learned, as an immutable object that holds no code."""

import copy
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

FORMAT = "sklearn_meta.prior"  # the one metadata key of the file: it marks the format too
FORMAT_VERSION = 1

# Far above any prior that meta-training writes; they keep a hostile file from exhausting memory.
MAX_FILE_BYTES = 4 * 2**30
MAX_CONFIG_CHARS = 64 * 2**20
MAX_ARRAYS = 100_000

_ESTIMATOR_TYPES = ("regressor", "classifier", "reconstructor")
_SECTIONS = {"weights": "weights", "encoder": "encoder_arrays", "target": "target_arrays"}
_CONFIG_TYPES = {
    "estimator_type": str,
    "learner_config": dict,
    "signature": dict,
    "encoder": (dict, type(None)),
    "target": (dict, type(None)),
    "meta": dict,
}
# safetensors' name of each dtype that a prior may hold
_DTYPES = {
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BOOL": "bool",
}


def _entry(key, doc):
    """Property that hands out a fresh copy of one configuration entry."""
    return property(lambda self: json.loads(self._config)[key], doc=doc)


def _section(section, doc):
    """Property that hands out the arrays of one section under their own names."""
    return property(lambda self: _split(self._arrays)[_SECTIONS[section]], doc=doc)


class Prior:
    """What meta-training learned from many tasks, ready for adaptation to a new one.

    A prior is plain data: JSON-able configuration and NumPy arrays, no code. It is immutable, so
    that clones of an estimator, copies and threads share one object: ``clone``, ``copy.copy`` and
    ``copy.deepcopy`` return the prior itself. Attributes that are dictionaries are handed out as
    fresh copies; the arrays are shared and read-only (``torch.tensor(array)`` copies one).
    Two priors are equal when their content is.

    Parameters
    ----------
    estimator_type : {"regressor", "classifier", "reconstructor"}
        The kind of estimator that the prior serves.
    learner_config : dict
        ``{"name": str, "params": dict}``: the learner and its constructor parameters.
    signature : dict
        What goes in and comes out: widths, kind of target, classes.
    weights : dict of str to ndarray of any shape
        Every meta-learned parameter.
    encoder : dict, default=None
        Configuration of the table encoder.
    encoder_arrays : dict of str to ndarray, default=None
        Arrays of the table encoder.
    target : dict, default=None
        Configuration of the target scaling.
    target_arrays : dict of str to ndarray, default=None
        Arrays of the target scaling.
    meta : dict, default=None
        What the prior was trained on: number of tasks and rows, columns, library versions,
        meta-parameters.
    network : nn.Module, default=None
        The user's own network, if meta-training was given one; a copy of it is kept, on the CPU.
        It is code, so no part of the content: neither saved nor compared.

    Attributes
    ----------
    arrays : dict of str to ndarray
        All arrays by section: ``"weights/..."``, ``"encoder/..."``, ``"target/..."``.
    digest : str
        SHA-256 of the content, equal for priors with equal content.

    Raises
    ------
    TypeError
        If a configuration holds what JSON cannot, or an array is none of NumPy's booleans,
        integers and floating-point numbers of up to 64 bits.
    ValueError
        If a configuration is incomplete or an array is not finite, or ``network`` is missing or
        one too many.

    Notes
    -----
    Configurations are stored as JSON, so a tuple comes back as a list.
    """

    __slots__ = ("__weakref__", "_arrays", "_config", "_digest", "network")

    def __init__(
        self,
        *,
        estimator_type: str,
        learner_config: dict,
        signature: dict,
        weights: dict,
        encoder: dict | None = None,
        encoder_arrays: dict | None = None,
        target: dict | None = None,
        target_arrays: dict | None = None,
        meta: dict | None = None,
        network: Any = None,
    ):
        config = {
            "estimator_type": estimator_type,
            "learner_config": learner_config,
            "signature": signature,
            "encoder": encoder,
            "target": target,
            "meta": {} if meta is None else meta,
        }
        _check_entries(config, _CONFIG_TYPES)
        if estimator_type not in _ESTIMATOR_TYPES:
            raise ValueError(
                f"estimator_type must be one of {_ESTIMATOR_TYPES}, got {estimator_type!r}"
            )
        _check_entries(learner_config, {"name": str, "params": dict}, where="learner_config.")
        _check_network(signature, network)
        sections = (weights, encoder_arrays or {}, target_arrays or {})
        arrays = {
            f"{section}/{name}": _frozen(value, f"{section}/{name}")
            for section, values in zip(_SECTIONS, sections, strict=True)
            for name, value in values.items()
        }
        # Kept as JSON text: immutable, picklable, and the same before and after a file.
        text = json.dumps(_plain(config, "prior"))
        object.__setattr__(self, "_config", text)
        object.__setattr__(self, "_arrays", arrays)
        object.__setattr__(self, "_digest", _digest(text, arrays))
        object.__setattr__(self, "network", None if network is None else _on_cpu(network))

    estimator_type = _entry("estimator_type", '"regressor", "classifier" or "reconstructor".')
    learner_config = _entry("learner_config", "The learner's name and constructor parameters.")
    signature = _entry("signature", "What goes in and comes out: widths, kind of target, classes.")
    encoder = _entry("encoder", "Configuration of the table encoder, or None.")
    target = _entry("target", "Configuration of the target scaling, or None.")
    meta = _entry("meta", "What the prior was trained on and with.")
    weights = _section("weights", "Meta-learned parameters by name, read-only.")
    encoder_arrays = _section("encoder", "Arrays of the table encoder by name, read-only.")
    target_arrays = _section("target", "Arrays of the target scaling by name, read-only.")

    @property
    def arrays(self) -> dict:
        """All arrays by ``"section/name"``, read-only."""
        return dict(self._arrays)

    @property
    def digest(self) -> str:
        """SHA-256 of the content as 64 hexadecimal digits."""
        return self._digest

    def save(self, path: str | os.PathLike) -> None:
        """Write the prior to a safetensors file.

        The file is complete or not there: it is written beside `path` and then moved, so that a
        failure leaves an older file as it was.

        Parameters
        ----------
        path : str or path-like
            The file, by custom ``*.safetensors``; one that exists is replaced.

        Raises
        ------
        FileNotFoundError
            If the folder of `path` does not exist.
        IsADirectoryError
            If `path` is a folder.
        """
        target = Path(path).resolve()  # through a link: replace the file, not the link
        if not target.parent.is_dir():
            raise FileNotFoundError(f"Cannot save to {path}: folder {target.parent} does not exist")
        if target.is_dir():
            raise IsADirectoryError(f"Cannot save to {path}: it is a folder; name a file in it")
        header = {**json.loads(self._config), "format_version": FORMAT_VERSION}
        header["digest"] = self._digest
        content = to_safetensors(self._arrays, {FORMAT: json.dumps(header)})
        temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike, network: Any = None) -> "Prior":
        """Read a prior that `save` wrote. Everything is validated and nothing is executed.

        Parameters
        ----------
        path : str or path-like
            The file.
        network : nn.Module, default=None
            The network that meta-training was given, if it was one of the user's own; its weights
            come from the file.

        Returns
        -------
        prior : Prior
            Equal to the one that was saved, bit by bit.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no prior, is damaged, or is of a newer format; if ``network`` is missing,
            or there is one where none is needed.
        """
        file = Path(path)
        if not file.exists():
            raise FileNotFoundError(f"{path} is not a sklearn_meta prior: there is no such file")
        with _refusing(path):
            header = _read_header(file)
        if header["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"{path} was written by a newer sklearn_meta (format {header['format_version']}); "
                f"upgrade sklearn_meta: this version reads formats up to {FORMAT_VERSION}"
            )
        with _refusing(path):
            _check_entries(header, {**_CONFIG_TYPES, "digest": str})
            config = {key: header[key] for key in _CONFIG_TYPES}
        _check_network(config["signature"], network)
        with _refusing(path):
            prior = _rebuild(config, _read_arrays(file), network)
            if prior.digest != header["digest"]:
                raise ValueError("its content does not match its checksum, so it is damaged")
        return prior

    def __setattr__(self, name, value):
        raise AttributeError(f"Prior is immutable: cannot set {name!r}; fit_tasks makes a new one")

    def __delattr__(self, name):
        raise AttributeError(f"Prior is immutable: cannot delete {name!r}")

    def __sklearn_clone__(self):
        return self

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return _rebuild, (json.loads(self._config), dict(self._arrays), self.network)

    def __eq__(self, other):
        return self._digest == other._digest if isinstance(other, Prior) else NotImplemented

    def __hash__(self):
        return hash(self._digest)

    def __repr__(self):
        n_values = sum(array.size for array in self.weights.values())
        trained = f", n_tasks={self.meta['n_tasks']}" if "n_tasks" in self.meta else ""
        return (
            f"Prior({self.estimator_type}, learner={self.learner_config['name']!r}{trained}, "
            f"n_weights={n_values}, digest={self.digest[:8]!r})"
        )


def _rebuild(config, arrays, network=None):
    """Make a prior from its configuration and its arrays by ``"section/name"``."""
    return Prior(**config, **_split(arrays), network=network)


def _split(arrays):
    """Sort arrays by ``"section/name"`` into the constructor's three arguments."""
    split = {argument: {} for argument in _SECTIONS.values()}
    for full_name, array in arrays.items():
        section, _, name = full_name.partition("/")
        if section not in _SECTIONS or not name:
            raise ValueError(f"array {full_name!r} belongs to none of {tuple(_SECTIONS)}")
        split[_SECTIONS[section]][name] = array
    return split


def _check_entries(config, types, where=""):
    """Refuse a dictionary that lacks one of the entries or holds one of another type."""
    for key, expected in types.items():
        if key not in config:
            raise ValueError(f"entry {where + key!r} is missing")
        if not isinstance(config[key], expected):
            wanted = "dict or None" if isinstance(expected, tuple) else expected.__name__
            got = type(config[key]).__name__
            raise TypeError(f"{where}{key} must be of type {wanted}, got {got}")


def _check_network(signature, network):
    """Refuse a prior of a user's own network without it, and any other prior with one."""
    if network is not None and not callable(getattr(network, "state_dict", None)):
        raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}")
    if signature.get("own_network", False) == (network is not None):
        return
    raise ValueError(
        "this prior was meta-trained with a network of the user's own, which is no part of it: "
        "load it by Prior.load(path, network=module)"
        if network is None
        else "this prior was meta-trained with a network of the library's own: load it without "
        "network="
    )


def _on_cpu(network):
    """Copy a module, so that nothing that happens to it later reaches the prior."""
    return copy.deepcopy(network).cpu()


def _plain(value, where):
    """Copy a configuration as JSON has it: NumPy scalars and tuples become plain."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} must have str keys, got {key!r}")
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(
        f"{where} must be a dict, list, str, number, bool or None, got {type(value).__name__}"
    )


def _frozen(value, name):
    """Copy a checked array on top of bytes, which nobody can make writeable again."""
    array = np.asarray(value)
    if array.dtype.name not in _DTYPES.values():
        raise TypeError(f"array {name!r} must be boolean, integer or float, got {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds NaN or infinity")
    dtype = array.dtype.newbyteorder("=")
    return np.ndarray(array.shape, dtype, buffer=array.astype(dtype).tobytes())


def _digest(config, arrays):
    """SHA-256 of the content, whatever the order of its entries."""
    names = sorted(arrays)
    shapes = [[name, arrays[name].dtype.str, arrays[name].shape] for name in names]
    digest = hashlib.sha256(json.dumps([json.loads(config), shapes], sort_keys=True).encode())
    for name in names:
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


@contextmanager
def _refusing(path):
    """Turn whatever is wrong with a file into the one error that names it."""
    try:
        yield
    except (ValueError, TypeError, SafetensorError, RecursionError) as error:
        raise ValueError(f"{path} is not a sklearn_meta prior: {error}") from error


def _read_header(file):
    """Read the JSON metadata of a prior's file, after checks on kind and size of the file."""
    if not file.is_file():
        raise ValueError("it is a folder" if file.is_dir() else "it is no regular file")
    size = file.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise ValueError(f"it has {size} bytes, expected 1 to {MAX_FILE_BYTES}")
    with safe_open(file, framework="numpy") as content:
        metadata = content.metadata() or {}
        n_arrays = len(content.keys())
    if FORMAT not in metadata:
        raise ValueError("it is a safetensors file of something else; write one by Prior.save")
    text = metadata[FORMAT]
    if len(text) > MAX_CONFIG_CHARS or n_arrays > MAX_ARRAYS:
        raise ValueError(
            f"it has {len(text)} characters of metadata and {n_arrays} arrays, "
            f"expected at most {MAX_CONFIG_CHARS} and {MAX_ARRAYS}"
        )
    header = json.loads(text)
    if not isinstance(header, dict):
        raise TypeError(f"its metadata must be of type dict, got {type(header).__name__}")
    _check_entries(header, {"format_version": int})
    if header["format_version"] < 1:
        raise ValueError(f"there is no format {header['format_version']}")
    return header


def _read_arrays(file):
    """Read all arrays of a prior's file; dtypes are checked before NumPy meets them."""
    arrays = {}
    with safe_open(file, framework="numpy") as content:
        for name in content.keys():
            dtype = content.get_slice(name).get_dtype()
            if dtype not in _DTYPES:
                raise TypeError(f"array {name!r} must be boolean, integer or float, got {dtype}")
            arrays[name] = content.get_tensor(name)
    return arrays
