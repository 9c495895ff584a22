"""Ids of rows in addresses: any text, also one that holds a slash or ends with a line."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor

MOST_ID = 2000  # characters
ROW_ID = "{name:row_id}"  # of a route's path


class RowId(Convertor[str]):
    """Any text in an address. The one of starlette passes over a line's end at the end, and so means another row."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return it as it is."""
        return value


register_url_convertor("row_id", RowId())
