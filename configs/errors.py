"""What goes wrong with a configuration."""

from tvae_core.errors import TVAEError


class ConfigError(TVAEError, ValueError):
    """A configuration can't be used; the message names the file, the key and what is allowed."""
