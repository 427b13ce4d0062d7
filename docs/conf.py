"""Settings of the documentation; `make docs` builds it."""

import importlib
import pkgutil
import re
import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from numpydoc.validate import validate
from sklearn.datasets import load_sample_images
from sphinx.util import logging

import skdcec

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from demo import make_page, write_pictures

project = "skdcec"
author = "skdcec developers"
copyright = "2026, skdcec developers"
release = version = installed_version("skdcec")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
default_role = "literal"  # single backticks in docstrings name parameters

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc states types with their shapes and units
numpydoc_show_class_members = False  # the class template lists them
# What a docstring lacks is an error. Not asked for:
numpydoc_validation_checks = {
    "all",
    "ES01",  # a summary that says everything needs no second paragraph
    "RT02",  # results have names, as in scikit-learn's documentation
    # Asked of each name of api.rst, below. A method is read on the page of its class, whose example
    # calls it and whose relatives are the method's as well.
    *("EX01", "SA01"),
}
# Ready scorers are objects: their parameters are described where they are made.
numpydoc_validation_exclude = {r"\.(?!make_)\w+_scorer$"}

# Running the examples takes minutes, so their text and code are rendered without it, and
# `make docs GALLERY=1` adds output and pictures. `make test` runs them either way.
plot_gallery = "False"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "write_computation_times": False,
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"skdcec {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
html_show_sourcelink = False


def warn_of_undocumented_names(app):
    """Warn, which fails the build, of each public name that the API page does not list."""
    listed = set(re.findall(r"^    ([\w.]+)$", Path(app.srcdir, "api.rst").read_text(), re.M))
    modules = [
        importlib.import_module(f"skdcec.{module.name}")
        for module in pkgutil.iter_modules(skdcec.__path__)
        if not module.name.startswith("_")
    ]
    for module in [skdcec, *modules]:
        prefix = module.__name__.removeprefix("skdcec").lstrip(".")
        for name in module.__all__:
            if name.startswith("__") or f"skdcec.{name}" in {m.__name__ for m in modules}:
                continue
            if ".".join(filter(None, [prefix, name])) not in listed:
                logging.getLogger(__name__).warning(
                    "%s.%s is public and not listed in docs/api.rst", module.__name__, name
                )


def warn_of_lonely_names(app):
    """Warn of each name of the API page that has no example, or names nothing to see besides."""
    for name in re.findall(r"^    ([\w.]+)$", Path(app.srcdir, "api.rst").read_text(), re.M):
        if app.config.numpydoc_validation_excluder.search(name):
            continue
        for code, message in validate(f"skdcec.{name}")["errors"]:
            if code in ("EX01", "SA01"):
                logging.getLogger(__name__).warning("skdcec.%s: %s: %s", name, code, message)


def add_sample_page(app, exception):
    """Put beside the documentation the page of the demo, with the images that it opens."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir, "sample")
    shutil.rmtree(folder, ignore_errors=True)
    write_pictures(folder / "pictures", load_sample_images().images)
    _, page = make_page(folder / "pictures", folder / "run")
    (folder / "page").mkdir()
    shutil.move(page, folder / "page")
    shutil.rmtree(folder / "run")


def setup(app):
    app.connect("builder-inited", warn_of_undocumented_names)
    app.connect("builder-inited", warn_of_lonely_names)
    app.connect("build-finished", add_sample_page)
