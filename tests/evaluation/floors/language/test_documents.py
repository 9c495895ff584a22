"""The texts of a task as documents: with their ends, and of very many tokens a sample that is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.evaluation.floors.language import documents
from nearfar.evaluation.floors.language.documents import counted_texts, judged_texts, tokens_of
from nearfar.tasks import Language, LanguageTokens

END = 9


def tokens() -> LanguageTokens:
    """Two texts, 1 2 and 3 4 5, of which the first ends; three training texts, of which the last two end."""
    ids, train = np.array([1, 2, 3, 4, 5]), np.array([1, 1, 2, 3], np.int32)
    asked: dict[str, Any] = {"next_places": np.array([0, 1, 2, 3]), "next_ids": np.array([2, END, 4, 5]), "end": END}
    ends, special, none = np.array([False, True, True]), np.arange(10) == END, np.zeros(0, np.int64)
    texts = (ids, np.array([0, 2, 5]), train, np.array([0, 2, 3, 4]), special, none)
    return LanguageTokens(*texts, **asked, train_ends=ends)


def test_a_text_has_its_end_where_it_is_asked_for() -> None:
    texts, facts = counted_texts(tokens())
    assert [text.tolist() for text in texts] == [[1, 1], [2, END], [3, END]]
    assert facts == {"training texts": 3, "training tokens": 6}
    judged, places = judged_texts(tokens())
    assert [text.tolist() for text in judged] == [[1, 2, END], [3, 4, 5]]
    assert np.concatenate(judged)[places].tolist() == tokens().next_ids.tolist()


def test_of_very_many_tokens_some_texts_are_counted_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_COUNTED", 3)
    texts, facts = counted_texts(tokens())
    assert [text.tolist() for text in texts] == [[1, 1], [3, END]]
    assert facts["sample"] == "texts at even distances of 3, with 4 tokens in all"


def test_a_task_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="it has no tokens yet"):
        tokens_of(Language("none", ListColumn("text", ["a"]), ListColumn("text", ["a"]), np.arange(1)))
