"""Hard negatives that are mined while a model trains, from ranks that follow a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.abilities import Minable
from nearfar.column import Ids, content_ids
from nearfar.contracts import MinedNegatives, MiningPairs
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.search import embed_fresh, mine_pairs
from nearfar.model import Model


@dataclass(frozen=True)
class ScheduledMiner:
    """Mines hard negatives of rising difficulty: the argument `refresh` of `fit`, and a recipe's section `mining`.

    A query's nearest keys that are no known positives become candidates from rank `low` to before rank `high`. After a
    share p = step / steps of the run

        (low, high) = (1 - p) * window + p * (range_min, range_max), rounded.

    Early in a run the nearest negatives are noise of an untrained model, or positives that nobody labelled, and lower
    ranks teach more safely; the final ranks, `range_min` to `range_max`, are the errors of a search. Mining with the
    current weights is ANCE's (Xiong et al. 2020, arXiv:2007.00808), for which a window of ranks is usual; the linear
    schedule is ours, without a source. A window that reaches beyond the last key is shifted to end there.

    Args:
        negatives: negatives of an example, at most; a key that is in the batch already is not added again.
        range_min, range_max: ranks at the end of the run, from 0.
        window: ranks at the beginning of the run; None keeps the final ranks throughout.
        absolute_margin, relative_margin, min_score, max_score, sampling: see `Controls`.
        seed: of sampling, together with the step.

    Errors: `InputError` for invalid ranks, or ranks that hold fewer candidates than `negatives`.

    Example: `nf.fit(encoder, faq, loss, out="runs/a", refresh=ScheduledMiner(negatives=2), refresh_every=500)`

    When not to use it: without pairs of a query and a key; where most queries have positives that nobody labelled (look
    at `nearfar mine --review` first), unless margins exclude those.
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
        window = self.window
        _ = self.controls  # checks the other settings
        if window is not None and not 0 <= window[0] <= window[1] - self.negatives:
            raise InputError(
                f"mining.window: ranks {window[0]} to {window[1]} cannot hold {self.negatives} negatives; give two "
                "ranks from 0 on, the second larger by that at least"
            )

    @property
    def controls(self) -> Controls:
        """The controls at the end of the run."""
        settings = asdict(self)
        del settings["window"]
        return Controls(**settings)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that must be equal for a run to be resumed, nested under the recipe's names."""
        return {"mining": asdict(self)}

    def ranks(self, step: int, steps: int) -> tuple[int, int]:
        """Return the ranks (low, high) of the candidates after `step` of `steps`."""
        last, p = (self.range_min, self.range_max), step / steps
        low, high = (round((1 - p) * start + p * end) for start, end in zip(self.window or last, last))
        return low, max(high, low + self.negatives)  # rounding may narrow the window by one

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        """Return each example's negatives by the model's current weights, after `step` of `steps`."""
        datasets = positives.mining_pairs()
        # what is known from one data set holds for all
        known_positives = np.concatenate([pairs.positives for pairs in datasets])
        ignored = np.concatenate([pairs.ignored for pairs in datasets])
        ranks = self.ranks(step, steps)
        rows, lowest, scores = [], [], []
        for pairs in datasets:
            controls = self._controls_for(pairs, ranks, step)
            pairs_of_all = replace(pairs, positives=known_positives, ignored=ignored)
            hard = mine_pairs(pairs_of_all, model, embed_fresh, controls)
            query, mined = hard.examples[0], hard.mined
            rows.append(np.where(mined.rows < 0, -1, hard.keys.row[mined.rows])[query])  # (n, k)
            lowest.append(mined.lowest_positive_score[np.isfinite(mined.lowest_positive_score)])
            scores.append(mined.scores[query][rows[-1] >= 0])
        facts = {
            "found": sum(len(part) for part in scores),
            "examples": sum(int((part >= 0).any(1).sum()) for part in rows),
            "lowest_positive": _mean(lowest),
            "negative": _mean(scores),
            "ranks": list(ranks),
        }
        return MinedNegatives(np.concatenate(rows), facts)

    def random_negatives(self, positives: Minable) -> Ids:
        """Return random negatives (n, negatives) in place of mined ones, for a dry run."""
        random, datasets = np.random.default_rng(self.seed), positives.mining_pairs()
        sizes = [(len(pairs.key), (len(pairs.examples), self.negatives)) for pairs in datasets]
        return np.concatenate([random.integers(keys, size=shape) for keys, shape in sizes])

    def _controls_for(self, pairs: MiningPairs, ranks: tuple[int, int], step: int) -> Controls:
        """Return the controls of one data set, the ranks shifted where it has fewer keys."""
        low, high = ranks
        known = np.unique(pairs.positives, axis=0)  # positives hold no rank
        most_positives = int(np.unique(known[:, 0], return_counts=True)[1].max(initial=1))
        beyond = max(0, high - (len(np.unique(content_ids(pairs.key))) - most_positives))
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
