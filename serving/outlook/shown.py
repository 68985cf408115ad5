"""Let a server be seen for as long as a block runs: over HTTP, or by its supervisor."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from serving.http import HttpServer
from serving.outlook.link import answer
from serving.outlook.outlook import Inside, Outlook
from serving.outlook.routes import Routes
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.server import Server

__all__ = ["opened", "page_line", "shown"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def opened(outlook: Outlook, settings: Settings) -> AsyncIterator[str]:
    """Over HTTP. Yields the address of the page, '' where it is off. Raises BadSetting where the port is taken."""
    wanted = settings.metrics_at
    if wanted is None:
        yield ""
        return
    routes = Routes(outlook, may_try=settings.may_try, hosts=settings.page_hosts)
    server = HttpServer(routes.handle)
    port = await server.start(settings.metrics_host, wanted)
    async with _meanwhile(routes.follow()):
        address = f"http://{settings.metrics_host}:{port}/"
        log.info("page and metrics are open", extra={"address": address})
        try:
            yield address
        finally:
            await server.close()


@asynccontextmanager
async def shown(
    server: "Server", settings: Settings, *, orphaned: Callable[[], None] = lambda: None
) -> AsyncIterator[str]:
    """As `opened`; a worker answers its supervisor instead. `orphaned` is called when that is gone."""
    inside = Inside(server)
    if settings.supervisor_fd < 0:
        async with opened(inside, settings) as page:
            yield page
    else:
        async with _meanwhile(_answering(socket.socket(fileno=settings.supervisor_fd), inside, orphaned)):
            yield ""


async def _answering(end: socket.socket, inside: Inside, orphaned: Callable[[], None]) -> None:
    """Answer a supervisor for as long as it lives: the kernel closes its end of the link whatever kills it."""
    try:
        await answer(end, inside.answers)
    finally:
        orphaned()


def page_line(page: str) -> str:
    """What is printed beside the line of the server."""
    return f"the page is {page}, metrics are {page}metrics"


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
