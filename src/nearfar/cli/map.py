"""nearfar map: a page on which a corpus is looked at, near rows near each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._search_index import is_index
from nearfar.cli._table_settings import Delimiter, TableOverrides, reading
from nearfar.errors import InputError
from nearfar.figures import counted
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.evaluation.sources import Reading
    from nearfar.reports.map import MapQuery, MapRows
    from nearfar.vectors.corpus_map import CorpusMap

_VALUES = 8  # that are shown
Found = tuple["CorpusMap", "MapRows", "MapQuery | None", dict[str, Any]]


def command(
    what: Annotated[str, typer.Argument(metavar="INDEX|MODEL", help="An index; or a model's folder, and then data.")],
    data: Annotated[
        str | None, typer.Argument(help="A table, a .txt file, a folder of pictures, a BEIR folder: as of search.")
    ] = None,
    overrides: TableOverrides = None,
    out: Annotated[Path, typer.Option(help="The page, a .html file.")] = Path("map.html"),
    by: Annotated[str | None, typer.Option(help="A field or column: its values are the colours.")] = None,
    query: Annotated[str | None, typer.Option(help="Words: where they lie, and what is nearest to them.")] = None,
    method: Annotated[
        str, typer.Option(help="pca (two principal axes), or umap (pip install 'nearfar[umap]').")
    ] = "pca",
    most: Annotated[
        int | None,
        typer.Option(help="Rows that the page shows, at most; others are drawn by chance.  [default: 50000]"),
    ] = None,
    its_model: Annotated[str | None, typer.Option("--model", help="Of an index: where its model is now.")] = None,
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; train, where there is one.")] = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
) -> None:
    """Draw a corpus as a map: a page with a point for each row.

    Two axes cannot hold a space of hundreds: the page and this command say which share of each row's 10 nearest
    neighbours in the space are among its 10 nearest on the map. The map of an index is kept beside its rows, and
    is made anew where these have changed.
    """
    from nearfar.reports.map import MOST
    from nearfar.vectors.corpus_map import refuse_method

    refuse_method(method)
    if most is not None and most < 1:
        raise InputError(f"--most {most}: show at least one row")
    if query is not None and not query.strip():
        raise InputError("--query: the query is empty; say in words what to look for")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{out}: the map is a page; write to a name that ends in .html")
    limit = MOST if most is None else most
    if is_index(what):
        of_data = {f"{data!r}": data, "--column": column, "--split": split, "--delimiter": delimiter}
        if given := [name for name, value in of_data.items() if value]:
            raise InputError(f"{what}: is an index; leave out {', '.join(given)}")
        reserve(out)
        found, shown, asked, more = _of_index(what, its_model, query, by, method, limit)
    else:
        if data is None or its_model is not None:
            missing = "give the data, too" if data is None else "leave out --model"
            raise InputError(f"{what}: is no index (it has no index.json); {missing}, see nearfar map --help")
        refuse_model(what)
        read = reading(overrides, delimiter=delimiter, pairs=False)
        refuse_data(data, delimited="delimiter" in read.data)
        reserve(out)
        found, shown, asked, more = _of_data(what, data, read, (column, split), query, by, method, limit)
    _write(out, Path(data or what).name, found, shown, asked, more, as_json)


def _of_index(what: str, model: str | None, query: str | None, by: str | None, method: str, most: int) -> Found:
    """Return the map of an index, the rows that are shown, the query, and further facts."""
    from nearfar.index.folder import IndexFolder
    from nearfar.index.index import Index
    from nearfar.reports.map import rows_shown
    from nearfar.storage.places import expanded
    from nearfar.uses import map as maps

    folder = expanded(what)
    given = (model or IndexFolder(folder).contents().searched.model) if query is not None else None
    if given is not None:
        refuse_model(given)
    with Index.open(folder, given) as index:
        maps.refuse_field(index, by)
        found, kept = maps.map_of_index(index, method)
        asked = None if query is None else maps.query_of_index(index, found, query)
        rows = rows_shown(len(found.ids), asked, most)
        facts = {"kept_in": None if kept is None else str(kept), "fingerprint": index.description.fingerprint}
        return found, maps.rows_of_index(index, found, rows, by), asked, facts


def _of_data(
    model: str, data: str, read: Reading, part: tuple[str | None, str | None], query: str | None, by: str | None,
    method: str, most: int,
) -> Found:  # fmt: skip
    """Return the map of data that a model embeds, as `_of_index` does. part: the column of texts, and the split."""
    from nearfar.evaluation import sources
    from nearfar.model import Model
    from nearfar.reports.map import rows_shown
    from nearfar.uses import map as maps

    ids, cells = sources.texts(data, part[0], read, split=part[1])
    values = None if by is None else sources.values(data, by, read, split=part[1])
    loaded = Model.load(model)
    found, vectors, given = maps.map_of_cells(loaded, cells, ids, method)
    asked = None if query is None else maps.query_of_cells(loaded, found, vectors, query)
    rows = rows_shown(len(found.ids), asked, most)
    facts = {"kept_in": None, "fingerprint": loaded.fingerprint, "empty": len(ids) - len(found.ids)}
    return found, maps.rows_of_cells(cells, given, rows, by, values, ids), asked, facts


def _write(
    out: Path, title: str, found: CorpusMap, shown: MapRows, asked: MapQuery | None, more: dict[str, Any], as_json: bool
) -> None:
    from nearfar.reports.map import page, value_name
    from nearfar.storage.folders import write_text

    write_text(out, page(found, shown, title, asked))
    kept = found.kept
    facts: dict[str, Any] = {"out": str(out), "rows": len(found.ids), "shown": len(shown.rows), "method": found.method}
    facts |= {"shares": None if found.axes is None else found.axes.shares.tolist()}
    facts |= {
        "neighbours_kept": {"share": kept.share, "by_chance": kept.chance, "of": kept.neighbours, "rows": kept.sample}
    }
    names = [] if shown.values is None else [value_name(value) for value in shown.values]
    facts |= {"by": shown.by, "values": dict(Counter(names).most_common())} | more
    if asked is not None:
        hits = zip(asked.rows.tolist(), asked.scores.tolist())
        facts["query"] = {"text": asked.text, "place": asked.place.tolist()}
        facts["query"]["nearest"] = [{"id": found.ids[row], "score": score} for row, score in hits]
    emit(facts, as_json, lambda: _show(facts))


def _show(facts: dict[str, Any]) -> None:
    kept, shown = facts["neighbours_kept"], facts["shown"]
    drawn = "" if shown == facts["rows"] else f", {shown:,} of them on the page"
    show(f"{counted(facts['rows'], 'rows')} in {facts['out']}{drawn}")
    show(f"  of each row's {kept['of']} nearest neighbours the map keeps {_percent(kept['share'])} "
         f"(by chance {_percent(kept['by_chance'])})")  # fmt: skip
    if facts["shares"] is not None:
        show(f"  the two axes hold {_percent(sum(facts['shares']))} of the variance")
    if facts.get("empty"):
        show(f"  {counted(facts['empty'], 'rows')} without a text left out")
    if facts["kept_in"] is not None:
        show(f"  kept in {facts['kept_in']}")
    values = facts["values"]
    if values:
        show(f"  by {facts['by']}: " + ", ".join(f"{name} {count:,}" for name, count in list(values.items())[:_VALUES])
             + (f" and {len(values) - _VALUES:,} more" if len(values) > _VALUES else ""))  # fmt: skip
    for hit in facts.get("query", {}).get("nearest", []):
        show(f"  {hit['score']:.3f}  {hit['id']}")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
