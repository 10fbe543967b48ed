"""What importing costs, and which room may know which."""

import ast
import subprocess
import sys
from pathlib import Path

import sklearn_meta

PACKAGE = Path(sklearn_meta.__file__).parent

# From the top down: a room knows those below it and none above. The rooms of one line are friends.
ROOMS = [
    ["_classifier", "_regressor", "_reconstructor"],
    ["_estimator"],
    ["_many", "_task_table", "_one_table", "_image_fit"],
    ["_learn_prior", "_novelty", "_shared_classes"],
    ["_hidden_score"],
    ["_table_prior", "_blended_images", "_found_operator"],
    ["_learn_tables", "_learn_images"],
    ["_learning"],
    ["_adapted", "_adapted_images"],
    ["_prior_holder", "_image_tasks"],
    ["_image_support"],
    ["_images_in", "_noise_in", "_operator_in", "_choose_learner"],
    ["_model", "_checks", "_targets", "_resolve_prior", "_small_images"],
    ["_guard"],
    ["inspection"],
    ["model_selection"],
    ["datasets"],
    ["metrics"],
    ["_training", "_training_state", "_training_split", "_training_config", "_training_checkpoint"],
    ["_prior"],
    ["learners"],
    ["networks"],
    ["tasks"],
    ["preprocessing"],
    ["operators"],
    ["_random"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def rooms_imported(path):
    """Yield (room, line) of every import that runs, those inside functions included."""
    package = ("sklearn_meta", *path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(path.read_text())
    checking_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in checking_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "sklearn_meta" and len(parts) > 1 and parts[1] in LEVEL:
                yield parts[1], node.lineno


def test_imports_point_down():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in LEVEL, f"{path.name} is in no room: add it to ROOMS"
        for other, line in rooms_imported(path):
            if LEVEL[other] < LEVEL[room]:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_package_imports_nothing_heavy():
    heavy = "torch", "polars", "matplotlib"  # scikit-learn itself imports pandas
    code = (
        "import sys, sklearn_meta\n"
        "from sklearn_meta import MetaClassifier, MetaReconstructor, MetaRegressor, Prior\n"
        "MetaRegressor(), MetaClassifier(), MetaReconstructor()\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert run(code) == "[]"


def test_import_takes_less_than_a_second_more_than_scikit_learn():
    code = (
        "import time, sklearn.base, sklearn.utils.validation\n"
        "start = time.perf_counter()\n"
        "import sklearn_meta\n"
        "print(time.perf_counter() - start)"
    )
    assert min(float(run(code)) for _ in range(2)) < 1.0


def test_public_names():
    assert set(sklearn_meta.__all__) <= set(dir(sklearn_meta))
    for name in sklearn_meta.__all__:
        assert getattr(sklearn_meta, name).__name__ == name


def test_no_private_scikit_learn():
    private = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn."):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                if any(name.startswith("_") for name in names):
                    private.append(f"{path.name}:{node.lineno}")
    assert not private
