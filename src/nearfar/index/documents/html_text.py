"""The text of an HTML page: all that is visible, without the tags, and the line of the page that each part stands in.

The parser is the standard library's. It builds no tree, so that nesting costs nothing.
"""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser

from nearfar.index.documents.document import BadDocumentError, FileDocument, storable

SUFFIXES = (".html", ".htm", ".xhtml", ".xht")
_HIDDEN = {"script", "style", "template"}  # what stands in these is never shown
_AS_IT_IS = {"pre", "textarea", "listing", "xmp"}  # white space in these is shown
_PARAGRAPHS = {  # an empty line stands before and after these
    *("address", "article", "aside", "blockquote", "body", "dl", "details", "dialog", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "title"),
    *("ul", "fieldset", "textarea"),
}
_LINES = {  # these begin and end a line
    *("br", "caption", "center", "dd", "dir", "div", "dt", "figcaption", "head", "html", "legend", "li", "menu"),
    *("optgroup", "option", "search", "summary", "tbody", "tfoot", "thead", "tr"),
}
_CELLS = {"td", "th"}
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def html_document(data: bytes) -> FileDocument:
    """Return the visible text of a page.

    Runs of white space are one space, but for those in `pre`; a block begins a line, a paragraph, heading, list or
    table a new paragraph. The encoding is that of a byte-order mark or of the page's `meta charset`, else UTF-8.

    Errors: `BadDocumentError` for bytes that are not in that encoding, and for an encoding that is not known.
    """
    parser = _VisibleText()
    parser.feed(_decoded(data))
    parser.close()
    return FileDocument("".join(parser.parts), parser.starts, parser.lines)


def _decoded(data: bytes) -> str:
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    named = _CHARSET.search(data, 0, 4096)
    encoding = marked or (named[1].decode() if named else "utf-8")
    if encoding.lower() in ("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii"):
        encoding = "cp1252"  # which browsers read for these names
    if marked is None and encoding.lower().startswith("utf-16"):
        encoding = "utf-8"  # as its `meta` could be read, it is none
    try:
        return storable(data.decode(encoding))
    except LookupError:
        raise BadDocumentError(f"is in the encoding {encoding!r}, which is not known; save it as UTF-8") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wrong = f"line {line} is not {encoding} text (byte 0x{data[error.start]:02x})"
        raise BadDocumentError(f"{wrong}; save it as UTF-8, or name its encoding in <meta charset>") from None


class _VisibleText(HTMLParser):
    """Gathers the text outside of tags; `starts` and `lines` are those of `FileDocument`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.starts: list[int] = []
        self.lines: list[int] = []
        self._length = 0
        self._hidden = 0  # how many elements are open whose content is not shown
        self._exact = 0  # how many are open in which white space is shown
        self._gap = ""  # the white space before the next word

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line or a paragraph where the element does."""
        del attrs
        self._hidden += tag in _HIDDEN
        self._exact += tag in _AS_IT_IS
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        """End a line or a paragraph where the element does."""
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        self._exact -= tag in _AS_IT_IS and self._exact > 0
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        """Take a text, with its white space as browsers show it."""
        if self._hidden:
            return
        first = self.getpos()[0]
        for line, raw in enumerate(data.split("\n"), first):
            if line > first:
                self._widen("\n" if self._exact else " ")
            if self._exact:
                self._take(raw, line)
            elif shown := " ".join(raw.split()):
                self._widen(" " if raw[0].isspace() else "")
                self._take(shown, line)
                self._widen(" " if raw[-1].isspace() else "")
            elif raw:
                self._widen(" ")

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Take <![...] for a comment, as browsers do; the library raises an error for some."""
        del report
        found: int = self.parse_bogus_comment(i)
        return found

    def _separate(self, tag: str) -> None:
        if not self._hidden:
            self._widen("\n\n" if tag in _PARAGRAPHS else "\n" if tag in _LINES else " " if tag in _CELLS else "")

    def _widen(self, gap: str) -> None:
        """Put at least so much white space before the next word; lines of `pre` add up."""
        if self._exact and gap == "\n":
            self._gap = self._gap.replace(" ", "") + gap
        elif gap.count("\n") > self._gap.count("\n") or not self._gap:
            self._gap = gap

    def _take(self, text: str, line: int) -> None:
        if not text:
            return
        if self.parts:
            self.parts.append(self._gap)
            self._length += len(self._gap)
        self._gap = ""
        if not self.lines or self.lines[-1] != line:
            self.starts.append(self._length)
            self.lines.append(line)
        self.parts.append(text)
        self._length += len(text)
