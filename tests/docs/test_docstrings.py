"""Every public docstring in the sections that tools read, as a tool reads them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import pytest

DOORS = ["", ".data", ".distributions", ".estimators", ".interop", ".models", ".nets", ".training", ".transforms"]
SECTIONS = [
    "text",
    "parameters",
    "attributes",
    "returns",
    "yields",
    "raises",
    "references",
    "examples",
]  # in this order
CONTRACTS = ["Density", "Distribution", "Transform", "Univariate", "Rows", "Observer"]  # nobody builds one
NEED_FILES = ["Source", "bsds300", "gas", "hepmass", "miniboone", "power", "mnist", "cifar10", "TensorBoard"]
NEED_PEERS = ["Foreign", "ForeignTransform", "from_freia", "from_nflows", "from_normflows", "from_zuko",
              "maf_from_nflows", "maf_from_zuko"]  # fmt: skip
WITHOUT_EXAMPLES = {*CONTRACTS, *NEED_FILES, *NEED_PEERS}


def public() -> Iterator[tuple[str, Any]]:
    """Where each public class and function stands, and itself."""
    for door in DOORS:
        module = importlib.import_module(f"marginflow{door}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{value.__module__}.{value.__qualname__}", value


def contract_methods() -> Iterator[tuple[str, Any]]:
    for path, value in public():
        if value.__name__ in ("Density", "Distribution", "Transform"):
            for name, method in vars(value).items():
                if inspect.isfunction(method) and not name.startswith("_"):
                    yield f"{path}.{name}", method


PUBLIC = dict(public())
METHODS = dict(contract_methods())


@cache
def package() -> griffe.Module:
    source = Path(__file__).parents[2] / "src"
    return griffe.load("marginflow", search_paths=[source], docstring_parser="google")  # pyright: ignore[reportReturnType]


def sections_of(path: str) -> dict[str, Any]:
    """The sections of a docstring by kind, in their order; the text stands first."""
    docstring = package()[path.removeprefix("marginflow.")].docstring
    assert docstring is not None, "there is none"
    found: dict[str, Any] = {}
    for section in docstring.parsed:
        kind = section.title.lower() if section.kind.value == "admonition" and section.title else section.kind.value
        assert kind in SECTIONS, f"{kind} is no section of ours"
        assert kind == "text" or kind not in found, f"{kind} stands there twice"
        found.setdefault(kind, section.value)
    return found


def arguments_of(value: Any) -> list[str]:
    if inspect.isclass(value) and not any("__init__" in vars(c) for c in value.__mro__ if "marginflow" in c.__module__):
        return []
    return [
        ("*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else "") + p.name
        for p in inspect.signature(value).parameters.values()
        if p.name != "self"
    ]


def fields_of(value: Any) -> list[str]:
    names = getattr(value, "_fields", getattr(value, "__dataclass_fields__", []))  # of a named tuple, a data class
    return [name for name in names if not name.startswith("_")]


def is_built_by_callers(value: Any) -> bool:
    return not inspect.isclass(value) or value.__name__ not in CONTRACTS


def code_of(value: Any) -> str:
    """The code that runs when it is called, as it stands in its own class."""
    if not inspect.isclass(value):
        return inspect.getsource(value)
    built_by = "__post_init__" if hasattr(value, "__dataclass_fields__") else "__init__"
    return (
        "" if value.__name__ in CONTRACTS or built_by not in vars(value) else inspect.getsource(vars(value)[built_by])
    )


def require_a_summary(path: str) -> None:
    first, *rest = inspect.cleandoc(package()[path.removeprefix("marginflow.")].docstring.value).splitlines()  # pyright: ignore
    assert first.endswith("."), "the first line is no sentence"
    assert not rest or not rest[0].strip(), "a blank line must follow the first"


def require_described(names: list[str], described: Any) -> None:
    assert [each.name for each in described] == names
    for each in described:
        assert each.description.strip(), f"{each.name} is not described"


@pytest.mark.parametrize("path", PUBLIC)
def test_sections_of_a_public_docstring(path: str) -> None:
    value, sections = PUBLIC[path], sections_of(path)
    require_a_summary(path)
    assert [kind for kind in SECTIONS if kind in sections] == list(sections), "the sections stand in another order"
    fields = fields_of(value)
    fitted = [each for each in sections.get("attributes", []) if each.name.endswith("_")]  # of an estimator
    require_described([each.name for each in fitted], fitted)
    if "attributes" in sections and not fitted:  # of a result, which is read and not built
        require_described(fields, sections["attributes"])
    elif is_built_by_callers(value) and (fields or arguments_of(value)):
        require_described(fields or arguments_of(value), sections.get("parameters", []))
    returns = None if inspect.isclass(value) else inspect.signature(value).return_annotation
    if returns not in (None, "None"):
        assert sections.get("returns"), "nothing says what it returns"
    if re.search(r"^\s+raise \w+", code_of(value), re.MULTILINE):
        assert sections.get("raises"), "nothing says what it raises"
    if value.__name__ not in WITHOUT_EXAMPLES:
        assert ">>>" in str([example for _, example in sections.get("examples", [])]), "there is no example"


@pytest.mark.parametrize("path", METHODS)
def test_sections_of_a_contract_s_method(path: str) -> None:
    value, sections = METHODS[path], sections_of(path)
    require_a_summary(path)
    if arguments_of(value):
        require_described(arguments_of(value), sections.get("parameters", []))
    if inspect.signature(value).return_annotation not in (None, "None"):
        assert sections.get("returns"), "nothing says what it returns"


@pytest.mark.parametrize("path", PUBLIC)
def test_papers_stand_among_the_references_with_their_years(path: str) -> None:
    sections, text = sections_of(path), inspect.getdoc(PUBLIC[path]) or ""
    references = sections["references"].description if "references" in sections else ""
    assert text.lower().count("arxiv") == references.lower().count("arxiv"), "a paper is named outside the references"
    for reference in re.split(r"\n(?=\S)", references.strip()):
        assert not reference or re.search(r"\b(19|20)\d\d\b", reference), f"which year? {reference}"


def test_raises_name_exceptions() -> None:
    for path in [*PUBLIC, *METHODS]:
        for raised in sections_of(path).get("raises", []):
            assert issubclass(getattr(__import__("builtins"), str(raised.annotation)), Exception), path
