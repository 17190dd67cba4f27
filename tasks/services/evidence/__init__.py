"""Evidence: what a report draws, computed from the tables that scoring reads, aggregated and safe to show.

Every group of real rows that shows is held by at least `FEWEST` entities; no value of a single row is in it. It is
kept as ``evidence.json`` beside the scores, so that a report can be drawn again without the real table.
"""

from tasks.services.evidence.disclosure import FEWEST
from tasks.services.evidence.gather import Drawn, gather_evidence, keep_curve
from tasks.services.evidence.maps import distance_map

__all__ = ["FEWEST", "Drawn", "distance_map", "gather_evidence", "keep_curve"]
