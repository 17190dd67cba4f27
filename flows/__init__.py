"""Composition: the flows, and the command line."""
