"""Which examples are kept back from training to choose by: whole groups that share texts, drawn by their content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.abilities import Minable, batch_of
from nearfar.column import Aliases, Ids, content_ids
from nearfar.contracts import Positives
from nearfar.data.tables.clusters import row_groups
from nearfar.data.tables.split import Draw
from nearfar.training.settings import Settings

FEWEST = 20  # validation examples that can tell two models apart at all
FEWEST_GROUPS = 10  # of examples that share texts: those of one group tell the same
WANTED = 40  # where the share gives fewer; yet at most a quarter of the examples
MOST = 200  # more tell little more, and cost rows and time
NO_VALIDATION = (
    f"training.validation: fewer than {FEWEST} examples can be kept back, so nothing is "
    "chosen and the last weights ship; give more pairs that share no text"
)
CHUNK = 1024  # examples whose rows are read in one call


@dataclass(frozen=True)
class Kept:
    """The examples to train on and those to validate with, which training must not see; both ascending, none empty."""

    train: Ids
    validation: Ids


def kept_back(positives: Positives, settings: Settings, aliases: Aliases) -> Kept | None:
    """Return what is kept back, as the settings say (`validation_rows`); None where nothing is, or can be.

    aliases: the contents that the encoder reads alike (`text.alike`), which are one text here, too.
    """
    if not settings.validation:
        return None
    train, validation = validation_rows(positives, settings.validation, settings.seed, aliases)
    return Kept(train, validation) if len(validation) else None


def validation_rows(positives: Positives, share: float, seed: int, aliases: Aliases | None = None) -> tuple[Ids, Ids]:
    """Return the examples to train on and those to validate with, both ascending.

    Examples that share a text in any view are one group, also through a chain of others, and stay together. Groups are
    drawn by a hash of their content and `seed`, so the order of the rows does not matter; the largest, and those above
    a tenth of what is wanted, are for training. Wanted are `share` of the examples, at least 40 (but no more than a
    quarter) and at most 200; where fewer than 20 can be had, there are none.
    """
    n = len(positives)
    target = min(max(round(share * n), WANTED), n // 4, MOST)
    everything, none = np.arange(n), np.empty(0, np.int64)
    if target < FEWEST:
        return everything, none
    owners, ids = _contents(positives)
    ids = ids if aliases is None else aliases(ids)
    groups = row_groups([ids], [owners], n)
    salt = np.random.default_rng([seed, n]).integers(2**63)
    key = np.full(n, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(key, owners, (ids ^ salt).view(np.uint64))  # content ids are hashes already
    small = np.bincount(groups)[groups] <= max(1, target // FEWEST_GROUPS)  # else a few large ones would be all
    drawn = Draw(groups, key, small).rows(target, target)
    if drawn.sum() < FEWEST:
        return everything, none
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def without_validation(mined: Ids, positives: Minable, validation: Ids) -> Ids:
    """Return mined negatives (n, k) without the keys of validation examples, whose place is -1, as for none."""
    result, start = mined.copy(), 0
    for pairs in positives.mining_pairs():
        stop = start + len(pairs.examples)
        own = validation[(start <= validation) & (validation < stop)] - start
        ids, part = content_ids(pairs.key), result[start:stop]
        part[np.isin(ids[part], ids[pairs.examples[own, 1]]) & (part >= 0)] = -1
        start = stop
    return result


def _contents(positives: Positives) -> tuple[Ids, Ids]:
    """Return the content ids (t,) of all cells that examples read, and the example (t,) of each."""
    of_view = {view: content_ids(column) for view, column in positives.views.items()}
    owners, ids = [], []
    for start in range(0, len(positives), CHUNK):
        examples = np.arange(start, min(start + CHUNK, len(positives)))
        rows = batch_of(positives, examples, None).rows
        aligned = all(len(of_examples) == len(examples) for of_examples in rows.values())
        blocks = [examples] if aligned else examples.reshape(-1, 1)  # else only one example's rows are surely its own
        for block in blocks:
            for view, found in (rows if aligned else batch_of(positives, block, None).rows).items():
                owners.append(block if aligned else np.repeat(block, len(found)))
                ids.append(of_view[view][found])
    return np.concatenate(owners), np.concatenate(ids)
