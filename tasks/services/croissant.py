"""A release described in Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html), as JSON-LD.

Loaders that know Croissant find the parts, their digests and their columns in it. It names no date, so that the same
release is described by the same bytes; the date stands in the release's manifest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from tasks.references import FileRef

# The context of the specification, appendix 1.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    name: f"cr:{name}"
    for name in (
        "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet",
        "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
        "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )
}  # fmt: skip
PARQUET = "application/x-parquet"  # what loaders of Croissant know; the registered name is not among it


def croissant(
    name: str,
    version: str,
    description: str,
    parts: Mapping[str, FileRef],
    schema: pa.Schema,
    terms: Mapping[str, str | None],
) -> dict[str, Any]:
    """The JSON-LD of a release whose `parts` (by their path in it) have this schema."""
    distribution: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": path,
            "name": path,
            "contentUrl": path,
            "contentSize": f"{part.size} B",
            "encodingFormat": PARQUET,
            "sha256": part.sha256,
        }
        for path, part in parts.items()
    ]
    every = {
        "@type": "cr:FileSet",
        "@id": "parts",
        "name": "parts",
        "encodingFormat": PARQUET,
        "includes": "data/*.parquet",
    }
    rows = {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": _fields(schema)}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "version": version,
        "description": description,
        **({"license": terms["licence"]} if terms.get("licence") else {}),
        "keywords": ["synthetic data"],
        "isLiveDataset": False,
        "distribution": [*distribution, every],
        "recordSet": [rows],
    }


def _fields(schema: pa.Schema) -> Sequence[dict[str, Any]]:
    """One field a column; identifiers are numbers, for they may not hold white space."""
    return [
        {
            "@type": "cr:Field",
            "@id": f"rows/{number}",
            "name": column.name,
            "dataType": _data_type(column.type),
            "source": {"fileSet": {"@id": "parts"}, "extract": {"column": column.name}},
        }
        for number, column in enumerate(schema)
    ]


def _data_type(kind: pa.DataType) -> str:
    if kinds.is_dictionary(kind):
        return _data_type(kind.value_type)
    for test, name in (
        (kinds.is_boolean, "sc:Boolean"),
        (kinds.is_integer, "sc:Integer"),
        (kinds.is_floating, "sc:Float"),
        (kinds.is_decimal, "sc:Float"),
        (kinds.is_date, "sc:Date"),
        (kinds.is_timestamp, "sc:DateTime"),
    ):
        if test(kind):
            return name
    return "sc:Text"
