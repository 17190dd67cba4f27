"""Rows for training: integers on the device, handed out in batches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tvae_core.layout import Layout
from tvae_core.model import Rows
from tvae_core.table import EncodedTable

COUNTED_ROWS = 1_000_000


class Batches:
    """Rows on the device as integers, handed out in batches."""

    def __init__(self, table: EncodedTable, layout: Layout, device: torch.device) -> None:
        self.codes = torch.from_numpy(table.codes).to(device)
        self.scalars = torch.from_numpy(table.scalars).to(device)
        self.code_count = sum(layout.codes)
        self.offsets = torch.from_numpy(layout.code_offsets).to(device)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""
        return self.offsets.device

    def rows(self, numbers: Tensor | slice) -> Rows:
        """The given rows, their codes numbered through all columns."""
        return Rows(self.codes[numbers].long() + self.offsets, self.scalars[numbers])

    def shuffled(self, batch_size: int, generator: torch.Generator, *, first: int = 0) -> Iterator[Rows]:
        """Every row once in a new order, in batches of `batch_size` from batch `first` on; the last may be smaller."""
        order = torch.randperm(len(self), generator=generator, device=self.device)
        for start in range(first * batch_size, len(self), batch_size):
            yield self.rows(order[start : start + batch_size])

    def code_shares(self) -> Tensor:
        """Each code's share of the rows (codes of all columns,)."""
        counts = torch.zeros(self.code_count, dtype=torch.int64, device=self.device)
        for start in range(0, len(self), COUNTED_ROWS):
            codes = self.rows(slice(start, start + COUNTED_ROWS)).codes
            counts += torch.bincount(codes.flatten(), minlength=self.code_count)
        return counts.float() / len(self)

    def some(self, count: int, generator: torch.Generator) -> Rows:
        """At most `count` rows, drawn at random without repeating one."""
        return self.rows(torch.randperm(len(self), generator=generator, device=self.device)[:count])
