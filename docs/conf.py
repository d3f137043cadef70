"""Sphinx settings: ``make docs`` writes docs/_build/html; every warning is an error."""

import initcore
from initcore.initializers import listing

project = "initcore"
author = "The initcore developers"
copyright = f"2026, {author}"  # noqa: A001
release = version = initcore.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"initcore {release}"

autosummary_generate = False
autodoc_mock_imports = [
    "dask",
    "jax",
    "keras",
    "ml_dtypes",
    "mpi4py",
    "torch",
]  # their own pages are run elsewhere
numpydoc_show_class_members = False
default_role = "autolink"  # a link where there is something to link to
myst_heading_anchors = 3
myst_enable_extensions = ["substitution", "dollarmath", "amsmath"]
nb_execution_mode = "force"  # the tutorial is a notebook: a cell that fails, fails the build
nb_execution_raise_on_error = True
nb_execution_timeout = 120
# The README is written for the repository; here it lies one directory lower.
suppress_warnings = ["myst.xref_missing"]


def _table_of_schemes() -> str:
    """List the registry, for docs/initializers.md."""
    rows = ["| name | variance of the values | source |", "|---|---|---|"]
    for names, variance, source in listing():
        links = ", ".join(f"[{name}](#initcore.{name})" for name in names)
        rows.append(f"| {links} | {variance} | {source} |")
    return "\n".join(rows)


myst_substitutions = {"schemes": _table_of_schemes()}
