"""Drawing rows from a causal decoder, column by column.

With cells given, two descriptions of a row meet. The decoder that was *given* those cells proposes the columns before
the last of them; it has seen few training rows given just these. The *chain*, which sees nothing but the cells before
a column, learned from every row: it weighs proposals by the likelihood of the whole row so far, given cells included,
and draws every column after the last given cell alone (sampling importance resampling: Rubin 1987). Rows that are given
the same cells are alike, and chosen from one pool of proposals; a row that is its own question has a few of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tvae_core.likelihood import View, draw_share, draw_token
from tvae_core.resampling import FEWEST_ROWS, choose, spread

if TYPE_CHECKING:
    from tvae_core.causal import CausalDecoder

# Drawing under conditions costs at most about this many times what drawing without does; pooling.py has an exception.
COST = 2.8
MOST_PROPOSALS = 8


class Tables:
    """Matrices that are functions of the weights, built once per drawing of many rows.

    The decoder's tilt makes up for z that comes from the prior in place of the posterior; without z there is none.
    """

    def __init__(self, decoder: "CausalDecoder", *, tilted: bool) -> None:
        sizes = decoder.layout.tokens
        self.before = decoder.before()
        self.out = decoder.out_maps.add_to(decoder.out).split(sizes)
        self.bias = (decoder.bias + decoder.tilt if tilted else decoder.bias).split(sizes)
        self.tilt = decoder.tilt.split(sizes)
        self.fine = decoder.fine.token()


@dataclass
class Lane:
    """One description of rows: what every column sees beside the cells before it, and its columns' first layers.

    base, mixed (rows, width).
    """

    decoder: "CausalDecoder"
    tables: Tables
    base: Tensor
    mixed: Tensor

    @classmethod
    def start(cls, decoder: "CausalDecoder", tables: Tables, base: Tensor) -> "Lane":
        """Before the first column."""
        return cls(decoder, tables, base, torch.zeros_like(base))

    def take(self, rows: Tensor) -> "Lane":
        """Some of the rows (n,), also several times."""
        return replace(self, base=self.base[rows], mixed=self.mixed[rows])

    def column(self, j: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Column j's features (rows, units) and logits (rows, tokens), given the running sum (rows, width)."""
        h = self.decoder.head_of(j, self.base + state + self.decoder.position[j], self.mixed)
        return h, torch.addmm(self.tables.bias[j], h, self.tables.out[j].T)


