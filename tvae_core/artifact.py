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
import tempfile
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tvae_core.errors import ArtifactError, DigestError, FormatError
from tvae_core.version import __version__

FORMAT_VERSION = 1
FILES = ("settings.json", "codecs.json", "weights.safetensors", "history.json")


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
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise ArtifactError(
            f"{directory} holds no generator: expected a directory with manifest.json"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{directory / 'manifest.json'} can't be read: {type(error).__name__}") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != "tvae-generator":
        raise ArtifactError(f"{directory / 'manifest.json'} does not describe a generator")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise FormatError(
            f"{directory} has format version {version!r}, this library reads up to {FORMAT_VERSION}: "
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
    contents = {name: _read_checked(directory / name, manifest["files"][name]["sha256"]) for name in FILES}
    try:
        weights = load_tensors(contents["weights.safetensors"])
        plain = [json.loads(contents[n]) for n in ("settings.json", "codecs.json", "history.json")]
    except (ValueError, SafetensorError, RecursionError) as error:
        raise ArtifactError(f"{directory} can't be read: {type(error).__name__}") from error
    return plain[0], plain[1], weights, plain[2], manifest["digest"]


def _lists_files(files: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    if not isinstance(files, dict) or set(files) != set(FILES):
        return False
    return all(isinstance(entry, dict) and "sha256" in entry for entry in files.values())


def _read_checked(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {type(error).__name__}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise DigestError(
            f"{path} was altered: its sha256 is not the one in manifest.json; fetch the generator anew"
        )
    return data
