"""marginflow list: what can be called by name.

Names and what they are, the first lines of docstrings, are read from the files: to run these would load torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def list_() -> None:
    """The models, the noise and the experiments that can be called by name."""
    from marginflow.runs.experiments import about, at_hand

    models = PACKAGE / "models" / "__init__.py"
    found = {name: about(path) for name, path in at_hand().items()}
    print_names("models of vectors, for [model] name = ...", first_lines(models, "MODELS"))
    of_tables = first_lines(models, "MIXTURES") | first_lines(models, "TABLE_MODELS")
    print_names("models of tables, for [model] name = ..., or marginflow train TABLE --model ...", of_tables)
    print_names("models of images, for [model] name = ...", first_lines(models, "IMAGE_MODELS"))
    title = "noise, for [noise] name = ..., where any model that sees such rows will do too"
    print_names(title, first_lines(models, "NOISES"))
    print_names("experiments, for marginflow train NAME", found)


def first_lines(file: Path, table: str) -> dict[str, str]:
    """The functions that a table in a file names, and the first line that each says of itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {
        alias.name: str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == table
    )
    assert value is not None
    names = [node.id for node in ast.walk(value) if isinstance(node, ast.Name) and node.id in modules]
    return {name: _first_line(modules[name], name) for name in names}


def _first_line(module: str, function: str) -> str:
    tree = ast.parse(PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(found) or "").partition("\n")[0]


def print_names(title: str, entries: Mapping[str, str]) -> None:
    """Print names and what they are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, about in entries.items():
        table.add_row(name, escape(about))
    Console().print(table)
