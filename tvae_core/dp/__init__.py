"""Differential privacy: an accountant, private histograms for codecs and margins, and DP-SGD for the networks."""
