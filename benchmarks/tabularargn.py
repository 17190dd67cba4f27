"""The default preset and TabularARGN (mostlyai-engine), fitted to Adult in turns and scored.

Times are `fit` from a DataFrame, each side stopping by itself. What is compared is the ratio within a round.
"""

import side_by_side

if __name__ == "__main__":
    side_by_side.main(
        __doc__,
        ours=["--preset", "default"],
        peer="tabularargn.py",
        label="TabularARGN (mostlyai-engine 2.7.3)",
    )
