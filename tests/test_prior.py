"""Prior: immutable, shared by reference, and safe to read from any file."""

import copy
import json
import pickle
import re
import struct
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, clone

import sklearn_meta._prior as prior_module
from sklearn_meta._prior import FORMAT, FORMAT_VERSION, Prior


def make_content(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "estimator_type": "regressor",
        "learner_config": {"name": "bayesian_linear", "params": {"n_features": 32, "alpha": 0.1}},
        "signature": {"n_inputs": 3, "n_outputs": 1, "classes": None},
        "weights": {
            "layers.0.weight": rng.normal(size=(4, 3)).astype(np.float32),
            "layers.0.bias": rng.normal(size=4),
            "tree.left": rng.integers(-1, 9, size=7),
            "tree.is_leaf": rng.random(7) < 0.5,
            "scalar": np.array(-0.0),
            "empty": np.zeros((0, 3), dtype=np.float32),
        },
        "encoder": {"kinds": ["numeric", "categorical"], "levels": {"b": ["é", "x\ud800"]}},
        "encoder_arrays": {"center": rng.normal(size=3)},
        "target": {"n_outputs": 1},
        "target_arrays": {"scale": np.array([2.5])},
        "meta": {"n_tasks": 12, "versions": {"numpy": "2.0"}, "tol": 1e-4, "third": 1 / 3},
    }


@pytest.fixture
def prior():
    return Prior(**make_content())


@pytest.fixture
def path(prior, tmp_path):
    path = tmp_path / "school.safetensors"
    prior.save(path)
    return path


def assert_same_bits(a, b):
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        assert array.dtype == b.arrays[name].dtype
        assert array.shape == b.arrays[name].shape
        assert array.tobytes() == b.arrays[name].tobytes()
    for attribute in prior_module._CONFIG_TYPES:
        assert getattr(a, attribute) == getattr(b, attribute)
    assert a.digest == b.digest


def rewrite(path, change_header=lambda header: None, change_arrays=lambda arrays: None):
    """Write the file again with another header or other arrays, as a forger would."""
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()[FORMAT])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    change_header(header)
    change_arrays(arrays)
    save_file(arrays, path, {FORMAT: json.dumps(header)})


