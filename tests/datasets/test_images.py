import builtins

import numpy as np
import pytest

from sklearn_meta.datasets import few_shot_episodes, load_image_folders, load_image_npz

IMAGES = np.random.default_rng(0).integers(256, size=(12, 6, 4), dtype=np.uint8)
LABELS = np.array([3, 3, 3, 5, 5, 5] * 2)
GROUPS = np.repeat([1, 0], 6)


@pytest.fixture
def folders(tmp_path):
    """Two tasks "t1" and "t0" of classes "c3" and "c5", three images each."""
    image = pytest.importorskip("PIL.Image")
    for i, (pixels, label, group) in enumerate(zip(IMAGES, LABELS, GROUPS, strict=True)):
        folder = tmp_path / f"t{group}" / f"c{label}"
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(folder / f"{i:02d}.png")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "t0" / "readme.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        path = tmp_path / "images.npz"
        np.savez(path, **{"images": IMAGES, "labels": LABELS, "groups": GROUPS, **arrays})
        return path

    return save


def test_folders_hold_tasks_of_classes_of_images(folders):
    first, second = load_image_folders(folders)
    assert (first.name, second.name) == ("t0", "t1")
    assert first.X.dtype == np.float32
    np.testing.assert_array_equal(second.X, IMAGES[:6].reshape(6, -1) / np.float32(255))
    np.testing.assert_array_equal(second.y, ["c3"] * 3 + ["c5"] * 3)


def test_folders_and_npz_give_the_same_rows(folders, npz):
    arguments = {"image_shape": (4, 6), "invert": True, "max_images": 2}
    from_folders = load_image_folders(folders, **arguments)
    from_npz = load_image_npz(npz(), **arguments)
    assert [len(y) for _, y in from_npz] == [4, 4]
    for a, b in zip(from_folders, reversed(from_npz), strict=True):
        np.testing.assert_allclose(a.X, b.X, atol=1e-6)


def test_colours_and_sixteen_bits(tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "task" / "class"
    folder.mkdir(parents=True)
    colour = np.random.default_rng(0).integers(256, size=(2, 3, 3), dtype=np.uint8)
    image.fromarray(colour).save(folder / "a.png")
    deep = np.array([[0, 65535, 257 * 7], [1, 2, 3]], np.uint16)
    image.fromarray(deep).save(folder / "b.png")
    X, _ = load_image_folders(tmp_path, image_shape=(3, 2, 3))[0]
    np.testing.assert_allclose(X[0].reshape(3, 2, 3), np.moveaxis(colour, -1, 0) / 255, atol=1e-7)
    np.testing.assert_allclose(X[1].reshape(3, 2, 3), np.stack([deep / 65535] * 3), atol=1e-7)
    grey, _ = load_image_folders(tmp_path, image_shape=(2, 3))[0]
    assert grey.shape == (2, 6)


def test_resizing_averages_areas(npz):
    X = load_image_npz(npz(), image_shape=(3, 2))[0].X
    blocks = IMAGES[:6].reshape(6, 3, 2, 2, 2).mean((2, 4)) / 255
    np.testing.assert_allclose(X, blocks.reshape(6, -1), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (9, 7), (1, 1)])
def test_resizing_keeps_the_mean(npz, shape):
    X = load_image_npz(npz(), image_shape=shape)[0].X
    np.testing.assert_allclose(X.mean(1), IMAGES[:6].mean((1, 2)) / 255, atol=1e-6)


def test_npz_names_groups_and_keeps_channels(npz):
    images = np.random.default_rng(0).random((12, 3, 2, 2))
    path = npz(images=images, names=np.array(["alpha", "beta"]))
    first, second = load_image_npz(path, group_names="names")
    assert (first.name, second.name) == ("beta", "alpha")
    np.testing.assert_array_equal(first.X, images[:6].reshape(6, -1).astype(np.float32))
    with pytest.raises(ValueError, match=r"'images' has 3 channels, but image_shape is \(2, 2\)"):
        load_image_npz(path, image_shape=(2, 2))


def test_episodes_of_loaded_images(npz):
    X, y, X_query, _ = next(few_shot_episodes(load_image_npz(npz()), 4, 2, 1, random_state=0))
    assert X.shape == (8, 24) and X_query.shape == (4, 24) and y.max() == 3


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        ({}, {"labels": "character"}, r"images.npz: no array 'character'; there are \['groups'"),
        ({"labels": LABELS[:3]}, {}, r"'labels' has shape \(3,\), expected \(12,\)"),
        ({"images": LABELS}, {}, r"'images' has shape \(12,\)"),
        ({"images": IMAGES / 2.0}, {}, "'images' has values from 0 to 128"),
        ({"images": IMAGES.astype(int)}, {}, "'images' is of type int64"),
        ({"labels": LABELS.astype(object)}, {}, "'labels' cannot be read without unpickling"),
        ({"names": np.array(["one"])}, {"group_names": "names"}, "'groups' must hold positions"),
        ({}, {"image_shape": (2, 4, 4)}, "C equal to 1 or 3"),
        ({}, {"max_images": 0}, "max_images is 0"),
    ],
)
def test_errors_of_npz_name_file_and_key(npz, arrays, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_image_npz(npz(**arrays), **arguments)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"some text"])
def test_what_is_no_npz_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.npz is no npz file"):
        load_image_npz(path)
    np.save(tmp_path / "one.npy", LABELS)
    with pytest.raises(ValueError, match=r"one\.npy is one array"):
        load_image_npz(tmp_path / "one.npy")


def test_errors_of_folders_name_the_file(folders):
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        load_image_folders(folders / "nowhere")
    with pytest.raises(FileNotFoundError, match="c3 holds no folders, expected class/image"):
        load_image_folders(folders / "t0")
    odd = folders / "t1" / "c5" / "99.png"
    image.fromarray(np.zeros((2, 2), np.uint8)).save(odd)
    with pytest.raises(ValueError, match=r"99\.png is an image of \(2, 2\) pixels"):
        load_image_folders(folders)
    odd.write_text("no image")
    with pytest.raises(ValueError, match=r"99\.png is no image"):
        load_image_folders(folders)
    (folders / "t1" / "c6").mkdir()
    with pytest.raises(FileNotFoundError, match="c6 holds no images"):
        load_image_folders(folders)


def test_without_pillow_the_error_says_what_to_install(folders, monkeypatch):
    original = builtins.__import__

    def without_pillow(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match=r"sklearn-meta\[images\]"):
        load_image_folders(folders)
