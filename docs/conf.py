"""Owns how Sphinx makes the site: `make docs` builds it into build/docs."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionvme
from tools.public_names import OF_THE_LAYERS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "aionvme"
author = copyright = "The aionvme authors"
version = release = aionvme.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4

# What docstrings have between single backticks is code.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Common keywords", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# What classes of ours inherit of Python's is left out.
autodoc_default_options = {
    "members": True,
    "inherited-members": "int, str, Exception, BaseException, object, tuple",
}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = "furo"
html_title = "aionvme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# Nothing of the theme leads to these.
html_use_index = False
html_domain_indices = False
pygments_dark_style = "monokai"

_SECTION = re.compile(r"[A-Z][\w ]*:$")


def code_blocks(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Mark what a docstring indents, its sections apart, as code."""
    found: list[str] = []
    in_section = in_code = False
    for line in lines:
        if line and not line.startswith(" "):
            in_section, in_code = bool(_SECTION.match(line)), False
        elif line and not in_section and not in_code:
            found += ["", ".. code-block:: python", ""]
            in_code = True
        found.append(line)
    lines[:] = found


@functools.cache
def stub(module: str) -> ast.Module | None:
    """The stub of a compiled module, which has the types."""
    file = getattr(sys.modules[module], "__file__", None) or ""
    path = Path(file).with_name(f"{module.rpartition('.')[2]}.pyi")
    return ast.parse(path.read_text()) if file.endswith(".so") and path.exists() else None


def _function(module: str, *names: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """What a stub says of a function, if there is one, and only one."""
    node: Any = stub(module)
    for name in names:
        named = [child for child in getattr(node, "body", ()) if getattr(child, "name", None) == name]
        if len(named) != 1:
            return None
        (node,) = named
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def typed(
    _app: Sphinx, what: str, name: str, obj: Any, _options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """The signature of a compiled function, with the types of its stub."""
    if what == "function":
        found = _function(obj.__module__, obj.__name__)
    elif what == "method":
        path, _, last = name.rpartition(".")
        module, _, owner = path.rpartition(".")
        bases = getattr(importlib.import_module(module), owner).__mro__
        base = next(base for base in bases if last in vars(base))
        found = None if base is object else _function(base.__module__, base.__name__, last)
    else:
        return None
    if found is None:
        return None
    arguments = ast.unparse(found.args).removeprefix("self, ").removeprefix("self")
    return f"({arguments})", ast.unparse(found.returns) if found.returns else ""


def left_out(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out pages that are not there, and members that are not public."""
    if docname == "index":
        for page in ("command-line", "top"):
            if page not in app.env.found_docs:
                source[0] = source[0].replace(f"\n{page}\n", "\n")
    for name, members in OF_THE_LAYERS.items():
        line = f".. autoclass:: {name}\n"
        option = f"   :exclude-members: {', '.join(sorted(members))}\n"
        source[0] = source[0].replace(line, line + option)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", left_out)
    # Before Napoleon, which is at 500, has made other things of the sections.
    app.connect("autodoc-process-docstring", code_blocks, priority=400)
    app.connect("autodoc-process-signature", typed)
