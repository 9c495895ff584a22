"""Hard negatives mined anew while a model trains, from ranks that rise with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_ids
from nearfar.contracts import Minable, MinedNegatives, MiningPairs
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.search import embed_fresh, mine_pairs
from nearfar.model import Model


@dataclass(frozen=True)
class ScheduledMiner:
    """Hard negatives whose difficulty rises: what `fit` takes as `refresh=`, and a recipe's section `mining`.

    Of each query's nearest keys that are not known to be near it, those from rank `low` to before rank `high` may
    become negatives, and after a share p = step / steps of the run

        (low, high) = (1 - p) * window + p * (range_min, range_max), rounded.

    Early on the nearest wrong keys are noise of an untrained model, or positives that nobody has marked, and those from
    deeper down teach more safely; the last ranks, `range_min` to `range_max`, are what search will get wrong. Mining
    anew on the weights as they are is ANCE's (Xiong et al. 2020, arXiv:2007.00808), and taking negatives from a window
    of ranks is usual for it; the linear rise is a curriculum of ours, without a source. A window that reaches beyond
    the last key is moved up to end there.

    Args:
        negatives: most an example gets; what a batch holds already comes no second time.
        range_min, range_max: ranks at the end of the run, from 0.
        window: ranks at its beginning; None for the same all along.
        absolute_margin, relative_margin, min_score, max_score, sampling: see `Controls`.
        seed: of sampling, with the step.

    Errors: `InputError` for ranks that are none, or too few for so many negatives.

    Example: `nf.fit(encoder, faq, loss, out="runs/a", refresh=Rising(negatives=2), refresh_every=500)`

    When not to use it: without positives that answer queries; where most queries have positives that nobody has marked
    (look at `nearfar mine --review` first), unless margins keep those out.
    """

    negatives: int = 1
    range_min: int = 0
    range_max: int = 20
    window: tuple[int, int] | None = (50, 100)
    absolute_margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    sampling: Literal["top", "random", "spread"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        first = self.window
        _ = self.controls  # refuses what is wrong with the end of the run
        if first is not None and not 0 <= first[0] <= first[1] - self.negatives:
            raise InputError(
                f"mining.window: ranks {first[0]} to {first[1]} hold no {self.negatives} negatives; give two ranks "
                "from 0 on, the second larger by that at least"
            )

    @property
    def controls(self) -> Controls:
        """What is taken at the end of the run."""
        named = asdict(self)
        del named["window"]
        return Controls(**named)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a run to be resumed, nested under the recipe's names."""
        return {"mining": asdict(self)}

    def ranks(self, step: int, steps: int) -> tuple[int, int]:
        """Return the ranks (low, high) from which negatives are taken after a step."""
        first, share = self.window or (self.range_min, self.range_max), step / steps
        low, high = (
            round((1 - share) * start + share * end) for start, end in zip(first, (self.range_min, self.range_max))
        )
        return low, max(high, low + self.negatives)  # rounding may make it narrower by one

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        """Return each example's negatives, by the model as it is, after `step` of `steps`."""
        sides = positives.sides()
        near = np.concatenate([side.near for side in sides])  # what one data set knows holds for all
        neither = np.concatenate([side.neither for side in sides])
        ranks = self.ranks(step, steps)
        rows, lowest, scores = [], [], []
        for side in sides:
            controls = self._within(ranks, side, step)
            hard = mine_pairs(replace(side, near=near, neither=neither), partial(embed_fresh, model), controls)
            example, mined = hard.examples[0], hard.mined
            rows.append(np.where(mined.rows < 0, -1, hard.keys.row[mined.rows])[example])  # (n, k)
            lowest.append(mined.lowest[np.isfinite(mined.lowest)])
            scores.append(mined.scores[example][rows[-1] >= 0])
        facts = {
            "found": sum(len(part) for part in scores),
            "examples": sum(int((part >= 0).any(1).sum()) for part in rows),
            "lowest_positive": _mean(lowest),
            "negative": _mean(scores),
            "ranks": list(ranks),
        }
        return MinedNegatives(np.concatenate(rows), facts)

    def by_chance(self, positives: Minable) -> Ids:
        """Return as many negatives, of no meaning: (n, negatives), for a dry run."""
        draw = np.random.default_rng(self.seed)
        sides = positives.sides()
        drawn = [draw.integers(len(side.key), size=(len(side.examples), self.negatives)) for side in sides]
        return np.concatenate(drawn)

    def _within(self, ranks: tuple[int, int], side: MiningPairs, step: int) -> Controls:
        """Return the ranks, moved up where there are fewer keys."""
        low, high = ranks
        known = np.unique(side.near, axis=0)  # positives hold no rank
        own = int(np.unique(known[:, 0], return_counts=True)[1].max(initial=1))
        beyond = max(0, high - (len(np.unique(content_ids(side.key))) - own))
        low = max(0, low - beyond)
        return replace(
            self.controls,
            range_min=low,
            range_max=max(high - beyond, low + self.negatives),
            seed=int(np.random.default_rng([self.seed, step]).integers(2**31)),
        )


def _mean(parts: list[npt.NDArray[np.float32]]) -> float | None:
    scores = np.concatenate(parts)
    return float(scores.mean(dtype=np.float64)) if len(scores) else None
