"""Families of synthetic tasks, loaders of images, and published protocols of evaluation.

Needs no torch. A family is a list of `Task`: ``meta.fit_tasks(make_sinusoids(1000, 20))``.
"""

from ._classification import make_classification_tasks
from ._dead_leaves import make_dead_leaves
from ._episodes import few_shot_episodes
from ._gaussian_process import make_gaussian_process_tasks
from ._images import load_image_folders, load_image_npz
from ._linear import make_linear_tasks
from ._sinusoids import make_sinusoids, sinusoid_protocol
from ._tables import make_table_tasks

__all__ = [
    "few_shot_episodes",
    "load_image_folders",
    "load_image_npz",
    "make_classification_tasks",
    "make_dead_leaves",
    "make_gaussian_process_tasks",
    "make_linear_tasks",
    "make_sinusoids",
    "make_table_tasks",
    "sinusoid_protocol",
]
