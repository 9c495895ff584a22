"""An index as a retriever of LlamaIndex: `llama_index.core.retrievers.BaseRetriever`, for its query engines."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from nearfar.adapters.search_settings import checked, search
from nearfar.errors import InputError
from nearfar.index.hybrid import Hit
from nearfar.index.index import Index


def retriever(index: Index, **settings: Any) -> Any:
    """Return a retriever of LlamaIndex over an index: `retrieve` and `aretrieve` return `NodeWithScore`, best first.

    A node has the row's id, its text ("" where it has none), and its fields for metadata.

    Args:
        index: an open one, with its model; whoever opened it closes it.
        settings: of each search: k, where, mode, fusion, rerank, depth, explain, as of `Index.search`; what explains a
            hit is the node's metadata "_explain".

    Errors: `InputError` for another setting, or where llama-index-core is not installed (the extra `llama-index`); a
    call raises those of `Index.search`.

    Example: `engine = RetrieverQueryEngine.from_args(llama_index.retriever(index, k=5))`

    When not to use it: outside of LlamaIndex; `Index.search` itself returns the same hits.
    """
    return _kind()(index, checked(settings))


@cache
def _kind() -> Any:
    """Return the class, which is made when LlamaIndex is first needed: its import takes seconds."""
    try:
        from llama_index.core.retrievers import BaseRetriever
        from llama_index.core.schema import NodeWithScore, TextNode
    except ImportError as error:
        raise InputError("LlamaIndex's retriever needs llama-index-core: pip install 'nearfar[llama-index]'") from error

    def node(hit: Hit) -> Any:
        own = {} if hit.explain is None else {"_explain": hit.explain}
        return NodeWithScore(
            node=TextNode(id_=hit.id, text=hit.text or "", metadata={**hit.fields, **own}), score=hit.score
        )

    class LlamaIndexRetriever(BaseRetriever):  # type: ignore[misc]  # it is Any where LlamaIndex is not installed
        """Rows of an index as nodes."""

        def __init__(self, index: Index, settings: dict[str, Any]) -> None:
            super().__init__()
            self._index, self._settings = index, settings

        def _retrieve(self, query_bundle: Any) -> list[Any]:
            return [node(hit) for hit in search(self._index, query_bundle.query_str, self._settings, {})]

        async def _aretrieve(self, query_bundle: Any) -> list[Any]:
            hits = await asyncio.to_thread(search, self._index, query_bundle.query_str, self._settings, {})
            return [node(hit) for hit in hits]

    return LlamaIndexRetriever
