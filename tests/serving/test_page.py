"""The page: its files run nothing and load nothing from elsewhere, need no key, and are all in the package."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nearfar.serving.keys import Keys
from nearfar.serving.page_routes import HEADERS, page_files, page_paths
from tests.serving.conftest import Make
from tests.serving.test_operating import KEYS, hashed

SCRIPTS = {name: data.decode() for name, (data, _) in page_files().items() if name.endswith(".js")}
UNSAFE = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|srcdoc"


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text within scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.code = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.code += data.strip()


@pytest.mark.parametrize("path", sorted(page_paths()))
def test_every_page_and_file_has_the_policy(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.split(";")[0] == "default-src 'self'"
    assert "unsafe" not in policy and "http" not in policy
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.content == page_files()[{"/": "index.html", "/docs": "docs.html"}.get(path, path[6:])][0]


@pytest.mark.parametrize("name", ["index.html", "docs.html", "review.html"])
def test_a_page_has_no_code_inline_and_names_files_that_are_there(name: str) -> None:
    found = Tags()
    found.feed(page_files()[name][0].decode())
    assert found.code == ""
    ids = [given["id"] for _, given in found.tags if "id" in given]
    assert len(ids) == len(set(ids))
    for tag, given in found.tags:
        assert not [attribute for attribute in given if attribute == "style" or attribute.startswith("on")], tag
        for address in (given.get("src"), given.get("href")):
            if address is not None and address not in (".", "docs", "openapi.json"):
                assert address.removeprefix("page/") in page_files(), address


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reads_no_text_as_html_and_imports_what_is_there(name: str) -> None:
    assert not re.search(UNSAFE, SCRIPTS[name])
    for address in re.findall(r'from "([^"]+)"', SCRIPTS[name]):
        assert address.removeprefix("./") in SCRIPTS


def test_nothing_is_named_that_lies_elsewhere() -> None:
    for name, (data, _) in page_files().items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", data.decode()))
        assert addresses <= {"http://www.w3.org"}, name  # the name of SVG, which nothing fetches


def test_the_page_is_there_without_a_key_and_what_it_asks_is_not(make: Make) -> None:
    client = make(with_index=True, app={"keys": Keys(map(hashed, KEYS))})
    for path in ("/", "/docs", "/page/main.js", "/page/map.js", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    for path in ("/index", "/index/texts", "/map", "/metrics"):
        assert client.get(path).status_code == 401, path
    for path in ("/search", "/facets", "/matches", "/map/place", "/index/check", "/map"):
        assert client.post(path, json={}).status_code == 401, path
    assert client.get("/index", headers={"Authorization": f"Bearer {KEYS[0]}"}).status_code == 200


def test_a_model_alone_has_the_description_of_its_interface(make: Make) -> None:
    client = make()
    assert client.get("/").content == client.get("/docs").content == page_files()["docs.html"][0]
    described: dict[str, Any] = client.get("/openapi.json").json()
    assert "/facets" not in described["paths"] and "/" not in described["paths"]


def test_no_file_lies_beside_the_package(client: TestClient) -> None:
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/index.html", "/page/", "/page/none.js"):
        assert client.get(path).status_code == 404, path
