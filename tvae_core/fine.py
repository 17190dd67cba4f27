"""Below the token: which of a bin's fine cells a value lies in."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.column_linear import ColumnLinear
from tvae_core.embedding import FEATURES, CodeTable, rank_features
from tvae_core.layout import Layout
from tvae_core.likelihood import draw_token
from tvae_core.products import rounded_products


class FinePlaces(nn.Module):
    """The place inside a token of several codes, given the column's features and the token."""

    def __init__(self, layout: Layout, units: int) -> None:
        super().__init__()
        self.layout = layout
        self.columns = [j for j, c in enumerate(layout.columns) if c.fine_places > 1]
        self.place = {j: i for i, j in enumerate(self.columns)}
        count, places = len(self.columns), max((c.fine_places for c in layout.columns), default=1)
        self.token = CodeTable(layout, units)
        self.hidden = ColumnLinear(count, units, units)
        self.out = nn.Parameter(torch.empty(count, units, places))
        self.maps = nn.Parameter(torch.empty(count, FEATURES, units))
        self.bias = nn.Parameter(torch.empty(count, 1, places))
        middles = (np.arange(places, dtype=np.float32) + 0.5) / places
        self.register_buffer("features", rank_features(middles), persistent=False)
        self._register_codes(layout)

    def _register_codes(self, layout: Layout) -> None:
        fine = np.concatenate([c.fine_of_code for c in layout.columns])
        tokens = np.concatenate(
            [c.token_of_code + o for c, o in zip(layout.columns, layout.token_offsets, strict=True)]
        )
        first = np.unique(tokens, return_index=True)[1]
        counts = np.bincount(tokens)
        for name, value in (("fine_of_code", fine), ("first_code", first), ("codes_of_token", counts)):
            self.register_buffer(name, torch.from_numpy(value.astype(np.int64)), persistent=False)
        self.register_buffer("token_offsets", torch.from_numpy(layout.token_offsets), persistent=False)
        self.register_buffer("numbers", torch.tensor(self.columns, dtype=torch.int64), persistent=False)

    fine_of_code: Tensor
    first_code: Tensor
    codes_of_token: Tensor
    token_offsets: Tensor
    numbers: Tensor
    features: Tensor

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Start from even places: zero output weights."""
        self.token.initialise(0.3, generator)
        for zero in (self.out, self.maps, self.bias):
            nn.init.zeros_(zero)

    def _logits(self, h: Tensor, token: Tensor, which: slice, embedded: Tensor) -> Tensor:
        """Features (columns, rows, units), tokens (columns, rows), `embedded` like h -> (columns, rows, places).

        A token is embedded by its first code, never by the code itself: that would give the place away.
        """
        mixed = torch.bmm(F.silu(h + embedded), self.hidden.weight[which])
        h = h + self.hidden.bias[which] + mixed
        weights = self.out[which] + (self.features @ self.maps[which]).transpose(1, 2)
        logits = torch.bmm(F.silu(h), weights) + self.bias[which]
        absent = torch.arange(logits.shape[2], device=h.device) >= self.codes_of_token[token][:, :, None]
        return logits.masked_fill(absent, -1e9)

    def _logits_of(self, i: int, h: Tensor, token: Tensor, table: Tensor) -> Tensor:
        """One column's features (rows, units) and tokens (rows,) -> (rows, places)."""
        embedded = F.embedding(self.first_code[token], table)[None]
        return self._logits(h[None], token[None], slice(i, i + 1), embedded)[0]

    def add_nll(self, loss: Tensor, h: Tensor, codes: Tensor, tokens: Tensor) -> Tensor:
        """Add the fine places' cross-entropy to loss (rows, columns)."""
        if not self.columns:
            return loss
        token = tokens[:, self.numbers].T
        embedded = self.token.each(self.first_code[tokens])[self.numbers]
        with rounded_products(h.device):
            logits = self._logits(h[self.numbers], token, slice(None), embedded).float()
        target = self.fine_of_code[codes[:, self.numbers].T]
        nll = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        return loss.index_add(1, self.numbers, nll.T)

    def spread(self, column: int, h: Tensor, probabilities: Tensor, wanted: Tensor) -> Tensor:
        """Token probabilities (rows, tokens of the column) spread over the codes (rows, codes of the column).

        Only codes that are `wanted` (codes,) need to be right.
        """
        token_of_code = torch.from_numpy(self.layout.columns[column].token_of_code).to(h.device)
        spread, table = probabilities[:, token_of_code], self.token()
        for token in token_of_code[wanted].unique().tolist():
            of_token = token_of_code == token
            if int(of_token.sum()) > 1:
                spread[:, of_token] *= self.places(column, h, token, table)
        return spread

    def places(self, column: int, h: Tensor, token: int, table: Tensor) -> Tensor:
        """Probabilities (rows, codes of the token) of the codes inside one of the column's tokens."""
        number = torch.full((len(h),), token + int(self.token_offsets[column]), device=h.device)
        logits = self._logits_of(self.place[column], h, number, table)
        return torch.softmax(logits, dim=1)[:, : int(self.codes_of_token[number[0]])]

    def draw(self, column: int, h: Tensor, token: Tensor, uniforms: Tensor, table: Tensor) -> Tensor:
        """Codes (rows,), numbered through all columns, for one column's drawn tokens (rows,)."""
        token = token + self.token_offsets[column]
        code = self.first_code[token]
        if column not in self.place:
            return code
        rows = (self.codes_of_token[token] > 1).nonzero()[:, 0]
        if len(rows):
            i = self.place[column]
            logits = self._logits_of(i, h[rows], token[rows], table)
            code[rows] += draw_token(logits, uniforms[rows])
        return code

    def log_share(self, column: int, h: Tensor, code: Tensor, token: Tensor, table: Tensor) -> Tensor:
        """Log-probability (rows,) of a column's codes (rows,) inside their tokens (rows,), both through all columns."""
        if column not in self.place:
            return torch.zeros(len(h), device=h.device)
        i = self.place[column]
        logits = self._logits_of(i, h, token, table)
        return F.log_softmax(logits, 1).gather(1, self.fine_of_code[code].unsqueeze(1))[:, 0]
