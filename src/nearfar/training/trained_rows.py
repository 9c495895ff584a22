"""Which examples a run trains on: all but those kept back, to choose weights by or for the kNN while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nearfar.column import Aliases
from nearfar.contracts import Encoder, Positives
from nearfar.training.online_knn import KnnRows
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.validation_rows import Kept, kept_back


@dataclass(frozen=True)
class TrainedRows:
    """What is kept back, and the sampler that draws from all the rest.

    kept: of the validation, None without one. knn: of the kNN while training; None without one, and `no_knn` says why.
    """

    kept: Kept | None
    knn: KnnRows | None
    no_knn: str | None
    sampler: Sampler

    @classmethod
    def of(cls, positives: Positives, encoder: Encoder, settings: Settings, aliases: Aliases) -> Self:
        """Return the rows of a run."""
        kept = kept_back(positives, settings, aliases)
        rest = None if kept is None else kept.train
        knn, no_knn = KnnRows.of(positives, encoder, settings, rest)
        return cls(kept, knn, no_knn, Sampler.of(positives, settings, rest if knn is None else knn.train))
