"""What a stage is said to have taken."""

import time

from tasks.references import SplitRef, TableRef
from tasks.services.costs import Meter, cost_table, peak_memory, with_rows

TABLE = TableRef("file:///none", "0" * 64, 5_000, ())


def test_a_stage_has_its_seconds_its_rows_their_rate_and_the_peak_memory() -> None:
    meter = Meter()
    time.sleep(0.05)
    cost = meter.stop("sample", TABLE).to_dict()
    assert 0.05 <= cost["seconds"] < 5
    assert cost["rows"] == 5_000
    assert cost["rows_per_second"] == round(5_000 / cost["seconds"])
    assert abs(cost["peak_memory_mb"] - peak_memory() / 2**20) < 64
    assert cost["peak_memory_mb"] > 10


def test_a_split_counts_the_rows_of_its_table_and_other_results_none() -> None:
    split = SplitRef(TABLE, 0, 0.5, None, 2_500, 2_500)
    assert Meter().stop("split", split).rows == 5_000
    assert Meter().stop("gate", "anything").to_dict()["rows_per_second"] is None


def test_what_was_found_in_the_store_has_no_rate() -> None:
    meter = Meter()
    meter.reused = True
    cost = meter.stop("sample", TABLE).to_dict()
    assert (cost["rows"], cost["rows_per_second"], cost["reused"]) == (5_000, None, True)


def test_the_table_is_for_readers() -> None:
    cost = {
        "stage": "train",
        "seconds": 1234.56,
        "peak_memory_mb": 2048,
        "gpu_peak_mb": None,
        "reused": False,
    }
    (row,) = cost_table([with_rows(cost, 2_469_120)])
    assert row == {
        "stage": "train", "seconds": "1,234.6", "rows": "2,469,120", "rows/s": "2,000",
        "peak memory, MiB": "2,048", "GPU peak, MiB": "",
    }  # fmt: skip
