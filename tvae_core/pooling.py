"""Rows under conditions that all of them meet, chosen from a pool of proposals.

The decoder knows whole rows best: it learned them from every row, seeing z. So rows are proposed as they are without
conditions, except that a condition's column is drawn from what the condition leaves of it, and a proposal's weight is
the probability of what was left (importance sampling; Robert and Casella 2004, section 3.3). All rows of the sample
being alike, they are chosen from one pool in proportion to the weights. Where few proposals hold most of the weight,
many rows would repeat the same ones; there the decoder that was given the conditions proposes instead (drawing.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvae_core.drawing import COST, MOST_PROPOSALS, Draft, Lane, Tables, draft
from tvae_core.resampling import FEWEST_ROWS, choose, spread

if TYPE_CHECKING:
    from tvae_core.causal import CausalDecoder

# A pool serves where at most this share of the rows repeats another's proposal, up to the last condition's column; more
# proposals than leave the smaller share aren't drawn.
LARGEST_EXCESS, SMALL_EXCESS = 0.05, 0.02


@dataclass(frozen=True)
class Limits:
    """What conditions leave of rows: cells that are known, and columns of which several codes are allowed.

    codes, known (rows, columns); shares: by the columns of the latter, how much of each code is allowed (codes,);
    groups (rows,): rows of one number stand for each other.
    """

    codes: Tensor
    known: Tensor
    shares: dict[int, Tensor]
    groups: Tensor

    def rows(self, part: Tensor) -> "Limits":
        """The limits of some of the rows (n,)."""
        return Limits(self.codes[part], self.known[part], self.shares, self.groups[part])

    def last(self) -> int:
        """One past the last column with a condition."""
        return 1 + max([*self.shares, *self.known.any(0).nonzero()[:, 0].tolist()])


@dataclass(frozen=True)
class Pool:
    """Proposals for n rows, drawn up to the last column with a condition: `count` for each row, the first of all first.

    rows, lane (count * n, ...): where they have got to; weight (count, n): their log-weights.
    """

    limits: Limits
    rows: Draft
    lane: Lane
    weight: Tensor

    @classmethod
    @torch.no_grad()
    def draw(
        cls,
        decoder: "CausalDecoder",
        tables: Tables,
        z: Tensor,
        uniforms: Tensor,
        limits: Limits,
        barred: Mapping[int, Sequence[int]],
    ) -> "Pool":
        """From z (count, n, D) and uniforms (n, columns, 2); `barred` names, by column, tokens that are not drawn."""
        numbers = spread(uniforms, len(z)).view(-1, len(z), *uniforms.shape[1:]).unbind(1)
        rows, lanes, weights = [], [], []
        for part, own in zip(z, numbers, strict=True):
            row = draft(decoder, tables, own, given=limits.codes, known=limits.known, barred=barred)
            lane = Lane.start(decoder, tables, decoder.base(row.codes, part, None))
            weights.append(propose(row, lane, limits))
            rows.append(row)
            lanes.append(lane)
        # What is known lies behind: the columns to come have no conditions.
        state, unseen, codes = (
            torch.cat([getattr(row, name) for row in rows]) for name in ("state", "unseen", "codes")
        )
        base, mixed = (torch.cat([getattr(lane, name) for lane in lanes]) for name in ("base", "mixed"))
        together = replace(rows[0], state=state, unseen=unseen, codes=codes, given=None, known=None)
        return cls(limits, together, Lane(decoder, tables, base, mixed), torch.stack(weights))

    @torch.no_grad()
    def choose(self, uniforms: Tensor) -> Tensor:
        """Choose n of the proposals and go on with them to the last column -> codes (n, columns).

        Raises ConditionError where no row can have it all.
        """
        chosen = choose(self.weight, self.limits.groups)
        rows = self.rows.take(chosen, uniforms)
        rows.through(self.lane.take(chosen), first=self.limits.last())
        return rows.codes


def propose(rows: Draft, lane: Lane, limits: Limits) -> Tensor:
    """Draw the columns up to the last one with a condition; the rows' log-weights (rows,)."""
    weight = torch.zeros(len(rows.codes), device=rows.codes.device)
    for j in range(limits.last()):
        h, logits = lane.column(j, rows.state)
        logits = rows.bar(j, logits)
        if j in limits.shares:
            weight += rows.place_share(j, h, logits, limits.shares[j])
            continue
        rows.place(j, h, logits)
        if bool(limits.known[:, j].any()):
            weight += rows.log_share(j, logits) + rows.log_fine_share(j, h)
    return weight


def affordable_proposals(reached: float) -> int:
    """Proposals for each row that keep to `COST`, the last condition being reached after a share of a row's work.

    >>> affordable_proposals(1.0), affordable_proposals(0.5), affordable_proposals(0.1)
    (2, 4, 8)
    """
    return max(2, min(MOST_PROPOSALS, int((COST - 1 + reached) / reached)))


def proposals_needed(weight: Tensor, groups: Tensor) -> int | None:
    """As few proposals as serve for each row, by the log-weights (count, n) of a first pool; None if no number does.

    At most as many as the first pool has, or as drawing and throwing away would take, where that is `MOST_PROPOSALS` or
    fewer.

    >>> even, one = torch.zeros(4, 40), torch.zeros(4, 40).index_fill(1, torch.tensor([3]), 5.0)
    >>> groups = torch.zeros(40, dtype=torch.int64)
    >>> proposals_needed(even, groups), proposals_needed(one, groups), proposals_needed(even, torch.arange(40))
    (2, None, None)
    """
    count, n = weight.shape
    times = torch.zeros_like(weight)
    kinds = groups.unique()
    if len(kinds) * FEWEST_ROWS > n:
        return None
    # The share of the free rows that meet the conditions, in the group where it is least.
    met = min(float(weight[:, groups == group].exp().mean()) for group in kinds)
    most = max(count, math.ceil(1 / met)) if met * MOST_PROPOSALS >= 1 else count
    for group in kinds:
        held = groups == group
        times[:, held] = torch.softmax(weight[:, held].flatten(), 0).view(count, -1) * held.sum()
    for number in range(2, most + 1):
        # Each of fewer proposals would be chosen more often, each of more less often.
        often = times * (count / number)
        excess = float((often - 1).clamp(min=0).sum()) * number / count / n
        if excess <= (SMALL_EXCESS if number < count else LARGEST_EXCESS):
            return number
    return None
