"""Typed configuration of a run: pydantic models, safe YAML loading, shipped YAML files."""

from configs.errors import ConfigError
from configs.loading import build_config, build_policy, load_config, read_yaml, shipped_policy
from configs.run import RunConfig

__all__ = [
    "ConfigError",
    "RunConfig",
    "build_config",
    "build_policy",
    "load_config",
    "read_yaml",
    "shipped_policy",
]
