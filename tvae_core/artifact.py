"""A generator as a directory: plain files, digests, no pickle. Loading runs no code.

manifest.json          format version, library version, digest, and each file's sha256 and size; written last
settings.json          preset, sizes, seed, schema
codecs.json            the fitted codecs
weights.safetensors    the weights
history.json           one record per training epoch
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tvae_core.errors import ArtifactError, DigestError, FormatError
from tvae_core.migrations import FORMAT_VERSION, migrate
from tvae_core.version import __version__

FILES = ("settings.json", "codecs.json", "weights.safetensors", "history.json")
LARGEST_MANIFEST = 1 << 20  # bytes; one that lists four files takes about 800


def canonical_json(plain: Any) -> bytes:
    """The one way this library writes JSON: sorted keys, no spaces, UTF-8, NaN refused."""
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    ).encode()


def write_generator(
    directory: Path, *, settings: Any, codecs: Any, weights: dict[str, Tensor], history: Any
) -> str:
    """Write a generator into an absent or empty directory, all or nothing; returns its digest.

    Raises ArtifactError when the directory holds something already.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ArtifactError(
            f"{directory} exists and is not empty: a generator is never written over; choose another"
        )
    contents = {
        "settings.json": canonical_json(settings),
        "codecs.json": canonical_json(codecs),
        "weights.safetensors": save_tensors({k: v.detach().cpu().contiguous() for k, v in weights.items()}),
        "history.json": canonical_json(history),
    }
    listed = {n: {"sha256": hashlib.sha256(b).hexdigest(), "size": len(b)} for n, b in contents.items()}
    digest = digest_of(listed)
    manifest = {
        "format_version": FORMAT_VERSION, "kind": "tvae-generator", "library_version": __version__,
        "digest": digest, "files": listed,
    }  # fmt: skip
    contents["manifest.json"] = json.dumps(manifest, indent=2, sort_keys=True).encode()
    _write_directory(directory, contents)
    return digest


def _write_directory(directory: Path, contents: dict[str, bytes]) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in contents.items():
            with (staging / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        staging.chmod(0o755)
        staging.replace(directory)  # an empty directory may be replaced, a filled one not
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def digest_of(listed: dict[str, dict[str, Any]]) -> str:
    """The digest over a generator's files: sha256 of their names and digests, in order of name."""
    return hashlib.sha256(canonical_json({n: entry["sha256"] for n, entry in listed.items()})).hexdigest()


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read and check a generator's manifest.

    Raises ArtifactError when there is none, FormatError when a newer library wrote it, DigestError when it
    contradicts itself.
    """
    path = directory / "manifest.json"
    if not path.exists():
        raise ArtifactError(f"{directory} holds no generator: expected a directory with manifest.json")
    manifest = _parse(path, _read_plain(path, LARGEST_MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("kind") != "tvae-generator":
        raise ArtifactError(f"{directory / 'manifest.json'} does not describe a generator")
    version = manifest.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise FormatError(
            f"{directory} has format version {str(version)[:20]}, this library reads 1 to {FORMAT_VERSION}: "
            "update tvae-pipeline to the version that wrote it"
        )
    files = manifest.get("files")
    if not _lists_files(files):
        raise ArtifactError(f"{directory / 'manifest.json'} must list exactly {', '.join(FILES)}")
    if manifest.get("digest") != digest_of(files):
        raise DigestError(
            f"{directory / 'manifest.json'} was altered: its digest is not that of the files it lists"
        )
    return manifest


def read_generator(
    directory: Path,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor], list[Any], str]:
    """Read settings, codecs, weights, history and digest, each file checked against its digest first.

    Raises ArtifactError, FormatError or DigestError; nothing of the directory is executed.
    """
    manifest = read_manifest(directory)
    contents = {name: _read_checked(directory / name, manifest["files"][name]) for name in FILES}
    try:
        weights = load_tensors(contents["weights.safetensors"])
    except (ValueError, SafetensorError) as error:
        raise ArtifactError(
            f"{directory / 'weights.safetensors'} can't be read: {type(error).__name__}"
        ) from error
    settings, codecs, history = (
        _parse(directory / name, contents[name]) for name in ("settings.json", "codecs.json", "history.json")
    )
    settings, codecs, weights = migrate(manifest["format_version"], settings, codecs, weights)
    return settings, codecs, weights, history, manifest["digest"]


def _lists_files(files: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    if not isinstance(files, dict) or set(files) != set(FILES):
        return False
    return all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and type(entry.get("size")) is int
        for entry in files.values()
    )


def _read_plain(path: Path, most: int) -> bytes:
    """The bytes of a plain file of at most `most`: a device or a pipe behind the name is not read at all."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise DigestError(f"{path} was altered: a plain file of at most {most:,} bytes was expected")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {type(error).__name__}") from error


def _read_checked(path: Path, entry: dict[str, Any]) -> bytes:
    data = _read_plain(path, entry["size"])
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DigestError(
            f"{path} was altered: its sha256 is not the one in manifest.json; fetch the generator anew"
        )
    return data


def _parse(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (
        ValueError,
        RecursionError,
    ) as error:  # RecursionError: nested deeper than anything that was saved
        raise ArtifactError(f"{path} can't be read: {type(error).__name__}") from error
