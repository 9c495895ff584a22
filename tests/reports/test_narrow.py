"""Pages on a phone: nothing is wider than the window, whatever the names, texts and settings are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearfar.audit.audit import audit
from nearfar.data.table import Table
from nearfar.mining.suspects import Review, Suspect
from nearfar.reports import audit as audit_page
from nearfar.reports import review as review_page
from nearfar.reports import run as run_page
from tests.reports import test_comparison, test_map
from tests.reports.runs import rows, values, write_run
from tests.reports.test_run import monitors, results, steps
from tests.serving.browser import Tab, tab

NAME = "a_name_without_a_space/" * 9
TEXT = f"{NAME} is a text.\nIts second line is {'long ' * 60}"


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("phone")) as opened:
        opened.size(390, 844)
        yield opened


def of_a_run(_: Path) -> str:
    given = results()
    given["protocol"] |= {NAME: 7, "bootstrap": {"unit": NAME, "of": {"each": {NAME: 7, "kept": [1, {"three": NAME}]}}}}
    given["worst"] = [
        {
            **given["worst"][0],
            "query": TEXT,
            "expected": [TEXT],
            "found": [{"text": TEXT, "score": 0.7, "relevant": right} for right in (False, True)],
            "baseline": {NAME: 3},
        }
    ]
    given["baseline"] |= {NAME: {"mrr@10": 0.4}}
    given |= {"recipe": f"data: {{name: {NAME}}}", "run": f"runs/{NAME}", "model": f"runs/{NAME}/model"}
    given |= {"use": [{"title": NAME, "lines": [NAME]}], "warnings": [TEXT]}
    return run_page.page({**given, "unseen": results()}, [*steps(30), *monitors(9)])


def of_a_comparison(folder: Path) -> str:
    names = [folder / "first", folder / "a_name_without_a_space_of_a_run_that_was_long_tried"]
    for i, name in enumerate(names):
        write_run(name, rows(values({i: 0.0, 5: 1.0}), text=TEXT), recipe=f"loss: {{name: {'other' * i}{NAME}}}\n")
    return test_comparison.html(names)


def of_an_audit(_: Path) -> str:
    found = audit(Table([{"query": f"{TEXT} {i % 9}", "key": f"{NAME} key {i % 9}"} for i in range(70)]))
    return audit_page.page(found.to_json() | {"model": NAME, "page": NAME})


def of_a_review(_: Path) -> str:
    suspects = [Suspect(TEXT, TEXT, TEXT, {NAME: (0.4, 0.5)}, "above")]
    return review_page.page(Review(suspects, 1, 20), model=NAME, data=NAME, out=f"{NAME}.html")


def of_a_map(_: Path) -> str:
    return test_map.hostile()


@pytest.mark.parametrize("made", [of_a_run, of_a_comparison, of_an_audit, of_a_review, of_a_map])
def test_no_page_scrolls_sideways(phone: Tab, made: object, tmp_path: Path) -> None:
    assert callable(made)
    (tmp_path / "page.html").write_text(made(tmp_path), encoding="utf-8")
    phone.go((tmp_path / "page.html").as_uri())
    phone.wait("document.readyState === 'complete' && document.querySelector('main') !== null")
    for fold in (False, True):  # and with everything opened
        phone.evaluate(f"document.querySelectorAll('details').forEach(one => one.open = {str(fold).lower()})")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
