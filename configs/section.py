"""What every section of the configuration is made of: described fields, addresses, and no unknown key."""

from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SEGMENT = r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$"
_SCHEMES = ("file", "s3")


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def described(position: int, description: str, **bounds: Any) -> Any:
    """A field with its explanation, its bounds and its place in the form."""
    return Field(description=description, json_schema_extra={"position": position}, **bounds)


def absolute_address(value: str) -> str:
    """Accept an absolute local path, file:// or s3://, and never credentials inside an address."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        if not PurePath(value).is_absolute():
            raise ValueError(
                "a relative path means nothing where a worker runs: give an absolute path, file:///... or s3://bucket/..."
            )
        return value
    if scheme not in _SCHEMES:
        raise ValueError(
            f"an address is a local path, file:///... or s3://bucket/...; the scheme {scheme}:// is neither"
        )
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            "an address must not carry credentials: leave them to the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...)"
        )
    return value


class RefusedByForm:
    """Lets the form refuse, before a run starts, what `absolute_address` would refuse in it."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Called by pydantic: add the pattern of an absolute path, file:///... or s3://..., without credentials."""
        schema: dict[str, Any] = handler(core_schema)
        return schema | {"pattern": r"^(/|file:///|s3://[^/@:]+(/|$))"}


Address = Annotated[str, AfterValidator(absolute_address), RefusedByForm()]