@dataclass
class Draft:
    """Rows on their way through the columns.

    codes, known, given (rows, columns); uniforms (rows, columns, 2); state (rows, width), the sum over the cells that
    later columns see, and `unseen` over those they do not see yet.
    """

    decoder: "CausalDecoder"
    tables: Tables
    uniforms: Tensor
    state: Tensor
    unseen: Tensor
    codes: Tensor
    given: Tensor | None
    known: Tensor | None
    barred: Mapping[int, Sequence[int]]
    ends: set[int]

    def take(self, rows: Tensor, uniforms: Tensor) -> "Draft":
        """Some of the rows (n,), also several times, that go on with `uniforms` (n, columns, 2)."""
        given, known = (None if cells is None else cells[rows] for cells in (self.given, self.known))
        return replace(
            self, uniforms=uniforms, state=self.state[rows], unseen=self.unseen[rows], codes=self.codes[rows],
            given=given, known=known,
        )  # fmt: skip

    def bar(self, j: int, logits: Tensor) -> Tensor:
        """Column j's logits without the tokens that are not drawn."""
        if j in self.barred:
            logits[:, list(self.barred[j])] = -torch.inf
        return logits

    def place(self, j: int, h: Tensor, logits: Tensor) -> None:
        """Draw column j's unknown cells, and show them to later columns."""
        token = draw_token(logits, self.uniforms[:, j, 0])
        code = self.decoder.fine.draw(j, h, token, self.uniforms[:, j, 1], self.tables.fine)
        if self.given is not None and self.known is not None:
            code = torch.where(self.known[:, j], self.given[:, j], code)
        self.show(j, code)

    def place_share(self, j: int, h: Tensor, logits: Tensor, shares: Tensor) -> Tensor:
        """Draw column j from what is allowed of its codes (codes of the column,), and show it to later columns.

        Returns the log-probability (rows,) of what is allowed.
        """
        fine, layout = self.decoder.fine, self.decoder.layout.columns[j]
        token_of_code = torch.from_numpy(layout.token_of_code).to(shares.device)
        ends = [
            torch.zeros_like(logits[0]).scatter_reduce(0, token_of_code, shares, end, include_self=False)
            for end in ("amin", "amax")
        ]
        allowed = torch.softmax(logits, dim=1) * ends[1]
        # Of a token whose codes are not all allowed alike, what is left depends on the row.
        inside = {}
        for token in (ends[0] < ends[1]).nonzero()[:, 0].tolist():
            inside[token] = fine.places(j, h, token, self.tables.fine) * shares[token_of_code == token]
            allowed[:, token] *= inside[token].sum(1) / ends[1][token]
        drawn = draw_share(allowed, self.uniforms[:, j, 0])
        code = fine.draw(j, h, drawn, self.uniforms[:, j, 1], self.tables.fine)
        for token, left in inside.items():
            rows = drawn == token
            first = fine.first_code[token + fine.token_offsets[j]]
            code[rows] = first + draw_share(left[rows], self.uniforms[rows, j, 1])
        self.show(j, code)
        return allowed.double().sum(1).log().float()

    def show(self, j: int, code: Tensor) -> None:
        """Set column j's cells (rows,), which later columns see."""
        self.codes[:, j] = code
        self.unseen += F.embedding(code, self.tables.before)
        if j in self.ends:
            self.state += self.unseen
            self.unseen.zero_()

    def log_share(self, j: int, logits: Tensor) -> Tensor:
        """Log-probability (rows,) of the tokens of column j's cells under these logits (rows, tokens)."""
        token = self.decoder.before.token_of_code[self.codes[:, j]] - self.decoder.fine.token_offsets[j]
        return logits.gather(1, token.unsqueeze(1))[:, 0] - logits.logsumexp(1)

    def log_fine_share(self, j: int, h: Tensor) -> Tensor:
        """Log-probability (rows,) of column j's cells inside their tokens under these features (rows, units)."""
        code = self.codes[:, j]
        token = self.decoder.before.token_of_code[code]
        return self.decoder.fine.log_share(j, h, code, token, self.tables.fine)

    def through(self, lane: Lane, first: int = 0) -> None:
        """Draw all columns from `first` on from one description."""
        for j in range(first, self.codes.shape[1]):
            h, logits = lane.column(j, self.state)
            self.place(j, h, self.bar(j, logits))


def draft(
    decoder: "CausalDecoder",
    tables: Tables,
    uniforms: Tensor,
    *,
    given: Tensor | None = None,
    known: Tensor | None = None,
    steps: int | None = None,
    barred: Mapping[int, Sequence[int]] | None = None,
) -> Draft:
    """Rows before their first column."""
    rows, columns = uniforms.shape[:2]
    zeros = torch.zeros(rows, decoder.width, device=uniforms.device)
    codes = torch.zeros(rows, columns, dtype=torch.int64, device=uniforms.device)
    return Draft(
        decoder,
        tables,
        uniforms,
        zeros,
        zeros.clone(),
        codes,
        given,
        known,
        barred or {},
        run_ends(columns, steps),
    )


@torch.no_grad()
def draw_from_prior(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    *,
    steps: int | None = None,
    barred: Mapping[int, Sequence[int]] | None = None,
) -> Tensor:
    """Draw whole rows from z (rows, embedding_dim) -> codes (rows, columns); see `CausalDecoder.draw`."""
    rows = draft(decoder, tables, uniforms, steps=steps, barred=barred)
    rows.through(Lane.start(decoder, tables, decoder.base(rows.codes, z, None)))
    return rows.codes


