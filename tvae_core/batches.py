"""Rows for training: integers on the device, handed out in batches."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tvae_core.layout import Layout
from tvae_core.model import Rows
from tvae_core.table import EncodedTable

# Codes are counted in parts of about this many.
COUNTED_CODES = 2**22


class ResidentRows:
    """Some rows of an encoded table, all of them on the device."""

    def __init__(self, table: EncodedTable, numbers: np.ndarray, device: torch.device) -> None:
        self.codes = torch.from_numpy(table.codes[numbers]).to(device)
        self.scalars = torch.from_numpy(table.scalars[numbers]).to(device)

    def take(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Codes and scalars of the given rows."""
        if isinstance(rows, slice):
            return self.codes[rows], self.scalars[rows]
        return self.codes.index_select(0, rows), self.scalars.index_select(0, rows)


class MappedRows:
    """Some rows of an encoded table that lies in a file: only what is asked for is read and sent to the device."""

    def __init__(self, table: EncodedTable, numbers: np.ndarray, device: torch.device) -> None:
        self.table, self.device = table, device
        self.numbers = numbers.astype(np.int32 if len(table) < 2**31 else np.int64)

    def take(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Codes and scalars of the given rows."""
        chosen = self.numbers[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        codes, scalars = self.table.codes[chosen], self.table.scalars[chosen]
        return torch.from_numpy(codes).to(self.device), torch.from_numpy(scalars).to(self.device)


class Batches:
    """An encoded table, or the rows of it that `numbers` chooses, handed out in batches on the device."""

    def __init__(
        self,
        table: EncodedTable,
        layout: Layout,
        device: torch.device,
        numbers: np.ndarray | None = None,
    ) -> None:
        numbers = np.arange(len(table)) if numbers is None else numbers
        self.held = (ResidentRows if table.in_memory else MappedRows)(table, numbers, device)
        self.size, self.code_count = len(numbers), sum(layout.codes)
        self.offsets = torch.from_numpy(layout.code_offsets).to(device)

    def __len__(self) -> int:
        return self.size

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""
        return self.offsets.device

    def rows(self, numbers: Tensor | slice) -> Rows:
        """The given rows, their codes numbered through all columns."""
        codes, scalars = self.held.take(numbers)
        return Rows(codes.long() + self.offsets, scalars)

    def shuffled(self, batch_size: int, generator: torch.Generator, *, first: int = 0) -> Iterator[Rows]:
        """Every row once in a new order, in batches of `batch_size` from batch `first` on; the last may be smaller."""
        order = torch.randperm(len(self), generator=generator, device=self.device)
        for start in range(first * batch_size, len(self), batch_size):
            yield self.rows(order[start : start + batch_size])

    def code_shares(self) -> Tensor:
        """Each code's share of the rows (codes of all columns,)."""
        counts = torch.zeros(self.code_count, dtype=torch.int64, device=self.device)
        part = max(1, COUNTED_CODES // len(self.offsets))
        for start in range(0, len(self), part):
            codes = self.rows(slice(start, start + part)).codes
            counts += torch.bincount(codes.flatten(), minlength=self.code_count)
        return counts.float() / len(self)

    def some(self, count: int, generator: torch.Generator) -> Rows:
        """At most `count` rows, drawn at random without repeating one."""
        return self.rows(torch.randperm(len(self), generator=generator, device=self.device)[:count])
