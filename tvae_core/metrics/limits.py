"""How many rows and levels the metrics look at: every cap of this package, once.

Each cap bounds time or memory; none changes what a figure means, only how precisely it is known.
"""

MAX_ROWS = 50_000
"""Rows of each table that are loaded, drawn at random; exact copies alone are counted over every row. A C2ST
AUC from 50,000 rows a side has a standard error of about .002."""

CLOSEST_QUERIES = 4_000
"""Synthetic rows whose closest records are looked for: the share nearer to train is known to about +-.015."""

CLOSEST_REFERENCES = 40_000
"""Rows of train, and of the holdout, to compare them with: 4,000 x 80,000 pairs of 15 columns take seconds."""

BLOCK_PAIRS = 1_000_000
"""Pairs whose distances are held at once: 4 MB of float32."""

MAX_TARGET_LEVELS = 30
"""Levels of a target column: boosted trees grow one tree per level and round."""

FOLDS = 3
"""Folds of every cross-validated detection score."""

ATTACKS = 2_000
"""Guesses of every attack, on training rows and on holdout rows alike: a rate is known to about +-.02."""

ATTACK_REFERENCES = 50_000
"""Synthetic rows that an attacker searches."""

MEMBERSHIP_ROWS = 5_000
"""Members, and as many non-members, that a membership attack is tried on: its AUC is known to about +-.011."""

NEAR_COPY_QUERIES = 200_000
"""Synthetic rows whose near copies are looked for; the real rows are all searched, through an index."""
