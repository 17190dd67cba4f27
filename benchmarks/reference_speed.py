"""The reference preset and CTGAN's own TVAE, both 300 epochs of Adult, fitted in turns and scored.

Times are `fit` from a DataFrame, codecs included. What is compared is the ratio within a round.
"""

import side_by_side

if __name__ == "__main__":
    side_by_side.main(
        __doc__, ours=["--preset", "reference"], peer="ctgan_tvae.py", label="TVAE (CTGAN 0.12.1)", epochs=300
    )