def forge(path, header, content=b""):
    """Write safetensors bytes by hand, for what its own writer would refuse."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def refusal(path, why):
    """Expect the one clear error that names the file and says why."""
    wording = f"{re.escape(str(path))} is not a sklearn_meta prior: .*{why}"
    return pytest.raises(ValueError, match=wording)


# ---------------------------------------------------------------- content


def test_attributes_return_what_was_given(prior):
    content = make_content()
    for name in ("estimator_type", "learner_config", "signature", "encoder", "target", "meta"):
        assert getattr(prior, name) == content[name]
    for name in ("weights", "encoder_arrays", "target_arrays"):
        for key, expected in content[name].items():
            np.testing.assert_array_equal(getattr(prior, name)[key], expected, strict=True)
    assert "weights/layers.0.weight" in prior.arrays
    assert {"encoder/center", "target/scale"} < prior.arrays.keys()


def test_optional_parts_may_be_absent(tmp_path):
    prior = Prior(
        estimator_type="classifier",
        learner_config={"name": "prototypical", "params": {}},
        signature={},
        weights={},
    )
    assert prior.encoder is None and prior.target is None
    assert prior.encoder_arrays == {} and prior.meta == {}
    prior.save(tmp_path / "bare")
    assert Prior.load(tmp_path / "bare") == prior


def test_numpy_scalars_and_tuples_become_json():
    content = make_content()
    content["signature"] = {"width": np.int64(3), "ok": np.True_, "classes": (np.str_("a"), 1.5)}
    assert Prior(**content).signature == {"width": 3, "ok": True, "classes": ["a", 1.5]}


def test_digest_depends_on_every_part_and_not_on_order(prior):
    content = make_content()
    content["weights"] = dict(reversed(content["weights"].items()))
    assert Prior(**content).digest == prior.digest
    content["weights"]["layers.0.bias"] = np.nextafter(content["weights"]["layers.0.bias"], 9)
    digests = {prior.digest, Prior(**content).digest}
    for part, value in {
        "estimator_type": "classifier",
        "learner_config": {"name": "maml", "params": {}},
        "signature": {"n_inputs": 4},
        "encoder": None,
        "target_arrays": {},
        "meta": {"n_tasks": 13},
    }.items():
        digests.add(Prior(**{**make_content(), part: value}).digest)
    assert len(digests) == 8


def test_repr_is_short_and_names_learner_and_tasks(prior):
    text = repr(prior)
    assert "regressor" in text and "bayesian_linear" in text and "n_tasks=12" in text
    assert len(text) < 120


@pytest.mark.parametrize(
    "part, value, error, wording",
    [
        ("estimator_type", "cluster", ValueError, "estimator_type must be one of"),
        ("learner_config", {"params": {}}, ValueError, "'learner_config.name' is missing"),
        ("learner_config", {"name": "maml"}, ValueError, "'learner_config.params' is missing"),
        ("learner_config", "maml", TypeError, "learner_config must be of type dict, got str"),
        ("encoder", [1], TypeError, "encoder must be of type dict or None, got list"),
        ("meta", {"f": print}, TypeError, r"prior.meta.f must be .* got builtin_function"),
        ("meta", {1: 2}, TypeError, "prior.meta must have str keys, got 1"),
        ("weights", {"w": np.array(["a"])}, TypeError, "array 'weights/w' must be boolean"),
        ("weights", {"w": np.array([None])}, TypeError, "got object"),
        ("weights", {"w": np.array([1j])}, TypeError, "got complex128"),
        ("weights", {"w": np.array([1, np.nan])}, ValueError, "'weights/w' holds NaN or inf"),
        ("encoder_arrays", {"c": np.array([np.inf])}, ValueError, "'encoder/c' holds NaN or inf"),
    ],
)
def test_constructor_names_what_is_wrong(part, value, error, wording):
    with pytest.raises(error, match=wording):
        Prior(**{**make_content(), part: value})


# ---------------------------------------------------------------- immutable and shared


def test_attributes_cannot_be_set_or_deleted(prior):
    for name in ("weights", "meta", "digest", "_config", "new"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(prior, name, 1)
    with pytest.raises(AttributeError, match="immutable"):
        del prior._arrays


def test_arrays_can_never_be_made_writeable(prior):
    for array in prior.arrays.values():
        with pytest.raises(ValueError, match="read-only|WRITEABLE"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_changing_what_was_given_or_handed_out_changes_nothing(prior):
    content = make_content()
    other = Prior(**content)
    content["weights"]["layers.0.bias"][:] = 0
    content["learner_config"]["params"]["alpha"] = 9
    other.meta["n_tasks"] = 0
    other.learner_config["params"].clear()
    other.weights.clear()
    other.arrays.clear()
    assert_same_bits(other, prior)


def test_clone_copy_and_deepcopy_return_the_prior_itself(prior):
    class Holder(BaseEstimator):
        def __init__(self, prior=None):
            self.prior = prior

    assert clone(prior) is prior
    assert copy.copy(prior) is prior
    assert copy.deepcopy({"a": [prior]})["a"][0] is prior
    assert clone(Holder(prior)).prior is prior
    assert not hasattr(prior, "get_params")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_every_bit(prior, protocol):
    again = pickle.loads(pickle.dumps(prior, protocol=protocol))
    assert_same_bits(again, prior)
    assert again == prior and hash(again) == hash(prior)
    with pytest.raises(ValueError, match="WRITEABLE"):
        again.weights["layers.0.bias"].setflags(write=True)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_joblib_keeps_every_bit(prior, tmp_path, mmap_mode):
    joblib.dump(prior, tmp_path / "prior.joblib")
    assert_same_bits(joblib.load(tmp_path / "prior.joblib", mmap_mode=mmap_mode), prior)


def test_equality_is_of_content(prior):
    assert prior == Prior(**make_content()) and prior != Prior(**make_content(seed=1))
    assert prior != "prior"


def test_module_needs_no_torch():
    code = "import sys, sklearn_meta._prior; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- save


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_round_trip_is_bit_exact(prior, tmp_path, as_type):
    path = as_type(tmp_path / "prior.safetensors")
    prior.save(path)
    assert_same_bits(Prior.load(path), prior)


def test_big_endian_and_strided_arrays_round_trip(tmp_path):
    content = make_content()
    grid = np.arange(12, dtype=">f8").reshape(3, 4)
    content["weights"] = {"big": grid, "strided": grid[::2, ::-1], "fortran": grid.T}
    Prior(**content).save(tmp_path / "p")
    weights = Prior.load(tmp_path / "p").weights
    for name, expected in content["weights"].items():
        np.testing.assert_array_equal(weights[name], expected)


def test_saved_file_is_plain_safetensors(path, prior):
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()[FORMAT])
        assert set(file.keys()) == prior.arrays.keys()
    assert header["format_version"] == FORMAT_VERSION


def test_same_prior_gives_the_same_file(prior, path, tmp_path):
    prior.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_failed_save_leaves_the_old_file(path, prior, monkeypatch, step):
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(prior_module.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        Prior(**make_content(seed=1)).save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_save_replaces_an_old_file_and_follows_a_link(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    newer = Prior(**make_content(seed=1))
    newer.save(link)
    assert link.is_symlink() and Prior.load(path) == newer


def test_threads_may_save_to_one_file(path):
    priors = [Prior(**make_content(seed=seed)) for seed in range(8)]
    threads = [threading.Thread(target=prior.save, args=(path,)) for prior in priors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Prior.load(path) in priors
    assert list(path.parent.iterdir()) == [path]


def test_save_names_a_missing_folder_and_refuses_a_folder(prior, tmp_path):
    with pytest.raises(FileNotFoundError, match="folder .*absent does not exist"):
        prior.save(tmp_path / "absent" / "p")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        prior.save(tmp_path)


# ---------------------------------------------------------------- load refuses


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is not a sklearn_meta prior: there is no"):
        Prior.load(tmp_path / "absent")


def test_folder(tmp_path):
    with refusal(tmp_path, "it is a folder"):
        Prior.load(tmp_path)


def test_empty_file(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    with refusal(path, "it has 0 bytes"):
        Prior.load(path)


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(fraction * len(content)))])
    with refusal(path, "header"):
        Prior.load(path)


def test_file_with_something_appended(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with refusal(path, "header"):
        Prior.load(path)


def test_any_flipped_bit_in_the_arrays_is_found(path, prior):
    content = bytearray(path.read_bytes())
    n_bytes = sum(array.nbytes for array in prior.arrays.values())
    for position in range(len(content) - n_bytes, len(content), 5):
        damaged = content.copy()
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with refusal(path, ""):
            Prior.load(path)


def test_random_bytes(tmp_path):
    path = tmp_path / "random"
    rng = np.random.default_rng(0)
    for size in (1, 7, 8, 9, 100, 10_000):
        path.write_bytes(rng.bytes(size))
        with refusal(path, "header"):
            Prior.load(path)


class Trap:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_pickle_is_refused_and_not_executed(tmp_path):
    trace = tmp_path / "trace"
    for name, dump in (("a", joblib.dump), ("b", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        path = tmp_path / name
        dump(Trap(trace), path)
        with refusal(path, "header"):
            Prior.load(path)
    assert not trace.exists()


def test_foreign_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"w": np.ones(3)}, path, metadata)
        with refusal(path, "safetensors file of something else"):
            Prior.load(path)


def test_newer_format_says_upgrade(path):
    # A newer format may have other entries: only its number is looked at.
    def change(header):
        header.clear()
        header["format_version"] = FORMAT_VERSION + 1

    rewrite(path, change)
    wording = r"school.safetensors was written by a newer sklearn_meta \(format 2\); upgrade"
    with pytest.raises(ValueError, match=wording):
        Prior.load(path)


@pytest.mark.parametrize("key", ["format_version", "digest", *prior_module._CONFIG_TYPES])
def test_missing_entry(path, key):
    rewrite(path, lambda header: header.pop(key))
    with refusal(path, f"entry '{key}' is missing"):
        Prior.load(path)


@pytest.mark.parametrize(
    "key, value, why",
    [
        ("format_version", "1", "format_version must be of type int, got str"),
        ("format_version", 0, "there is no format 0"),
        ("digest", 5, "digest must be of type str, got int"),
        ("digest", "0" * 64, "does not match its checksum"),
        ("estimator_type", "cluster", "estimator_type must be one of"),
        ("learner_config", [], "learner_config must be of type dict, got list"),
        ("learner_config", {"name": 3, "params": {}}, "learner_config.name must be of type str"),
        ("signature", None, "signature must be of type dict, got NoneType"),
        ("encoder", "x", "encoder must be of type dict or None, got str"),
        ("meta", {"n_tasks": 13}, "does not match its checksum"),
    ],
)
def test_wrong_entry(path, key, value, why):
    rewrite(path, lambda header: header.update({key: value}))
    with refusal(path, why):
        Prior.load(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"a": 1' + "0" * 9999])
def test_metadata_that_is_no_dictionary(path, text):
    save_file({"w": np.ones(3)}, path, {FORMAT: text})
    with refusal(path, ""):
        Prior.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(path, value):
    rewrite(path, change_arrays=lambda arrays: arrays.update({"weights/w": np.array([1, value])}))
    with refusal(path, "array 'weights/w' holds NaN or infinity"):
        Prior.load(path)


def test_array_outside_the_sections(path):
    rewrite(path, change_arrays=lambda arrays: arrays.update({"code": np.ones(1)}))
    with refusal(path, "array 'code' belongs to none of"):
        Prior.load(path)


@pytest.mark.parametrize("dtype, size", [("BF16", 2), ("F8_E4M3", 1), ("C64", 8)])
def test_wrong_dtype(path, dtype, size):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    array = {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}
    forge(path, {"__metadata__": metadata, "weights/w": array}, b"\0" * size)
    with refusal(path, dtype):
        Prior.load(path)


def test_absurd_sizes(path):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    for shape in ([2**62, 2**62], [2**40], [-1]):
        array = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
        forge(path, {"__metadata__": metadata, "weights/w": array}, b"\0" * 4)
        with refusal(path, "header"):
            Prior.load(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with refusal(path, "header"):
        Prior.load(path)
    with open(path, "r+b") as file:
        file.truncate(prior_module.MAX_FILE_BYTES + 1)  # sparse: takes no room on the disk
    with refusal(path, "it has 4294967297 bytes"):
        Prior.load(path)


@pytest.mark.parametrize("limit", ["MAX_CONFIG_CHARS", "MAX_ARRAYS"])
def test_limits_of_metadata_and_arrays(path, monkeypatch, limit):
    monkeypatch.setattr(prior_module, limit, 2)
    with refusal(path, "characters of metadata and 8 arrays"):
        Prior.load(path)
