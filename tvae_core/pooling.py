"""Rows under conditions that all of them meet, chosen from a pool of proposals.

The decoder knows whole rows best: it learned them from every row, seeing z. So rows are proposed as they are without
conditions, except that a condition's column is drawn from what the condition leaves of it, and a proposal's weight is
the probability of what was left (importance sampling; Robert and Casella 2004, section 3.3). All rows of the sample
being alike, they are chosen from one pool in proportion to the weights. Where few proposals hold most of the weight,
many rows would repeat the same ones; there the decoder that was given the conditions proposes instead (drawing.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvae_core.drawing import COST, Draft, Lane, Tables, draft
from tvae_core.errors import ConditionError

if TYPE_CHECKING:
    from tvae_core.causal import CausalDecoder

# A pool serves where at most this share of the rows repeats another's proposal, up to the last condition's column; more
# proposals than leave the smaller share aren't drawn.
LARGEST_EXCESS, SMALL_EXCESS = 0.05, 0.02
MOST_PROPOSALS = 8
# A group of fewer rows has too small a pool.
FEWEST_ROWS = 16


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


@torch.no_grad()
def draw_within(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    limits: Limits,
    barred: Mapping[int, Sequence[int]] | None = None,
) -> Tensor:
    """Draw n rows within limits from z (count, n, D) and uniforms (n, columns, 2) -> codes (n, columns).

    `barred` names, by column, tokens that are not drawn. Raises ConditionError where no row can have it all.
    """
    pools, weight = draw_pools(decoder, tables, z, uniforms, limits, barred)
    chosen = choose(weight, limits.groups)
    rows = replace(
        pools[0][0],
        uniforms=uniforms,
        state=torch.cat([rows.state for rows, _ in pools])[chosen],
        unseen=torch.cat([rows.unseen for rows, _ in pools])[chosen],
        codes=torch.cat([rows.codes for rows, _ in pools])[chosen],
        given=None,
        known=None,
    )
    base, mixed = (
        torch.cat([getattr(lane, part) for _, lane in pools])[chosen] for part in ("base", "mixed")
    )
    rows.through(Lane(decoder, tables, base, mixed), first=limits.last())
    return rows.codes


@torch.no_grad()
def draw_pools(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    limits: Limits,
    barred: Mapping[int, Sequence[int]] | None = None,
) -> tuple[list[tuple[Draft, Lane]], Tensor]:
    """`count` proposals for each row, up to the last column with a condition, and their log-weights (count, n)."""
    pools, weights = [], []
    for k, part in enumerate(z):
        rows, lane, weight = draw_pool(decoder, tables, part, (uniforms + k / len(z)).frac(), limits, barred)
        pools.append((rows, lane))
        weights.append(weight)
    return pools, torch.stack(weights)


def draw_pool(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    limits: Limits,
    barred: Mapping[int, Sequence[int]] | None,
) -> tuple[Draft, Lane, Tensor]:
    """One proposal for each row, up to the last column with a condition, and its log-weight (rows,)."""
    rows = draft(decoder, tables, uniforms, given=limits.codes, known=limits.known, barred=barred)
    lane = Lane.start(decoder, tables, decoder.base(rows.codes, z, None))
    weight = torch.zeros(len(z), device=z.device)
    for j in range(limits.last()):
        h, logits = lane.column(j, rows.state)
        logits = rows.bar(j, logits)
        if j in limits.shares:
            weight += rows.place_share(j, h, logits, limits.shares[j])
            continue
        rows.place(j, h, logits)
        if bool(limits.known[:, j].any()):
            weight += rows.log_share(j, logits) + rows.log_fine_share(j, h)
    return rows, lane, weight


def most_proposals(share: float) -> int:
    """Proposals for each row that keep to `COST`, the last condition being reached after a `share` of a row's work.

    >>> most_proposals(1.0), most_proposals(0.5), most_proposals(0.1)
    (2, 4, 8)
    """
    return max(2, min(MOST_PROPOSALS, int((COST - 1 + share) / share)))


def proposals_needed(weight: Tensor, groups: Tensor) -> int | None:
    """As few proposals as serve for each row, by the log-weights (count, n) of a first pool; None if no number does.

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
    for group in kinds:
        held = groups == group
        times[:, held] = torch.softmax(weight[:, held].flatten(), 0).view(count, -1) * held.sum()
    for fewer in range(2, count + 1):
        # Each of fewer proposals would be chosen more often.
        often = times * (count / fewer)
        excess = float((often - 1).clamp(min=0).sum()) * fewer / count / n
        if excess <= (LARGEST_EXCESS if fewer == count else SMALL_EXCESS):
            return fewer
    return None


def choose(weight: Tensor, groups: Tensor) -> Tensor:
    """Choose n of count * n proposals by their log-weights (count, n), within groups (n,) -> numbers (n,).

    Evenly spaced along the weights (systematic resampling). Row i of the n takes one of its own group's proposals.
    Raises ConditionError for a group without a proposal of any weight.

    >>> weight = torch.tensor([[0.2, 0.1, 0.1], [0.2, 0.2, 0.2]]).log()
    >>> choose(weight, torch.zeros(3, dtype=torch.int64)).tolist()
    [0, 3, 5]
    >>> choose(torch.tensor([[0.7, 0.1], [0.1, 0.1]]).log(), torch.tensor([4, 4])).tolist()
    [0, 1]
    """
    numbers = torch.arange(weight.numel(), device=weight.device).view(weight.shape)
    chosen = torch.zeros_like(groups)
    for group in groups.unique():
        held = groups == group
        places = evenly(torch.softmax(weight[:, held].flatten().double(), 0), int(held.sum()))
        chosen[held] = numbers[:, held].flatten()[places]
    return chosen


def evenly(weight: Tensor, count: int) -> Tensor:
    """`count` places along weights (n,), in proportion to them and evenly spaced -> numbers (count,).

    Raises ConditionError where nothing has any weight.
    """
    steps = weight.double().cumsum(0)
    if not bool(steps[-1] > 0):  # nor where it is not a number
        raise ConditionError("the conditions can't be met together: no row has them all; loosen one of them")
    places = (torch.arange(count, device=weight.device) + 0.5) / count * steps[-1]
    return torch.searchsorted(steps, places).clamp_(max=len(weight) - 1)
