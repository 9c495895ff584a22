"""An index as a retriever of LangChain: `langchain_core.retrievers.BaseRetriever`, for chains and tools."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from nearfar.adapters.search_settings import checked, search
from nearfar.errors import InputError
from nearfar.index.hybrid import Hit
from nearfar.index.index import Index


def retriever(index: Index, **settings: Any) -> Any:
    """Return a retriever of LangChain over an index: `invoke`, `ainvoke`, `batch` and what else a Runnable can.

    A document has the row's id, its text ("" where it has none), and for metadata its fields, "_score", and "_explain"
    where it was asked for; no field begins with _.

    Args:
        index: an open one, with its model; whoever opened it closes it.
        settings: of each search: k, where, mode, fusion, rerank, depth, explain, as of `Index.search`. A call may
            change them: `invoke("words", k=3, where="year >= 2020")`.

    Errors: `InputError` for another setting, or where langchain-core is not installed (the extra `langchain`); a call
    raises those of `Index.search`.

    Example: `chain = langchain.retriever(index, k=5, where="lang = 'de'") | prompt | model`

    When not to use it: outside of LangChain; `Index.search` itself returns the same hits.
    """
    return _kind()(index=index, settings=checked(settings))


@cache
def _kind() -> Any:
    """Return the class, which is made when LangChain is first needed."""
    try:
        from langchain_core.documents import Document
        from langchain_core.retrievers import BaseRetriever
    except ImportError as error:
        raise InputError("LangChain's retriever needs langchain-core: pip install 'nearfar[langchain]'") from error

    def document(hit: Hit) -> Any:
        own = {"_score": hit.score} | ({} if hit.explain is None else {"_explain": hit.explain})
        return Document(page_content=hit.text or "", id=hit.id, metadata={**hit.fields, **own})

    class LangChainRetriever(BaseRetriever):  # type: ignore[misc]  # it is Any where LangChain is not installed
        """Rows of an index as documents."""

        index: Any
        settings: dict[str, Any]

        def _get_relevant_documents(self, query: str, *, run_manager: Any, **changed: Any) -> list[Any]:  # noqa: ARG002
            return [document(hit) for hit in search(self.index, query, self.settings, changed)]

        async def _aget_relevant_documents(self, query: str, *, run_manager: Any, **changed: Any) -> list[Any]:  # noqa: ARG002
            hits = await asyncio.to_thread(search, self.index, query, self.settings, changed)
            return [document(hit) for hit in hits]

    return LangChainRetriever
