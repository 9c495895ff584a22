"""nearfar serve: a model or an index over HTTP."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_model, reserve
from nearfar.cli._search_index import is_index
from nearfar.cli.doctor import EXTRAS
from nearfar.errors import InputError, NearfarError
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.serving.review_queue import ReviewQueue
    from nearfar.serving.service import Service


def command(
    served: Annotated[str, typer.Argument(metavar="INDEX_OR_MODEL", help="An index's folder, or a model's.")],
    host: Annotated[str, typer.Option(help="Where to listen; any but this machine needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one, and says which.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="A file with the SHA-256 of a key a line; or NEARFAR_KEYS, with commas.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of an index: where its model is now.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name over HTTP; by default its folder's.")] = None,
    reranker: Annotated[Path | None, typer.Option(help="A cross-encoder's folder, for reranking.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse to add or remove rows.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Without keys: a further name that the server is called by. Repeatable.")
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens that are computed at a time, at most.")] = 4096,
    queue: Annotated[int, typer.Option(min=1, help="Texts that wait; more are refused with 429.")] = 4096,
    body_mb: Annotated[int, typer.Option(min=1, help="Megabytes of a request, at most.")] = 32,
    review: Annotated[Path | None, typer.Option(help="Pairs to decide on, of mine or audit --review.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Of --review: where decisions go; by default FILE.decisions.jsonl.")
    ] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16: faster on some machines.")] = False,
    as_json: Json = False,
) -> int:
    """Serve a model or an index over HTTP.

    The interfaces of OpenAI (/v1/embeddings), Cohere (/v2/rerank) and TEI (/embed), and /search and /documents of an
    index, which has a page to search it with; /docs describes them. With --review people decide on pairs at
    /review. SIGTERM and Ctrl-C let it answer what it has. Documentation: docs/serve.md.
    """
    _refuse_missing_packages()
    _refuse_place(served, model)
    from nearfar.serving.keys import VARIABLE, Keys
    from nearfar.serving.server import bound, is_local, serve

    to_review = _review_queue(review, decisions)
    known = Keys.read(keys, os.environ.get(VARIABLE))
    if not len(known) and not is_local(host):
        raise InputError(
            f"--host {host}: everybody who reaches this machine could ask; give keys by --keys FILE or {VARIABLE}, or "
            "listen at 127.0.0.1"
        )
    socket = bound(host, port)
    from nearfar.serving.app import create_app
    from nearfar.serving.service import ServerLimits, Service

    limits = ServerLimits(batch_tokens, queue, body_mb << 20)
    given: dict[str, Any] = {"model": model, "name": name, "reranker": reranker, "limits": limits}
    service = Service.open(served, **given, read_only=read_only, bf16=bf16)
    hosts = None if len(known) else ["localhost", "127.0.0.1", "::1", "[::1]", *(allow_host or [])]
    app = create_app(service, keys=known, hosts=hosts, **_review_routes(to_review))
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{socket.getsockname()[1]}"

    def started() -> None:
        facts = _facts(service, url, keys=len(known))
        if to_review is not None:
            facts["review"] = {"url": f"{url}/review", "items": len(to_review), "decisions": str(to_review.place)}
        emit(facts, as_json, lambda: show(*_lines(facts)))
        sys.stdout.flush()  # who waits for the line may read a pipe

    return serve(app, service, socket, started)


def _refuse_missing_packages() -> None:
    missing = [package for package in EXTRAS["serve"][0] if find_spec(package) is None]
    if missing:
        raise InputError(f"a server needs {', '.join(missing)}: pip install 'nearfar[serve]'")


def _review_queue(review: Path | None, decisions: Path | None) -> ReviewQueue | None:
    """Return what people decide on, and hold its file of decisions until the command ends."""
    if review is None:
        if decisions is not None:
            raise InputError(
                f"--decisions {decisions}: says where decisions go; say what to decide on: --review FILE.jsonl"
            )
        return None
    from nearfar.serving.review_queue import ReviewQueue

    queue = ReviewQueue.open(review, decisions)
    reserve(queue.place)
    return queue


def _review_routes(queue: ReviewQueue | None) -> dict[str, Any]:
    """Return the settings of the application that has the pages of a review."""
    if queue is None:
        return {}
    from nearfar.serving import review_routes

    return {"routers": [review_routes.router(queue)], "open_paths": review_routes.OPEN_PATHS}


def _refuse_place(served: str, model: str | None) -> None:
    """Refuse what is neither an index nor a model before torch is imported, which takes seconds."""
    if not is_index(served):
        if model is not None:
            raise InputError(f"{served}: is no index, so it has no other model; leave --model out")
        refuse_model(served)
        return
    from nearfar.index.folder import IndexFolder
    from nearfar.storage.places import expanded

    of_index = model or IndexFolder(expanded(served)).contents().searched.model
    if of_index is not None:
        try:
            refuse_model(of_index)
        except NearfarError as error:
            raise InputError(f"{error}; it embeds the queries of {served}: say where it is by --model") from error


def _facts(service: Service, url: str, *, keys: int) -> dict[str, Any]:
    """Return what is served, and where."""
    model, index = service.model, service.index
    return {
        "url": url,
        "model": None if model is None else model.name,
        "fingerprint": None if model is None else model.model.fingerprint,
        "dim": None if model is None else model.model.dim,
        "rows": None if index is None else index.count(),
        "reranker": None if service.reranker is None else service.reranker.name,
        "keys": keys,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    what = [] if facts["rows"] is None else [f"{facts['rows']:,} rows"]
    what += [] if facts["model"] is None else [f"model {facts['model']} of {facts['dim']} dimensions"]
    what += [] if facts["reranker"] is None else [f"reranker {facts['reranker']}"]
    keys = f"{facts['keys']} keys" if facts["keys"] else "no key needed"
    page = "" if facts["rows"] is None else "open it to search; "
    lines = [f"{facts['url']}: {', '.join(what)}; {keys}; {page}{facts['url']}/docs says what can be asked"]
    if (review := facts.get("review")) is not None:
        lines.append(f"{review['url']}: {review['items']:,} pairs to decide on, into {review['decisions']}")
    return lines
