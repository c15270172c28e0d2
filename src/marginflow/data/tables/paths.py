"""The files of a table: one, several in a list, or those that a pattern with * ? [ fits."""

from __future__ import annotations

import fnmatch
import glob
import os
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from marginflow.base.arguments import shown
from marginflow.base.names import did_you_mean, listed
from marginflow.base.settings import as_path
from marginflow.data.tables.formats import ENDINGS, FORMATS, ending_of, stem_of

BETWEEN = "-_. 0123456789"  # what ends the part that the names of several files have in common


def files_of(path: object) -> list[Path]:
    """The files that a path names, those of a pattern sorted.

    Args:
        path: of a file; a text with * ? [ that is no file is a pattern; or a list of such.

    Returns:
        One or more paths.

    Raises:
        ValueError: where it is neither, or a file stands there twice, whose rows would count twice.
        FileNotFoundError: where a pattern fits no file.

    Examples:
        >>> [str(file) for file in files_of(["a.csv", "b.csv"])]
        ['a.csv', 'b.csv']
    """
    given = path if isinstance(path, list | tuple) else [path]
    if not given:
        raise ValueError(f"path must name a file, or several in a list; got {shown(path)}")
    found = [file for each in given for file in _fitting(as_path(each, "path"))]
    whole = [str(file.resolve()) for file in found]
    twice = [str(file) for i, file in enumerate(found) if whole[i] in whole[:i]]
    if twice:
        raise ValueError(f"path names {listed(twice)} twice, so that its rows would count twice: name each file once")
    return found


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all files that it fits.

    >>> is_pattern(Path("year-*.csv")), is_pattern(Path("year.csv"))
    (True, False)
    """
    return glob.has_magic(str(path)) and not path.exists()


def absolute(path: str, folder: Path) -> str:
    """A path or pattern that is relative to a folder as an absolute one."""
    if not is_pattern(folder / path) or Path(path).is_absolute():
        return str((folder / path).absolute())
    return str(Path(glob.escape(str(folder.absolute()))) / path)


def name_of(files: Sequence[Path]) -> str:
    """What several files are called: what their names begin with, or the name of the first.

    >>> name_of([Path("year-2019.csv"), Path("year-2020.csv")]), name_of([Path("a.csv"), Path("b.csv")])
    ('year', 'a')
    """
    stems = [stem_of(file) for file in files]
    common = os.path.commonprefix(stems)  # noqa: RUF071 - of characters is what is meant
    return stems[0] if len(stems) == 1 else common.rstrip(BETWEEN) or stems[0]


def all_of(files: Sequence[Path]) -> Path:
    """What stands for all files in messages.

    >>> print(all_of([Path("a.csv"), Path("b.csv"), Path("c.csv"), Path("d.csv")]))
    a.csv, b.csv and 2 more files
    """
    if len(files) <= 3:
        return Path(", ".join(map(str, files)))
    return Path(f"{files[0]}, {files[1]} and {len(files) - 2} more files")


def _fitting(path: Path) -> list[Path]:
    """The path itself, or the files that it fits."""
    if not is_pattern(path):
        return [path]
    found = [file for file in map(Path, sorted(glob.glob(str(path), recursive=True))) if file.is_file()]
    if not found:
        raise FileNotFoundError(f"{path} fits no file: {_what_is_there(path)}")
    return found


def _what_is_there(path: Path) -> str:
    """The tables of the folder in which a pattern fits none, and the one that may be meant."""
    folder = next((each for each in path.parents if not glob.has_magic(str(each))), Path())
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and ending_of(file) in FORMATS)
    where = "this folder" if folder == Path() else str(folder)
    if not names:
        return f"{where} holds no table, {ENDINGS}"
    patterns = [f"{stem_of(path)}{ending}" for ending in dict.fromkeys(ending_of(Path(each)) for each in names)]
    fitting = [each for each in patterns if fnmatch.filter(names, each)]
    if meant := get_close_matches(path.name, fitting, 1):
        return f"{where} holds {listed(names)}; did you mean {shlex.quote(str(path.with_name(meant[0])))}?"
    return f"{where} holds {listed(names)}{did_you_mean(path.name, names)}"
