"""The text of a PDF, page by page, as far as the file has a text layer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from nearfar.index.documents.document import BadDocumentError, FileDocument, storable

MOST_PAGES = 20_000
_SHOWN = 3  # damaged pages that are named


def pdf_pages(path: Path, note: Callable[[str], None]) -> Iterator[FileDocument]:
    """Yield the pages that have text. note: is told of those that have none, or cannot be read.

    Errors: `BadDocumentError` for a file that is no PDF, damaged or encrypted, has too many pages, or no text layer.
    """
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of each thing that it mends
    with path.open("rb") as stream:
        try:
            reader = PdfReader(stream)
            if reader.is_encrypted and not reader.decrypt(""):
                raise BadDocumentError("is encrypted with a password; save it without one")
            count = len(reader.pages)
        except BadDocumentError:
            raise
        except Exception as error:  # the bytes of a file can raise anything in a parser
            raise BadDocumentError(f"is no PDF, or damaged ({_said(error)}); export it again") from error
        if count > MOST_PAGES:
            raise BadDocumentError(f"has {count:,} pages, the most is {MOST_PAGES:,}; split it up")
        damaged: list[str] = []
        empty = 0
        for number in range(1, count + 1):
            try:
                text = storable(reader.pages[number - 1].extract_text())
            except MemoryError:
                raise
            except Exception as error:
                damaged.append(f"page {number} cannot be read ({_said(error)})")
                continue
            empty += not text.strip()
            if text.strip():
                yield FileDocument(text, page=number, share=number / count)
    more = [f"{len(damaged):,} pages cannot be read"] if len(damaged) > _SHOWN else []
    wrong = [*damaged[:_SHOWN], *more]
    if damaged and empty + len(damaged) == count:
        raise BadDocumentError("; ".join(wrong))
    if empty == count:
        raise BadDocumentError(f"no text layer ({count:,} pages of pictures); run a text recognition (OCR) over it")
    for line in wrong:
        note(line)
    if empty:
        note(f"no text layer on {empty:,} of {count:,} pages; run a text recognition (OCR) over it")


def _said(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