@torch.no_grad()
def draw_given(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    given: Tensor,
    view: View,
    *,
    steps: int | None = None,
    barred: Mapping[int, Sequence[int]] | None = None,
    proposals: int | None = None,
) -> Tensor:
    """Draw the unknown cells of rows whose known cells' codes are given (rows, columns); see `CausalDecoder.draw`.

    With fewer steps than columns, where a column may not see all cells before it, there is no chain to weigh with.
    Rows that see z stay with z.
    """
    columns = len(decoder.layout.columns)
    base = decoder.base(given, z, view)
    if steps is not None and steps < columns:
        rows = draft(decoder, tables, uniforms, given=given, known=view.known, steps=steps, barred=barred)
        rows.through(Lane.start(decoder, tables, base))
        return rows.codes
    # The column where the chain takes a row over.
    turn = (view.known * torch.arange(1, columns + 1, device=z.device)).amax(1)
    last = int(turn.max())
    rows = draft(decoder, tables, uniforms, given=given, known=view.known, barred=barred)
    own = Lane.start(decoder, tables, base)
    chain = Lane.start(decoder, tables, decoder.without_z.expand_as(base))
    if not bool((turn > view.known.sum(1)).any()):
        proposals = 1  # all that comes before is known
    groups = groups_of(given, view) if proposals is None else None
    if groups is not None:
        rows, own, chain = choose_from_pool(rows, own, chain, turn, groups)
    else:
        rows, own, chain = choose_by_row(rows, own, chain, turn, view.z_seen, proposals)
    rows.through(
        replace(
            chain,
            base=torch.where(view.z_seen, own.base, chain.base),
            mixed=torch.where(view.z_seen, own.mixed, chain.mixed),
        ),
        first=last,
    )
    return rows.codes


def groups_of(given: Tensor, view: View) -> Tensor | None:
    """Rows of one number (rows,) are given the same cells; None where groups are too small for a pool, or see z."""
    if bool(view.z_seen.any()):
        return None
    cells = given * view.known
    if bool((cells == cells[0]).all()):  # most often, and sooner told than by sorting
        return torch.zeros_like(cells[:, 0])
    kinds, groups = cells.unique(dim=0, return_inverse=True)
    return None if len(kinds) * FEWEST_ROWS > len(given) else groups


