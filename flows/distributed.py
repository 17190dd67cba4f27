"""``tvae fit`` on several processes: ``torchrun --nproc-per-node 2 -m flows.distributed fit DATA --out GENERATOR``.

Every process reads the table and trains on its share of each batch; the first one reports and writes the generator.
"""

import contextlib
import os
import sys
import tempfile

from flows.cli import main
from tvae_core.distributed import process_group


def run() -> None:
    """Run the command line in each process: the first as it is, the others silently, into a directory thrown away."""
    arguments = sys.argv[1:]
    if arguments[:1] != ["fit"] or "--out" not in arguments:
        sys.exit("flows.distributed: expected `fit DATA --out GENERATOR ...`, as after `tvae`")
    with process_group() as rank, contextlib.ExitStack() as others:
        if rank > 0:
            arguments[arguments.index("--out") + 1] = (
                others.enter_context(tempfile.TemporaryDirectory()) + "/g"
            )
            silence = others.enter_context(open(os.devnull, "w"))
            others.enter_context(contextlib.redirect_stderr(silence))
            others.enter_context(contextlib.redirect_stdout(silence))
        main(arguments)


if __name__ == "__main__":
    run()
