"""What a stage took: seconds, rows, rate and memory."""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.references import SplitRef, TableRef

_MIB = 1 << 20
Row = dict[str, Any]


@dataclass(frozen=True)
class StageCost:
    """One stage's cost.

    Attributes:
        stage: its name.
        seconds: by the clock.
        rows: rows it went through, None where rows are not its measure.
        peak_memory_mb: the process's high-water mark when the stage ended, in MiB: this stage's or an earlier one's.
        gpu_peak_mb: the most that PyTorch held on the GPU during the stage, in MiB; None without a GPU.
        reused: it found its result in the store.
    """

    stage: str
    seconds: float
    rows: int | None
    peak_memory_mb: int
    gpu_peak_mb: int | None
    reused: bool

    def to_dict(self) -> Row:
        """Plain values, with the rate; a rate of finding something is none."""
        plain = asdict(self) | {"rows_per_second": None}
        return plain if self.rows is None or self.reused else with_rows(plain, self.rows)


class Meter:
    """Measures from its making to `stop`."""

    def __init__(self) -> None:
        self.reused = False
        self._start = time.perf_counter()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()

    def stop(self, stage: str, result: Any) -> StageCost:
        """The cost of what gave `result`."""
        cuda = _cuda()
        return StageCost(
            stage=stage,
            seconds=round(time.perf_counter() - self._start, 3),
            rows=_rows(result),
            peak_memory_mb=peak_memory() // _MIB,
            gpu_peak_mb=None if cuda is None else cuda.max_memory_allocated() // _MIB,
            reused=self.reused,
        )


def peak_memory() -> int:
    """The high-water mark of this process's resident memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def with_rows(cost: Row, rows: int) -> Row:
    """The cost with its rows and the rate that follows."""
    return cost | {"rows": rows, "rows_per_second": round(rows / max(cost["seconds"], 1e-3))}


def cost_table(costs: Sequence[Row]) -> list[Row]:
    """Rows for a reader: thousands separated, units in the headings."""
    return [
        {
            "stage": cost["stage"] + (" (reused)" if cost["reused"] else ""),
            "seconds": f"{cost['seconds']:,.1f}",
            "rows": _number(cost["rows"]),
            "rows/s": _number(cost["rows_per_second"]),
            "peak memory, MiB": _number(cost["peak_memory_mb"]),
            "GPU peak, MiB": _number(cost["gpu_peak_mb"]),
        }
        for cost in costs
    ]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _rows(result: Any) -> int | None:
    if isinstance(result, TableRef):
        return result.rows
    return result.table.rows if isinstance(result, SplitRef) else None


def _cuda() -> Any:
    """PyTorch's CUDA module where it is in use; asking must not be what loads it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
