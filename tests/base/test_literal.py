"""Text from outside, as it may be shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marginflow.base.literal import literal


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_can_be_printed_and_is_in_one_line(text: str) -> None:
    shown = literal(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()  # no half of a pair of surrogates


@given(st.text("abc $_^{}\\<>[]&%äß身"))
def test_printable_text_is_left_as_it_is(text: str) -> None:
    assert literal(text) == text


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert literal("a\x1b[31m\r\n\x07\udc80\u202e\xa0b") == r"a\x1b[31m\r\n\x07\udc80\u202e b"
