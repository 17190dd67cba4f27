"""OpenStack Swift as one process with its S3 interface: run by .venv-swift's python, never imported by a test.

    .venv-swift/bin/python tests/swift_server.py DIRECTORY

Prints its port as the first line when it serves, and stops when its standard input closes, so that it never outlives
the tests. Access key ``test:tester``, secret ``testing``. Bytes lie under DIRECTORY.
"""

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402  (Swift must be imported after the patching)
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

from eventlet import wsgi  # noqa: E402
from swift.common import storage_policy, utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.utils import NullLogger  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

CONF = """[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""
PROXY = """[DEFAULT]
swift_dir = {root}
[pipeline:main]
pipeline = catch_errors cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
[filter:symlink]
use = egg:swift#symlink
"""


def main(root: Path) -> None:
    """Serve until standard input closes."""
    warnings.filterwarnings("ignore", message="capitalize_response_headers is disabled")
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    (root / "disk" / "sda").mkdir(parents=True)
    (root / "swift.conf").write_text(CONF)
    (root / "proxy.conf").write_text(PROXY.format(root=root))
    utils.set_swift_dir(str(root))
    storage_policy.reload_storage_policies()

    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object")}
    for kind, socket in sockets.items():
        save_ring(root / f"{kind}.ring.gz", socket.getsockname()[1])
    for kind, socket in sockets.items():
        serve(socket, controller(kind, root))
    front = eventlet.listen(("127.0.0.1", 0))
    serve(front, loadapp(str(root / "proxy.conf")))
    print(front.getsockname()[1], flush=True)  # noqa: T201
    wait_for_end_of_input()


def save_ring(path: Path, port: int) -> None:
    """A ring of one device on this machine."""
    builder = RingBuilder(4, 1, 0)
    builder.add_dev(
        {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "port": port, "device": "sda"}
    )
    builder.rebalance()
    builder.get_ring().save(str(path))


def controller(kind: str, root: Path):
    """The server that keeps accounts, containers or objects on the disk below `root`."""
    from swift.account.server import AccountController
    from swift.container.server import ContainerController
    from swift.obj.server import ObjectController

    kinds = {"account": AccountController, "container": ContainerController, "object": ObjectController}
    settings = {
        "devices": str(root / "disk"),
        "swift_dir": str(root),
        "mount_check": "false",
        "fallocate_reserve": "0",
        "log_requests": "false",
    }
    return kinds[kind](settings)


def serve(socket, app) -> None:
    """Answer requests in the background."""
    eventlet.spawn(
        wsgi.server,
        socket,
        app,
        NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,  # SDKs look for "ETag", not "Etag"
    )


def wait_for_end_of_input() -> None:
    """Return when whoever started this process has gone."""
    while True:
        eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)
        if not os.read(sys.stdin.fileno(), 1024):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
