"""What goes wrong with a configuration."""

from tvae_core.errors import TVAEError


class ConfigError(TVAEError, ValueError):
    """A configuration can't be read or holds a value that isn't allowed. Names the file, the key and what is allowed."""
