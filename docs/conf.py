"""Configuration of the documentation; it builds without a network."""

from importlib.metadata import version as distribution_version

project = "sklearn_meta"
author = "the sklearn_meta developers"
copyright = author
release = version = distribution_version("sklearn-meta")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "auto_examples/*.ipynb"]

autosummary_generate = True
numpydoc_show_class_members = False  # autodoc lists the members (see _templates)

html_theme = "pydata_sphinx_theme"
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,
}


def skip_inherited_from_sklearn(app, what, name, obj, skip, options):
    """Leave scikit-learn's own methods to its documentation, whose labels are unknown here."""
    return skip or (getattr(obj, "__module__", None) or "").startswith("sklearn.")


def setup(app):
    """Register what autodoc leaves out."""
    app.connect("autodoc-skip-member", skip_inherited_from_sklearn)