def choose_from_pool(
    rows: Draft, own: Lane, chain: Lane, turn: Tensor, groups: Tensor
) -> tuple[Draft, Lane, Lane]:
    """As many proposals as there are rows, from a pool of little more: rows of a group stand for each other.

    Where one row has no good proposal, another has two.
    """
    n, last = len(turn), int(turn.max())
    size = int(n * pool_size(reach(last, rows.codes.shape[1])))
    count = -(-size // n)
    many = torch.arange(size, device=turn.device) % n
    numbers = spread(rows.uniforms, count).unflatten(0, (n, count)).transpose(0, 1).flatten(0, 1)[:size]
    pool, own, chain = rows.take(many, numbers), own.take(many), chain.take(many)
    weight = own.base.new_full((count * n,), -torch.inf)
    weight[:size] = propose(pool, own, chain, turn[many], range(last))
    chosen = choose(weight.view(count, n), groups)
    return pool.take(chosen, rows.uniforms), own.take(chosen), chain.take(chosen)


def choose_by_row(
    rows: Draft, own: Lane, chain: Lane, turn: Tensor, z_seen: Tensor, count: int | None
) -> tuple[Draft, Lane, Lane]:
    """For each row one of `count` proposals of its own; of two that share their first columns where it is None."""
    n, columns, last = len(turn), rows.codes.shape[1], int(turn.max())
    count, apart = effort(reach(last, columns)) if count is None else (count, 0.0)
    turn = turn.masked_fill(z_seen[:, 0], columns)
    shared = range(int(apart * columns))
    propose(rows, own, chain, turn, shared, weighed=False)
    many = torch.arange(n, device=turn.device).repeat_interleave(count)
    several, own, chain = rows.take(many, spread(rows.uniforms, count)), own.take(many), chain.take(many)
    weight = propose(several, own, chain, turn[many], range(len(shared), last))
    # The number of a known cell's fine place, which nothing else uses, decides among the proposals.
    draws = rows.uniforms[torch.arange(n, device=turn.device), (turn - 1).clamp(min=0), 1]
    chosen = draw_token(weight.view(n, count).masked_fill(z_seen, 0.0), torch.where(z_seen[:, 0], 0.0, draws))
    chosen += torch.arange(0, len(many), count, device=turn.device)
    return several.take(chosen, rows.uniforms), own.take(chosen), chain.take(chosen)


def propose(
    rows: Draft, own: Lane, chain: Lane, turn: Tensor, columns: range, *, weighed: bool = True
) -> Tensor:
    """Draw some columns, and return each row's log-weight (rows,) of them: the chain's likelihood over `own`'s.

    What all proposals of a row share need not be `weighed`.

    A row whose last known cell lies further ahead goes on with the chain from column `turn` (rows,) on, unweighed.
    """
    assert rows.known is not None and rows.given is not None
    weight = torch.zeros(len(turn), device=turn.device)
    for j in columns:
        known = rows.known[:, j]
        h_chain, logits_chain = chain.column(j, rows.state)
        logits_chain = rows.bar(j, logits_chain)
        if bool((known & (turn == j + 1)).all()):  # nothing is proposed any more
            rows.show(j, rows.given[:, j])
            gain = rows.log_share(j, logits_chain)
        else:
            h, logits = own.column(j, rows.state)
            logits = rows.bar(j, logits)
            over = turn <= j
            if bool(over.any()):
                late = over.unsqueeze(1)
                h, logits = torch.where(late, h_chain, h), torch.where(late, logits_chain, logits)
            rows.place(j, h, logits)
            if not weighed:
                continue
            gain = rows.log_share(j, logits_chain) - rows.log_share(j, logits).masked_fill(known, 0.0)
        if bool(known.any()):
            # Proposed cells have about the same fine places under both: only given ones are weighed by them.
            gain += rows.log_fine_share(j, h_chain).masked_fill(~known, 0.0)
        # Where the chain has taken over, both are the same: no gain.
        weight += gain.nan_to_num(0.0, 0.0, 0.0)
    return weight


def reach(last: int, columns: int) -> float:
    """The share of a row's work up to column `last`, one past the last condition: to begin a row costs two columns.

    >>> reach(3, 8), reach(8, 8)
    (0.5, 1.0)
    """
    return (last + 2) / (columns + 2)


def effort(share: float) -> tuple[int, float]:
    """Proposals for each row whose last given cell `share` of the work reaches, and up to which share all are alike.

    Two descriptions are followed through `count` proposals up to that cell, and one row through the rest: that costs
    2 * (apart + count * (share - apart)) + 1 - share, and a fifth for choosing.

    >>> effort(0.2), effort(0.5), effort(1.0)
    ((3, 0.0), (2, 0.0), (2, 0.7))
    """
    if 1.2 + 5 * share <= COST:
        return 3, 0.0
    return 2, round(max(0.0, (1.2 + 3 * share - COST) / 2), 6)


def pool_size(share: float) -> float:
    """Proposals for each row, all of them whole and from one pool, that keep to `COST`; see `effort`.

    >>> round(pool_size(0.2), 3), round(pool_size(0.5), 3), round(pool_size(1.0), 3)
    (4.5, 2.1, 1.3)
    """
    return min(MOST_PROPOSALS, (COST - 1.2 + share) / (2 * share))


def run_ends(columns: int, steps: int | None) -> set[int]:
    """The last column of each of `steps` runs of about equal length (every column where steps is None).

    >>> sorted(run_ends(5, 2)), sorted(run_ends(3, None))
    ([1, 4], [0, 1, 2])
    """
    steps = columns if steps is None else max(1, min(columns, steps))
    return {columns * (k + 1) // steps - 1 for k in range(steps)}
