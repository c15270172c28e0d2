"""The rooms: an import goes to a lower floor, or stays in its room; docs/design.md, section 2, has the drawing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import marginflow

SOURCE = Path(marginflow.__file__).parent
FLOORS = (
    {"base", "storage"}, {"nets", "data"}, {"transforms"}, {"distributions"}, {"models", "training", "evaluation"},
    {"runs", "report", "interop"}, {"estimators"}, {"cli"},
)  # fmt: skip
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS, 1) for room in rooms}
FILES = {path: path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py") if path.parent != SOURCE}


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere but for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "marginflow":
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("marginflow"))
        yield from imported(node)


def file_of(module: str) -> Path:
    """The file of a module, or of the module that a name is in."""
    path = SOURCE.parent / Path(*module.split("."))
    found = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    return found[0] if found else file_of(module.rpartition(".")[0])


def test_there_are_few_rooms_on_few_floors() -> None:
    assert set(FILES.values()) <= set(FLOOR)
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert len(FLOOR) <= 14
    assert len(FLOORS) <= 8


def test_imports_go_down_or_stay() -> None:
    for path, room in FILES.items():
        for module in imported(ast.parse(path.read_text())):
            there = FILES.get(file_of(module), "the package itself")
            assert there == room or FLOOR[there] < FLOOR[room], f"{path.relative_to(SOURCE)} imports {module}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    edges = {path: {file_of(each) for each in imported(ast.parse(path.read_text()))} for path in FILES}
    TopologicalSorter(edges).prepare()  # CycleError names the circle


def test_files_hold_one_idea() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path.name
