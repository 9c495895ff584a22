"""Put the space to work. The room is its main function, too: `nearfar.search(model, corpus, "words", k=10)`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """Importing `nearfar.search.exact` puts this module in the place of the name `nearfar.search`: so it is called."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Search a corpus: see `nearfar.search.exact.search`."""
        from nearfar.search.exact import search

        return search(*args, **named)


sys.modules[__name__].__class__ = _Room
