"""No control character of a text reaches the terminal; everything else does."""

import ast
import json

import pytest

from nearfar.printable import printable, printable_line, show
from tests.test_layers import SOURCE

CONTROLS = [*(c for c in range(0x20) if chr(c) not in "\t\n\r"), *range(0x7F, 0xA0), *range(0x202A, 0x202F)]
CONTROLS += [*range(0x2066, 0x206A), 0x061C, 0x200E, 0x200F, 0xD800, 0xDFFF]


@pytest.mark.parametrize("code", CONTROLS, ids=hex)
def test_a_control_character_becomes_its_escape(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\u{code:04x}b"


def test_a_return_that_would_write_over_the_line_is_one() -> None:
    assert printable("good\rbad\r\nend\r") == "good\\u000dbad\r\nend\\u000d"


def test_all_other_text_stays_and_twice_is_once() -> None:
    text = "tab\tline\nÄöß 漢字 עברית \u200d👩\u200d💻 \\u001b e\u0301"
    assert printable(text) == text
    assert printable(printable("\x1b]0;title\x07")) == "\\u001b]0;title\\u0007"


def test_in_json_it_is_the_same_value() -> None:
    value = ["\x1b[2J", "\x9b31m", "\u202ecba", "\r\n\t", "plain"]
    written = printable(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)


def test_a_line_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable_line("a\nb\r\nc\u2028d\te") == "a\\u000ab\\u000d\\u000ac\\u2028d\te"
    show("a\nb", "", "c")
    show("d\x1b", error=True)
    assert capsys.readouterr() == ("a\\u000ab\n\nc\n", "d\\u001b\n")


def test_nothing_is_printed_in_another_way() -> None:
    """All goes through `show`, or through rich in the files that escape what they hand to it."""
    rich = {"cli/_index_build.py"}  # a bar of numbers
    rich |= {"reports/console.py", "reports/tables.py", "training/log.py", "cli/mine.py", "data/harvest/run.py"}
    rich |= {"reports/comparison_tables.py"}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called != "print" or name == "printable.py", f"{name}:{node.lineno}: use printable.show"
                assert not called.endswith((".stdout.write", ".stderr.write", "typer.echo", "secho")), name
                assert called != "Console" or name in rich, f"{name}:{node.lineno}: a console that escapes nothing"
