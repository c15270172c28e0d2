"""Output where the encoding lacks a character: every command ends as it does in UTF-8, and nothing is lost."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, succeeds
from pyarrow import csv

from marginflow.cli import main
from marginflow.cli.output import print_anywhere

pytestmark = pytest.mark.usefixtures("single")
COMMANDS = {
    "train": ["train", "größe.csv", "--set", "train.epochs=1", "--run-dir", "again", "--overwrite"],
    "train, refused": ["train", "größe.csv", "--columns", "größe,日本"],
    "train, missing": ["train", "fehlt-ü.csv"],
    "evaluate": ["evaluate", "läufe/größe", "--no-figures", "-K", "5"],
    "evaluate, refused": ["evaluate", "läufe/größe", "--data", "other.csv"],
    "sample": ["sample", "läufe/größe", "-n", "5", "-o", "drawn-ß.csv"],
    "check": ["check", "läufe/größe"],
    "compare": ["compare", "läufe/größe", "again"],
    "report": ["report", "läufe/größe", "-o", "r\u00e9port.html"],
    "list": ["list"],
    "data": ["data", "list"],
    "help": ["evaluate", "--help"],
    "version": ["--version"],
    "no option": ["evaluate", "läufe/größe", "--ümlaut"],
}
FAIL = ("train, refused", "train, missing", "evaluate, refused", "no option")


class Terminal(io.TextIOWrapper):
    """A stream of an encoding, as Python opens the standard ones, which may be a terminal."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        self.bytes, self.terminal = io.BytesIO(), terminal
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return self.terminal


def said(arguments: list[str], encoding: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """Exit status, and what the entry point writes to streams of that encoding."""
    out, err = Terminal(encoding, terminal), Terminal(encoding, terminal)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        patched.setattr(sys, "argv", ["marginflow", *arguments])
        patched.setenv("TERM", "xterm")
        with pytest.raises(SystemExit) as exit_:
            main()
        status = exit_.value.code or 0
    return status, (out.bytes.getvalue() + err.bytes.getvalue()).decode(encoding)


@pytest.fixture
def here(call: Call) -> None:
    rng = np.random.default_rng(0)
    csv.write_csv(pa.table({"größe": rng.normal(size=300), "b": rng.normal(size=300)}), "größe.csv")
    csv.write_csv(pa.table({"größe": ["日本"] * 300, "b": ["é"] * 300}), "other.csv")
    Path("läufe").mkdir()
    options = ("--set", "train.epochs=1", "--set", "model.hidden=[8]", "--set", "noise.features=1")
    for run in ("läufe/größe", "again"):
        succeeds(call("train", "größe.csv", *options, "--run-dir", run))
        succeeds(call("evaluate", run, "--no-figures", "-K", 5))


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
def test_every_command_ends_as_it_does_in_utf_8(here: None, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    for name, arguments in COMMANDS.items():
        for encoding in ("ascii", "cp1252") if name.startswith("evaluate") else ("ascii",):
            status, text = said(arguments, encoding, terminal, monkeypatch)
            assert bool(status) == (name in FAIL), (name, text)
            assert text.strip(), name
            assert "Traceback" not in text, name
            if name in ("evaluate", "compare"):
                assert ("+/- " if encoding == "ascii" else "± ") in text
            if name == "evaluate, refused":
                assert ("gr\\xf6\\xdfe" if encoding == "ascii" else "größe") in text
                assert "\\u65e5\\u672c" in text


@pytest.mark.parametrize(
    ("text", "ascii_", "cp1252"),
    [
        ("1.2 ± 0.3", "1.2 +/- 0.3", "1.2 ± 0.3"),
        ("8 \u00d7 8 \u2013 x\u2026", "8 x 8 - x...", "8 \u00d7 8 \u2013 x\u2026"),
        ("log q(ε|x)", "log q(eps|x)", "log q(eps|x)"),
        ("größe", r"gr\xf6\xdfe", "größe"),
        ("日本", r"\u65e5\u672c", r"\u65e5\u672c"),
        ("\U0001f600", r"\U0001f600", r"\U0001f600"),
        ("┏━┓│╺", "+-+|-", "+-+|-"),
        ("a\udcffb", r"a\udcffb", r"a\udcffb"),
        ("plain", "plain", "plain"),
    ],
)
def test_what_cannot_be_encoded_is_written_in_ascii(
    monkeypatch: pytest.MonkeyPatch, text: str, ascii_: str, cp1252: str
) -> None:
    for encoding, expected in (("ascii", ascii_), ("cp1252", cp1252)):
        out = Terminal(encoding, terminal=False)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        print_anywhere()
        print(text)
        assert out.bytes.getvalue().decode(encoding) == expected + "\n"


def test_streams_of_other_kinds_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    print_anywhere()
