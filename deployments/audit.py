"""Known vulnerabilities of the pinned dependencies: `make audit`, which `make lint` calls.

    python deployments/audit.py constraints.txt --stamp var/audit.stamp

pip-audit asks the OSV database for every pinned version. Exit codes: 0 nothing known, or no answer (offline: it says so
and stops nobody), 1 a known vulnerability. With a stamp younger than a day, and than the pins, nothing is asked again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DAY = 86_400
SECONDS = 180  # about a hundred requests


def main() -> int:
    """Ask, print what was found, return the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("pins", type=Path)
    options.add_argument("--stamp", type=Path, help="made when nothing was found; asked again after a day")
    options.add_argument("--osv-url", help="another database that speaks OSV's protocol")
    args = options.parse_args()
    if args.stamp is not None and _is_fresh(args.stamp, args.pins):
        return 0
    found = _ask(args.pins, args.osv_url)
    if found is None:
        print("audit: the database of vulnerabilities could not be asked: dependencies are NOT audited")
        return 0
    for package in found:
        for weakness in package["vulns"]:
            mended = ", ".join(weakness["fix_versions"]) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {weakness['id']}, mended in {mended}")
    if any(package["vulns"] for package in found):
        print(f"audit: raise the version in {args.pins} and pyproject.toml, and run the tests")
        return 1
    if args.stamp is not None:
        args.stamp.parent.mkdir(parents=True, exist_ok=True)
        args.stamp.touch()
    print(f"audit: {len(found)} packages, no known vulnerability")
    return 0


def _is_fresh(stamp: Path, pins: Path) -> bool:
    made = stamp.stat().st_mtime if stamp.exists() else 0.0
    return made > pins.stat().st_mtime and time.time() - made < DAY


def _ask(pins: Path, osv_url: str | None) -> list[dict[str, Any]] | None:
    """pip-audit's findings by package; None when the database did not answer."""
    with tempfile.TemporaryDirectory(prefix="tvae-audit-") as folder:
        out = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(pins),
            "--no-deps",
            "--disable-pip",
        ]
        command += ["--vulnerability-service", "osv", "--progress-spinner", "off", "--timeout", "10"]
        command += ["--format", "json", "--output", str(out), *(["--osv-url", osv_url] if osv_url else [])]
        try:
            # Its exit code 1 means both a vulnerability and a failure; only the first writes its findings.
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return None
        return json.loads(out.read_text())["dependencies"] if out.exists() else None


if __name__ == "__main__":
    sys.exit(main())
