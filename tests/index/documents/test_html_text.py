"""HTML: all that is visible stays, in order and with its line; what is not shown, and the tags, go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.index.documents.document import BadDocumentError
from nearfar.index.documents.html_text import html_document

TAGS = (
    "p",
    "div",
    "span",
    "b",
    "ul",
    "li",
    "table",
    "tr",
    "td",
    "h1",
    "pre",
    "a",
    "section",
    "unknown-tag",
)
GAPS = st.sampled_from(
    ["", " ", "\n", "\n\n  ", "\t", "&nbsp;", "<br>", "<!-- hidden -->", "<hr/>", "<img src=hidden>"]
)
HIDDEN = st.sampled_from(["<script>hidden()</script>", "<style>hidden {}</style>", "<template><p>hidden</template>"])


def tree(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    element = st.builds(
        lambda tag, parts, close: f"<{tag} class='hidden'>{' '.join(parts)}" + (f"</{tag}>" if close else ""),
        st.sampled_from(TAGS),
        st.lists(inner, max_size=4),
        st.booleans(),
    )
    return element | st.builds("".join, st.lists(st.one_of(inner, GAPS, HIDDEN), max_size=5))


@given(st.recursive(st.just("WORD"), tree, max_leaves=20))
def test_words_stay_in_order_with_their_lines(page: str) -> None:
    number = iter(range(1000))
    parts = page.split("WORD")
    page = parts[0] + "".join(f" word{next(number):03} {part}" for part in parts[1:])
    document = html_document((page + " end").encode())
    words = [f"word{i:03}" for i in range(len(parts) - 1)]
    assert document.cell.split() == [*words, "end"]
    for word in words:
        assert document.line(document.cell.find(word)) == page.count("\n", 0, page.find(word)) + 1


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<title>A &amp; B</title><p>one<p>two<br>three", "A & B\n\none\n\ntwo\nthree"),
        ("<p>un<b>believ</b>able &lt;tag&gt; 3 < 4", "unbelievable <tag> 3 < 4"),
        ("<pre>def f():\n    return  1\n</pre>after", "def f():\n    return  1\n\nafter"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c", "a b\nc"),
        ("a<script>if (1 < 2) { '</p>' }</script>b<style>p {}</style>c<template><p>no</p></template>d", "abcd"),
        ("<![if !IE]>seen<![endif]><![CDATA[not seen]]><!DOCTYPE html><?php not ?>end", "seenend"),
        ("<noscript>shown</noscript> <textarea> kept  as it is </textarea>", "shown\n\n kept  as it is "),
        ("<p hidden>kept</p><a href='x'>link</a></template></pre>.", "kept\n\nlink\n\n."),
        ("nul \0 and &#xD800; and &#0;", "nul \ufffd and \ufffd and \ufffd"),
    ],
)
def test_what_is_shown(page: str, text: str) -> None:
    assert html_document(page.encode()).cell == text


def test_deep_nesting_costs_nothing() -> None:
    page = "<div><b>" * 200_000 + "deep" + "</b></div>" * 200_000
    assert html_document(page.encode()).cell == "deep"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<meta charset=windows-1252>Stra\xdfe \u20ac".encode("cp1252"), "Stra\xdfe \u20ac"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">Stra\xdfe \x80', "Stra\xdfe \u20ac"),
        ("<meta charset='shift_jis'>\u65e5\u672c".encode("shift_jis"), "\u65e5\u672c"),
        ("<p>\u65e5\u672c".encode("utf-16"), "\u65e5\u672c"),
        ("\ufeff<p>\u65e5".encode(), "\u65e5"),
        (b"<meta charset=utf-16>plain", "plain"),
    ],
)
def test_the_encoding_is_the_one_that_the_page_names(data: bytes, text: str) -> None:
    assert html_document(data).cell.lstrip("\ufeff") == text


def test_other_encodings_are_named() -> None:
    with pytest.raises(BadDocumentError, match=r"line 2 is not utf-8 text \(byte 0xdf\); save it as UTF-8"):
        html_document(b"<p>\nStra\xdfe")
    with pytest.raises(BadDocumentError, match="encoding 'rot13x', which is not known"):
        html_document(b"<meta charset=rot13x>")
    with pytest.raises(BadDocumentError):
        html_document(b"<meta charset=zlib>")  # a codec of Python's that is none of text
