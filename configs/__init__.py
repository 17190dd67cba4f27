"""Typed configuration of a run: pydantic models, safe YAML loading, shipped YAML files."""

from configs.errors import ConfigError
from configs.loading import build_config, load_config, read_yaml
from configs.run import RunConfig

__all__ = ["ConfigError", "RunConfig", "build_config", "load_config", "read_yaml"]
