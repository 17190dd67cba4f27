"""Child processes for tests: limits and kills that must not hit the test's own process."""

import contextlib
import os
import signal
import subprocess
import time
import traceback
import warnings
from collections.abc import Callable


def fork(work: Callable[[], object]) -> int:
    """Run `work` in a forked child, whose number is returned; it ends with status 0, or 1 when `work` raised."""
    with warnings.catch_warnings():
        # From 3.12 on: a child of a process with threads may meet a lock that is never released. Servers and pools of
        # other tests have threads here; what the children run takes none of their locks.
        warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def exit_status(child: int) -> int:
    """Wait for a child: its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child and wait for its end; the same as `exit_status`."""
    return exit_status(fork(work))


def process_tree(root: int) -> list[int]:
    """A process and everything below it."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue.extend(children.get(found[-1], []))
    return found


def kill_tree(root: int) -> None:
    """``kill -9`` of a process and of everything below it."""
    for pid in process_tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for `condition`; AssertionError when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.001)
