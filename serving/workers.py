"""Several serving processes on one port. The kernel spreads the connections over them; one that dies is replaced.

The supervisor scores nothing and holds no model: there is little in it that could fail.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from lockstep.errors import BadSetting, WorkerFailed
from serving.outlook.link import Link
from serving.outlook.shown import opened, page_line
from serving.outlook.team import Team
from serving.settings import PREFIX, Settings

__all__ = ["supervise"]

APART_S = 0.1
"""Between the ends of two workers. One that stops listening resets the connections that it has not accepted yet; those
of the callers that the worker before has sent away are by then."""
SHORT_LIFE_S, LONGEST_PAUSE_S = 1.0, 5.0
"""A worker that lived shorter is replaced after a pause, doubled each time."""
READY = "lockstep serves on "

log = logging.getLogger(__name__)


async def supervise(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Keep the workers running until SIGTERM or SIGINT, then let them drain.

    Says one line when all are ready. Raises BadSetting where the port is taken, WorkerFailed where a worker cannot
    start at all.
    """
    with _reserved(settings) as port:
        shared = replace(settings, port=port.getsockname()[1], workers=1, share_port=True)
        stop = asyncio.Event()
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        team = Team()
        workers = [_Worker(replace(shared, worker=number), team) for number in range(1, settings.workers + 1)]
        stopping = asyncio.create_task(stop.wait())
        try:
            async with opened(team, settings) as page:
                lines = await _unless(stopping, asyncio.gather(*(worker.start() for worker in workers)))
                if lines:
                    say(f"{lines[0]} ({settings.workers} workers)")
                    if page:
                        say(page_line(page))
                    await _keep(workers, stopping)
                    log.info("draining", extra={"drain_s": settings.drain_s})
        finally:
            stopping.cancel()
            await asyncio.gather(
                *(worker.end(place * APART_S, settings.drain_s + 5) for place, worker in enumerate(workers))
            )
        log.info("drained", extra={"workers": settings.workers})


async def _keep(workers: Sequence["_Worker"], stopping: "asyncio.Task[Any]") -> None:
    """Replace the workers that end, until it is time to stop."""
    keeping = [asyncio.create_task(worker.keep_running()) for worker in workers]
    await stopping
    for task in keeping:
        task.cancel()


async def _unless(stopping: "asyncio.Task[Any]", starting: "asyncio.Future[list[str]]") -> list[str]:
    """What the workers say when they are ready; nothing where it is time to stop before."""
    await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        return starting.result()
    starting.cancel()
    return []


def _reserved(settings: Settings) -> socket.socket:
    """The port, held but not listened on. Raises BadSetting where somebody else has it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    port = settings.port
    if not settings.share_port:  # another server that shares its port must not be joined by accident
        with socket.socket(family) as alone:
            _bind(alone, settings)
            port = alone.getsockname()[1]
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(held, replace(settings, port=port))
    return held


def _bind(one: socket.socket, settings: Settings) -> None:
    # A port on which nobody listens any more is free, though its last connections still linger.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        one.close()
        address = f"{settings.host}:{settings.port}"
        raise BadSetting("port", settings.port, f"cannot listen on {address}; is another server there?") from error


class _Worker:
    """One process, and the one that takes its place."""

    def __init__(self, settings: Settings, team: Team) -> None:
        self._number, self._team = settings.worker, team
        values = {one.name: getattr(settings, one.name) for one in fields(Settings)}
        told = {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}
        self._environment = {**os.environ, **told}
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it and wait until it is ready; returns its line. Raises WorkerFailed."""
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = await self._started(theirs)
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        if not line.startswith(READY):
            mine.close()
            raise WorkerFailed(self._number, await self._process.wait())
        link = Link(self._number, mine)
        await link.open()
        self._team.joined(self._number, link)
        self._reading = asyncio.create_task(_pass_on(self._process.stdout))
        return line

    async def _started(self, end: socket.socket) -> Process:
        """The process, with its end of the link."""
        fd = end.fileno()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving"),
            env={**self._environment, f"{PREFIX}SUPERVISOR_FD": str(fd)},
            stdout=PIPE,
            pass_fds=(fd,),
            start_new_session=True,  # in a group of its own: Ctrl-C is for the supervisor, who tells the workers
        )

    async def keep_running(self) -> None:
        """Replace the process whenever it ends."""
        pause_s = SHORT_LIFE_S / 10
        while True:
            assert self._process is not None
            started = time.monotonic()
            status = await self._process.wait()
            await self._team.left(self._number, replaced=True)
            log.error("a worker ended and is replaced", extra={"worker": self._number, "status": status})
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if time.monotonic() - started < SHORT_LIFE_S else 0.0
            await asyncio.sleep(pause_s)
            try:
                await self.start()
                log.info("another worker took its place", extra={"worker": self._number})
            except (WorkerFailed, OSError) as error:  # OSError: no memory, no more processes
                log.error("%s", error, extra={"reason": f"worker {self._number}"})

    async def end(self, after_s: float, within_s: float) -> None:
        """Let it drain, after a while; end it by force where it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        await asyncio.sleep(after_s)
        with suppress(ProcessLookupError):  # it died meanwhile
            self._process.terminate()
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            log.error("a worker did not drain in time", extra={"worker": self._number})
            self._process.kill()
            await self._process.wait()
        await self._team.left(self._number, replaced=False)


async def _pass_on(said: asyncio.StreamReader) -> None:
    """What a worker prints, e.g. from a function of a bundle: a pipe that nobody reads would stop it."""
    async for line in said:
        sys.stderr.buffer.write(line)
