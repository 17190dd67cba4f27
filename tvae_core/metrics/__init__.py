"""Metrics as pure functions: detection, utility, privacy; each result has its uncertainty and its control."""

from tvae_core.metrics.attacks import inference, linkability, secret_columns, singling_out
from tvae_core.metrics.detection import Detection, c2st, detection_score, logistic_detection
from tvae_core.metrics.frames import row_hashes, sample_rows, tidy, value_codes
from tvae_core.metrics.membership import Membership, membership
from tvae_core.metrics.near_copies import NearCopies, near_copies
from tvae_core.metrics.privacy import ClosestRecords, Copies, closest_records, exact_copies
from tvae_core.metrics.risk import Risk
from tvae_core.metrics.rules import Policy, Rule
from tvae_core.metrics.utility import Prediction, Utility, utility

__all__ = [
    "ClosestRecords",
    "Copies",
    "Detection",
    "Membership",
    "NearCopies",
    "Policy",
    "Prediction",
    "Risk",
    "Rule",
    "Utility",
    "c2st",
    "closest_records",
    "detection_score",
    "exact_copies",
    "inference",
    "linkability",
    "logistic_detection",
    "membership",
    "near_copies",
    "row_hashes",
    "sample_rows",
    "secret_columns",
    "singling_out",
    "tidy",
    "utility",
    "value_codes",
]
