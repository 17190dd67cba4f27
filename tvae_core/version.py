"""The version of the distribution, in one place for library and artifacts."""

__version__ = "0.2.0"
