"""moto's S3 server as one process: prints its port as the first line, stops when its standard input closes.

    python tests/moto_server.py

It keeps S3's promises about conditional writes and their races, and takes any credentials.
"""

import sys

from moto.server import ThreadedMotoServer

if __name__ == "__main__":
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)  # noqa: T201
    sys.stdin.read()
    server.stop()
