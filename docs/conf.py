"""How Sphinx builds this documentation."""

import sys
import typing
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import generate  # noqa: E402 - beside this file

generate.write(HERE / "reference" / "generated")

project = "forebay"
author = "the forebay developers"
copyright = "the forebay developers"
version = release = installed_version("forebay")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
# `console` blocks are shown as they are; the tutorial's are run by a test.
highlight_language = "none"

# Fragments that other pages include.
exclude_patterns = ["_build", "reference/generated/*.part.md"]
html_theme = "furo"
html_title = "forebay"
html_static_path = ["_static"]

# A type in a signature is looked up by its last word, which an attribute somewhere may have as well.
suppress_warnings = ["ref.python"]
# Every page carries the tree of all: with each class and function in it, it costs a third of the build.
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "show-inheritance": True,
    "exclude-members": "model_config",
}
napoleon_google_docstring = False
napoleon_use_ivar = True


def skip_annotated(*event: object) -> bool | None:
    """Leave out names for constrained types: their repr is not reStructuredText."""
    _app, _what, _name, obj, _skip, _options = event
    return True if typing.get_origin(obj) is typing.Annotated else None


def setup(app: typing.Any) -> None:
    """Connect what this file defines."""
    app.connect("autodoc-skip-member", skip_annotated)
