"""No control character of a text reaches the terminal; everything else does."""

import json

import pytest

from nearfar.printable import printable

CONTROLS = [*(c for c in range(0x20) if chr(c) not in "\t\n\r"), *range(0x7F, 0xA0), *range(0x202A, 0x202F)]
CONTROLS += range(0x2066, 0x206A)


@pytest.mark.parametrize("code", CONTROLS, ids=hex)
def test_a_control_character_becomes_its_escape(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\u{code:04x}b"


def test_a_return_that_would_write_over_the_line_is_one() -> None:
    assert printable("good\rbad\r\nend\r") == "good\\u000dbad\r\nend\\u000d"


def test_all_other_text_stays_and_twice_is_once() -> None:
    text = "tab\tline\nÄöß 漢字 עברית\u200f \u200d👩\u200d💻 \\u001b e\u0301"
    assert printable(text) == text
    assert printable(printable("\x1b]0;title\x07")) == "\\u001b]0;title\\u0007"


def test_in_json_it_is_the_same_value() -> None:
    value = ["\x1b[2J", "\x9b31m", "\u202ecba", "\r\n\t", "plain"]
    written = printable(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)
