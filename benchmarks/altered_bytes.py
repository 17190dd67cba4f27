"""How many altered bytes `tvae verify` finds: one byte of a copy of a release changed at a time.

`python altered_bytes.py STORE/releases/NAME/VERSION --trials 200` takes the files in turn, and a random byte of each.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tasks.services.store import open_store, split_uri
from tasks.services.verification import examine_release


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("release", type=Path, help="a release's directory")
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "release"
        shutil.copytree(args.release, copy)
        root, prefix = split_uri(str(copy))
        if problems := examine_release(open_store(root), prefix).problems:
            print("the release is not good as it is:", *problems, sep="\n")
            return 2
        found = sum(
            alter(copy, trial, random.Random(args.seed + trial), root, prefix) for trial in range(args.trials)
        )
    print(f"{found} of {args.trials} altered bytes found")
    return 0 if found == args.trials else 1


def alter(copy: Path, trial: int, chance: random.Random, root: str, prefix: str) -> bool:
    """Change one byte, look, and change it back; whether it was found."""
    paths = sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)
    path = paths[trial % len(paths)]
    before = path.read_bytes()
    place = chance.randrange(len(before))
    other = (before[place] + chance.randrange(1, 256)) % 256
    path.write_bytes(before[:place] + bytes([other]) + before[place + 1 :])
    found = bool(examine_release(open_store(root), prefix).problems)
    path.write_bytes(before)
    return found


if __name__ == "__main__":
    sys.exit(main())
