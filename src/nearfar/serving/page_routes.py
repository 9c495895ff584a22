"""The page of a server: files of this package, which load nothing from elsewhere and need no key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from nearfar.serving.service import Service

# Nothing but this server's own files runs, is loaded or asked, and no other site may show a page inside its own.
# Pictures of rows are blobs: the page fetches them with its key, and shows what it got.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SHARED = ("map.js", "map_table.js", "map.css", "page.css")  # with the pages of reports
HEAD = "head.html"  # with which all pages begin
PLACE = "/page/"


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """Return the page's files by name, each with its type."""
    own, reports = files("nearfar.serving") / "page", files("nearfar.reports") / "templates"
    found = {each.name: each.read_bytes() for each in own.iterdir() if f".{each.name.rpartition('.')[2]}" in TYPES}
    found |= {name: (reports / name).read_bytes() for name in SHARED}
    head = found.pop(HEAD)
    found |= {name: head + rest for name, rest in found.items() if name.endswith(".html")}
    return {name: (data, TYPES[f".{name.rpartition('.')[2]}"]) for name, data in found.items()}


def page_paths() -> frozenset[str]:
    """Return the paths that need no key: the page asks for one itself."""
    return frozenset({"/", "/docs", *_file_places()})


def router(service: Service) -> APIRouter:
    """Return the routes: the page of an index at `/`, the description of the interface at `/docs`, and their files."""
    routes = APIRouter(include_in_schema=False)
    for path, name in _places(service):
        routes.add_api_route(path, file_answer(name), methods=["GET"], name=name)
    return routes


def _places(service: Service) -> Iterator[tuple[str, str]]:
    """Yield paths with the files that are there."""
    yield "/", "docs.html" if service.index is None else "index.html"
    yield "/docs", "docs.html"
    yield from _file_places().items()


def _file_places() -> dict[str, str]:
    """Return the paths of what pages load, and the files."""
    return {PLACE + name: name for name in page_files() if not name.endswith(".html")}


def file_answer(name: str) -> Callable[[], Awaitable[Response]]:
    """Return what answers with a file of the page."""
    data, kind = page_files()[name]

    async def answer() -> Response:
        return Response(data, headers=HEADERS, media_type=kind)

    return answer
