"""Tasks of images, from folders or from an npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sklearn_meta.tasks import Task, tasks_from_table

from ._draw import check_count
from ._pixels import resize, to_unit

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")


def load_image_folders(
    path: Any,
    *,
    image_shape: tuple[int, ...] | None = None,
    invert: bool = False,
    max_images: int | None = None,
) -> list[Task]:
    """Load tasks from folders ``path/task/class/image.png``, as Omniglot comes.

    Needs Pillow: ``pip install "sklearn-meta[images]"``.

    Parameters
    ----------
    path : str or path
        Files and folders whose name starts with a dot are passed over.
    image_shape : (H, W) or (C, H, W), default=None
        What images are brought to, by averages over areas; C is 1 (grey) or 3 (red, green, blue).
        Where None, images become grey, and all must have one size.
    invert : bool, default=False
        Whether to turn dark into bright. Omniglot's ink is black; inverted, ink is 1 and paper 0.
    max_images : int, default=None
        Most images of a class, the first by name; all of them where None.

    Returns
    -------
    list of Task
        In order of name, named as their folder. ``X`` float32 of shape (n_images, n_pixels) in
        [0, 1]; the pixels of a row are an image of `image_shape`, one row of it after the other.
        ``y`` holds the names of the classes' folders, as strings.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    FileNotFoundError
        If there is no such folder, or it holds no task, class or image.
    ValueError
        If a file is no image that can be read, or sizes differ; the message names the file.
    """
    shape = _check_shape(image_shape)
    if max_images is not None:
        max_images = check_count("max_images", max_images)
    tasks = []
    for folder in _folders(Path(path), "task/class/image"):
        files, labels = [], []
        for class_folder in _folders(folder, "class/image"):
            images = [f for f in _visible(class_folder) if f.suffix.lower() in SUFFIXES]
            if not images:
                raise FileNotFoundError(
                    f"{class_folder} holds no images, expected files {', '.join(SUFFIXES)} in "
                    "folders task/class."
                )
            files += images[:max_images]
            labels += [class_folder.name] * len(images[:max_images])
        pixels = []
        for file in files:
            image = _read(file, colour=shape is not None and shape[0] == 3)
            shape = shape or image.shape
            if image_shape is None and image.shape != shape:
                raise ValueError(
                    f"{file} is an image of {image.shape[1:]} pixels and the first of "
                    f"{shape[1:]}; pass image_shape to bring all to one size."
                )
            pixels.append(resize(image, shape[1:]).ravel())
        X = np.stack(pixels)
        tasks.append(Task(1 - X if invert else X, np.array(labels), name=folder.name))
    return tasks


def load_image_npz(
    path: Any,
    *,
    images: str = "images",
    labels: str = "labels",
    groups: str = "groups",
    group_names: str | None = None,
    image_shape: tuple[int, ...] | None = None,
    invert: bool = False,
    max_images: int | None = None,
) -> list[Task]:
    """Load tasks from an npz file of one array of images and arrays of what they are.

    Parameters
    ----------
    path : str or path
        Nothing in it is unpickled.
    images : str, default="images"
        Key of the images, of shape (n, H, W) or (n, C, H, W): bytes, 16-bit integers, booleans, or
        floats in [0, 1].
    labels : str, default="labels"
        Key of the class of each image, of shape (n,).
    groups : str, default="groups"
        Key of the task of each image, of shape (n,).
    group_names : str, default=None
        Key of the tasks' names: that of group ``g`` in place ``g``.
    image_shape : (H, W) or (C, H, W), default=None
        What images are brought to, by averages over areas; as they are where None.
    invert : bool, default=False
        Whether to turn dark into bright.
    max_images : int, default=None
        Most images of a class of a task, the first ones; all of them where None.

    Returns
    -------
    list of Task
        In the order in which groups first appear. ``X`` float32 of shape (n_images, n_pixels) in
        [0, 1], ``y`` the labels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If an array is missing, needs unpickling, or has the wrong shape or values; the message
        names the file and the key.
    """
    shape = _check_shape(image_shape)
    X = _array(path, images)
    if X.ndim not in (3, 4) or not X.size:
        raise ValueError(
            f"{path}: {images!r} has shape {X.shape}, expected (n, H, W) or (n, C, H, W)."
        )
    y, g = (_array(path, key) for key in (labels, groups))
    for key, values in ((labels, y), (groups, g)):
        if values.shape != X.shape[:1]:
            raise ValueError(
                f"{path}: {key!r} has shape {values.shape}, expected {X.shape[:1]}: one value for "
                f"each image in {images!r}."
            )
    if group_names is not None:
        names = _array(path, group_names)
        if g.dtype.kind not in "iu" or names.ndim != 1 or g.min() < 0 or g.max() >= len(names):
            raise ValueError(
                f"{path}: {groups!r} must hold positions in {group_names!r}, integers from 0 to "
                f"{len(names) - 1 if names.ndim == 1 else 0}."
            )
        g = names[g]
    if max_images is not None:
        first = _first_of_each(y, g, check_count("max_images", max_images))
        X, y, g = X[first], y[first], g[first]
    X = to_unit(X, f"{path}: {images!r}")
    X = X[:, None] if X.ndim == 3 else X
    if shape is not None:
        if shape[0] != X.shape[1]:
            raise ValueError(
                f"{path}: {images!r} has {X.shape[1]} channels, but image_shape is {image_shape}."
            )
        X = resize(X, shape[1:])
    X = X.reshape(len(X), -1)
    return list(tasks_from_table(1 - X if invert else X, y, groups=g).values())


def _check_shape(image_shape: Any) -> tuple[int, int, int] | None:
    if image_shape is None:
        return None
    sizes = tuple(image_shape) if isinstance(image_shape, (tuple, list)) else ()
    sizes = (1, *sizes) if len(sizes) == 2 else sizes
    whole = all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes)
    if len(sizes) != 3 or not whole or sizes[0] not in (1, 3):
        raise ValueError(
            f"image_shape is {image_shape!r}, expected (H, W) or (C, H, W) with C equal to 1 or 3."
        )
    return sizes


def _visible(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if not item.name.startswith("."))


def _folders(folder: Path, expected: str) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder, expected one of {expected}.")
    folders = [item for item in _visible(folder) if item.is_dir()]
    if not folders:
        raise FileNotFoundError(f"{folder} holds no folders, expected {expected} in it.")
    return folders


def _read(file: Path, colour: bool) -> np.ndarray:
    """Return an image as float32 of shape (1 or 3, H, W) in [0, 1]."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            'load_image_folders needs Pillow: pip install "sklearn-meta[images]".'
        ) from error
    try:
        with Image.open(file) as image:
            if image.mode.startswith("I"):  # 16 bits, which a conversion to 8 bits would cut off
                pixels = np.asarray(image).astype(np.uint16)
            else:
                pixels = np.asarray(image.convert("RGB" if colour else "L"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} is no image that can be read: {error}") from error
    pixels = to_unit(pixels, str(file))
    if pixels.ndim == 2:
        return np.stack([pixels] * (3 if colour else 1))
    return np.moveaxis(pixels, -1, 0)


def _array(path: Any, key: str) -> np.ndarray:
    with open(path, "rb") as stream:  # numpy would leave a broken file open
        try:
            file = np.load(stream, allow_pickle=False)
        except (BadZipFile, EOFError, ValueError) as error:
            raise ValueError(f"{path} is no npz file that can be read: {error}") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} is one array, expected an npz file of named arrays.")
        if key not in file.files:
            raise ValueError(f"{path}: no array {key!r}; there are {sorted(file.files)}.")
        try:
            return file[key]
        except ValueError as error:
            raise ValueError(f"{path}: {key!r} cannot be read without unpickling it.") from error


def _first_of_each(labels: np.ndarray, groups: np.ndarray, most: int) -> np.ndarray:
    """Rows of the first ``most`` images of each class of each group, in order."""
    pairs = np.unique(groups, return_inverse=True)[1] * (len(labels) + 1)
    _, codes = np.unique(pairs + np.unique(labels, return_inverse=True)[1], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    rank = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < most])
