"""The retrievers of LangChain and LlamaIndex over an index, with the real packages."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.adapters import langchain, llama_index
from nearfar.errors import InputError
from nearfar.index.index import Index
from tests.index.word_model import WordModel

TEXTS = {"fox": "a red fox runs", "goose": "a grey goose flies", "hen": "a red hen sits", "pig": "the pig eats"}
LEGS = {"fox": 4, "goose": 2, "hen": 2, "pig": 4}
# Both libraries warn of their own future in their own modules.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", WordModel()) as index:
        index.add([{"id": name, "text": text, "legs": LEGS[name], "score": 0.5} for name, text in TEXTS.items()])
        index.add([{"id": "photo", "image": np.zeros((2, 2, 3), np.uint8)}])
        yield index


def by_length(queries: list[str], texts: list[str]) -> Any:
    return [float(len(text)) for text in texts]


def test_langchain_finds_what_the_index_finds(index: Index) -> None:
    pytest.importorskip("langchain_core", reason="the extra langchain is not installed")
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableLambda

    found = langchain.retriever(index, k=3)
    assert isinstance(found, BaseRetriever)
    documents, hits = found.invoke("red hen"), index.search("red hen", k=3)
    assert all(type(each) is Document for each in documents)
    assert [(each.id, each.page_content) for each in documents] == [(hit.id, hit.text) for hit in hits]
    assert [each.metadata for each in documents] == [{**hit.fields, "_score": hit.score} for hit in hits]
    assert documents[0].metadata["legs"] == 2
    assert documents[0].metadata["score"] == 0.5  # a field of this name stays what it is
    assert asyncio.run(found.ainvoke("red hen")) == documents
    assert found.batch(["red hen", "grey goose"]) == [documents, found.invoke("grey goose")]
    assert asyncio.run(found.abatch(["red hen", "grey goose"])) == found.batch(["red hen", "grey goose"])
    chain = found | RunnableLambda(lambda documents: [each.id for each in documents])
    assert chain.invoke("red hen") == [hit.id for hit in hits]


def test_langchain_has_filters_and_settings_that_a_call_may_change(index: Index) -> None:
    pytest.importorskip("langchain_core", reason="the extra langchain is not installed")
    found = langchain.retriever(index, k=9, where="legs = 4", mode="vectors")
    assert {each.id for each in found.invoke("red hen")} == {"fox", "pig"}
    assert {each.id for each in found.invoke("red hen", where="legs = 2")} == {"hen", "goose"}
    assert [each.id for each in asyncio.run(found.ainvoke("red hen", k=1, where=None))] == ["hen"]
    assert found.invoke("the pig", where="legs is missing")[0].page_content == ""
    assert found.invoke("the pig", explain=True)[0].metadata["_explain"]["vectors"]["rank"] == 1
    assert found.invoke("red", rerank=by_length, depth=5)[0].id == "fox"
    with pytest.raises(InputError, match=r"no setting 'wheer' of a search; did you mean 'where'"):
        langchain.retriever(index, wheer="legs = 2")
    with pytest.raises(InputError, match="no setting 'top_k'"):
        found.invoke("red hen", top_k=3)
    with pytest.raises(InputError, match="the query is empty"):
        found.invoke(" ")


def test_llama_index_finds_what_the_index_finds(index: Index) -> None:
    pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle

    found = llama_index.retriever(index, k=3)
    assert isinstance(found, BaseRetriever)
    nodes, hits = found.retrieve("red hen"), index.search("red hen", k=3)
    assert all(type(each) is NodeWithScore for each in nodes)
    assert [(each.node_id, each.text, each.score) for each in nodes] == [(hit.id, hit.text, hit.score) for hit in hits]
    assert [each.metadata for each in nodes] == [hit.fields for hit in hits]
    assert [each.node_id for each in found.retrieve(QueryBundle("red hen"))] == [hit.id for hit in hits]
    assert asyncio.run(found.aretrieve("red hen")) == nodes


def test_llama_index_has_filters_and_settings(index: Index) -> None:
    pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")
    few = llama_index.retriever(index, k=9, where="legs = 4", mode="vectors", explain=True)
    assert {each.node_id for each in few.retrieve("red hen")} == {"fox", "pig"}
    assert few.retrieve("red hen")[0].metadata["_explain"]["vectors"]["rank"] == 1
    photo = llama_index.retriever(index, where="legs is missing").retrieve("the pig")
    assert [(each.node_id, each.text) for each in photo] == [("photo", "")]
    assert llama_index.retriever(index, where="legs > 0", rerank=by_length).retrieve("red")[0].node_id == "goose"
    with pytest.raises(InputError, match="no setting 'similarity_top_k'"):
        llama_index.retriever(index, similarity_top_k=3)


@pytest.mark.parametrize(("module", "package"), [(langchain, "langchain_core"), (llama_index, "llama_index")])
def test_a_missing_package_is_named_with_its_extra(
    index: Index, module: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *more)

    module._kind.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'nearfar\[(langchain|llama-index)\]'"):
        module.retriever(index)
    monkeypatch.undo()
