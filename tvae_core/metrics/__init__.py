"""Metrics as pure functions: detection, utility, privacy; each result has its uncertainty and its control."""

from tvae_core.metrics.detection import Detection, c2st, detection_score, logistic_detection
from tvae_core.metrics.frames import row_hashes, sample_rows, tidy
from tvae_core.metrics.privacy import ClosestRecords, Copies, closest_records, exact_copies
from tvae_core.metrics.rules import Policy, Rule
from tvae_core.metrics.utility import Prediction, Utility, utility

__all__ = [
    "ClosestRecords",
    "Copies",
    "Detection",
    "Policy",
    "Prediction",
    "Rule",
    "Utility",
    "c2st",
    "closest_records",
    "detection_score",
    "exact_copies",
    "logistic_detection",
    "row_hashes",
    "sample_rows",
    "tidy",
    "utility",
]
