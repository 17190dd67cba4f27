"""A YAML file and `--set` overrides become a `RunConfig`, or one readable error."""

import difflib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.gate import PolicyFile, is_shipped, shipped_text
from configs.run import RunConfig
from tvae_core.metrics.rules import Policy

C = TypeVar("C", bound=RunConfig)

_ADDRESSES = ("input", "store", "schema", "expectations", "generator_uri")
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, refusing a key that stands twice (YAML would keep the last silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build the mapping; raises `yaml.MarkedYAMLError` on a repeated key."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str | bytes, origin: str) -> Any:
    """Parse YAML (or JSON, its subset) without running anything. `origin` names the file in errors."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{origin}{place}: not readable as YAML: {getattr(error, 'problem', None) or error}"
        ) from error


def load_config(path: str | Path, overrides: Iterable[str] = (), kind: type[C] = RunConfig) -> C:  # type: ignore[assignment]
    """Read `path`, apply overrides such as ``model.epochs=50``, and check every key, type and bound.

    `kind` is RunConfig, or one with further keys.

    Relative paths mean what they mean on the command line: relative to the current directory, in the file as in an
    override; the result holds absolute ones. Raises `ConfigError` naming file, key and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from error
    data = read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys such as name, input and store, got {_kind(data)}")
    set_keys = {_apply(data, override) for override in overrides}
    for key in _ADDRESSES:
        if isinstance(data.get(key), str):
            data[key] = _absolute(data[key])
    sample = data.get("sample")
    if isinstance(sample, dict) and isinstance(sample.get("given"), str):
        sample["given"] = _absolute(sample["given"])
    gate = data.get("gate")
    if isinstance(gate, dict) and isinstance(gate.get("policy"), str) and not is_shipped(gate["policy"]):
        gate["policy"] = _absolute(gate["policy"])
    return build_config(data, str(path), set_keys, kind)


def build_config(
    data: Mapping[str, Any],
    origin: str,
    set_keys: Iterable[str] = (),
    kind: type[C] = RunConfig,  # type: ignore[assignment]
) -> C:
    """Check `data`; errors name `origin`, or ``--set`` for the keys that came from there."""
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        raise _readable(error, origin, kind.model_json_schema(by_alias=True), set(set_keys)) from None


def build_policy(text: str | bytes, origin: str) -> Policy:
    """Check a policy's YAML; errors name `origin`."""
    plain = read_yaml(text, origin)
    if not isinstance(plain, dict):
        raise ConfigError(f"{origin}: expected the keys name, description and rules, got {_kind(plain)}")
    try:
        file = PolicyFile.model_validate(plain)
    except ValidationError as error:
        raise _readable(error, origin, PolicyFile.model_json_schema(), set()) from None
    return Policy(file.name, file.rules, file.description)


def shipped_policy(name: str) -> Policy:
    """A policy that ships. Raises ValueError naming those that there are."""
    return build_policy(shipped_text(name), f"policies/{name}.yaml")


def _readable(error: ValidationError, origin: str, schema: dict[str, Any], set_keys: set[str]) -> ConfigError:
    problems = [_explain(problem, origin, schema, set_keys) for problem in error.errors()]
    return ConfigError("\n".join(dict.fromkeys(problems)))


def _apply(data: dict[str, Any], override: str) -> str:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise ConfigError(f"--set takes key=value such as model.epochs=50, got {override!r}")
    value = read_yaml(text, f"--set {key}")
    node: Any = data
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        try:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        except (ValueError, IndexError, AttributeError):
            raise ConfigError(
                f"--set {key}: {'.'.join(parents[:depth]) or part} has no {part} below it"
            ) from None
        if node is None:
            raise ConfigError(
                f"--set {key}: {'.'.join(parents[: depth + 1])} is empty in the file: fill it there"
            )
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    else:
        raise ConfigError(f"--set {key}: {'.'.join(parents)} is {_kind(node)}: nothing can be set below it")
    return key


def _absolute(address: str) -> str:
    if "://" in address or not address:
        return address
    return str(Path(address).expanduser().absolute())


def _explain(problem: Any, origin: str, schema: dict[str, Any], set_keys: set[str]) -> str:
    location = [str(part) for part in problem["loc"]]
    node, trail = _walk(location[:-1], schema)
    key = ".".join([*trail, location[-1]]) if location else "the configuration"
    source = f"--set {key}" if key in set_keys else f"{origin}: {key}"
    if problem["type"] in _UNKNOWN_KEY:
        allowed = list(node.get("properties", {}))
        near = difflib.get_close_matches(location[-1], allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "."
        return f"{source}: unknown key{hint} Allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{source}: missing. {_describe(node, location[-1])}"
    if problem["type"] == "value_error":  # our own words, complete as they are
        return f"{source}: {problem['msg'].removeprefix('Value error, ')}"
    message = problem["msg"].replace("Input should", "should")
    return f"{source}: {message}{_came(problem['input'])} {_describe(node, location[-1])}".rstrip()


def _walk(location: list[str], schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Follow an error's location through the JSON schema; parts that name a union's branch are not keys."""
    definitions = schema.get("$defs", {})
    node, trail = schema, []
    for part in location:
        if part.isdigit() and "items" in node:
            node = _resolve(node["items"], definitions)
        elif part in node.get("properties", {}):
            node = _resolve(node["properties"][part], definitions)
        else:
            continue
        trail.append(part)
    return node, trail


def _resolve(node: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Follow a reference; of alternatives take the one that has something below it."""
    if "$ref" in node:
        return definitions[node["$ref"].rsplit("/", 1)[-1]]
    branches = [_resolve(branch, definitions) for branch in node.get("anyOf", ())]
    return next((branch for branch in branches if "items" in branch or "properties" in branch), node)


def _describe(node: Mapping[str, Any], key: str) -> str:
    text = node.get("properties", {}).get(key, {}).get("description", "")
    return f"({text.rstrip('.')})" if text else ""


def _came(value: Any) -> str:
    """What was given, where it is short and can't hold a credential."""
    if isinstance(value, bool | int | float) or (
        isinstance(value, str) and len(value) < 40 and "://" not in value
    ):
        return f", got {value!r}."
    return f", got {_kind(value)}."


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")
