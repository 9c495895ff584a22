"""A report says which system cannot read the language of its task, and has no floor twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.evaluation.baselines import floor
from nearfar.evaluation.languages import ENGLISH, language_facts
from nearfar.tasks import Retrieval
from tests.evaluation.models import Words
from tests.text.test_language import CODE, TEXTS


def task(queries: str, documents: str) -> Retrieval:
    texts = TEXTS | {"code": CODE}
    sides = [list(dict.fromkeys(texts[name])) for name in (queries, documents)]
    n, m = map(len, sides)
    ids = [str(i) for i in range(max(n, m))]
    relevance = {i: {min(i, m - 1): 1} for i in range(n)}
    columns = [ListColumn(name, side) for name, side in zip(("query", "document"), sides)]
    return Retrieval("sample", columns[0], columns[1], ids[:n], ids[:m], relevance, np.arange(n))


class Knows(Static):
    """A static encoder that tells what it can read."""

    def __init__(self, made_for: tuple[str, ...], english: tuple[float, float], others: tuple[float, float]) -> None:
        super().__init__(dim=8, vocabulary=300)
        self.made_for, self.english, self.others = made_for, english, others
        self.prepare([ListColumn("text", [text for texts in TEXTS.values() for text in texts])])

    def unread_and_fertility(self, texts: Sequence[str]) -> tuple[float, float]:
        return self.english if list(texts) == list(ENGLISH) else self.others


@pytest.mark.parametrize(
    ("made_for", "others", "expected"),
    [
        (("english",), (0, 1), "the pretrained model was made for English, as its folder says; the queries are German"),
        (("english", "xx"), (0, 1), "the pretrained model was made for English and Xx, as its folder says; .*German"),
        (("english", "german"), (1, 9), None),
        (("multilingual",), (1, 9), None),
        ((), (0.2, 1.3), "its tokenizer cannot read 20% of the letters of the queries, which are German"),
        ((), (0.1, 2.0), r"may not read German: its tokenizer cuts a word of the queries into 2\.0 tokens, of .* 1\.3"),
        ((), (0.1, 1.8), None),  # 1.3 of English, so 1.8 is not 1.45 times as many
    ],
)
def test_a_model_that_cannot_read(made_for: tuple[str, ...], others: tuple[float, float], expected: str | None) -> None:
    model = nf.Model(Knows(made_for, (0, 1.3), others))
    protocol = nf.evaluate(model, task("german", "german"), resamples=10).protocol
    assert protocol["languages"] == {"queries": "German", "documents": "German"}
    found = protocol.get("cannot read", {}).get("model")
    assert (found is None) if expected is None else re.fullmatch(expected, found)


def test_words_are_not_matched_across_languages() -> None:
    protocol = nf.evaluate(Words(), task("german", "english"), resamples=10).protocol
    why = "queries are German, documents English: words are not the same across languages"
    assert protocol["cannot read"] == {"bm25": why, "bm25-stems": why}
    assert protocol["baselines"]["bm25-stems"]["words"] == "English stems, 153 stop words"
    for queries, documents in (("german", "german"), ("english", "code")):
        assert "cannot read" not in language_facts(
            task(queries, documents), {name: floor(name) for name in ("bm25", "bm25-stems")}
        )


def test_the_stems_are_those_of_the_language() -> None:
    for queries, documents, words in (
        ("german", "german", "German stems, 231 stop words"),
        ("english", "code", "English stems, 153 stop words"),  # of the queries
    ):
        report = nf.evaluate(Words(), task(queries, documents), resamples=10)
        assert list(report.baseline) == ["bm25", "bm25-stems"]
        assert list(report.fusion) == ["bm25"]
        assert report.protocol["baselines"]["bm25-stems"]["words"] == words


def test_a_floor_without_stems_is_no_second_column() -> None:
    for language, why in (("thai", "there are none for Thai"), ("code", "the language is not recognised")):
        report = nf.evaluate(Words(), task(language, language), resamples=10)
        assert list(report.baseline) == ["bm25"]
        assert report.protocol["floors without a result"] == {"bm25-stems": f"the same as bm25 (no stems: {why})"}
        named = nf.evaluate(Words(), task(language, language), baselines=["bm25", "bm25-stems"], resamples=10)
        assert named.baseline["bm25-stems"] == named.baseline["bm25"]
        assert list(named.fusion) == ["bm25", "bm25-stems"]
        assert named.protocol["baselines"]["bm25-stems"]["why"] == f"no stems: {why}"


def test_an_old_name_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no baseline is called 'bm25-english'; did you mean 'bm25-stems'\?"):
        nf.evaluate(Words(), task("german", "german"), baselines="bm25-english")
