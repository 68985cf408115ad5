"""What can be had over HTTP, and from whom it is kept."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final

from serving.http import Request, Response, text
from serving.metrics.history import EVERY_S, History
from serving.metrics.samples import Samples
from serving.metrics.text import CONTENT_TYPE, exposition
from serving.outlook.described import readiness
from serving.outlook.outlook import Outlook

__all__ = ["Routes"]

FRESH_S = 0.25
"""Whoever asks for metrics more often gets the same ones again."""
PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
}
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REPORT_HEADERS: Final = {
    **PAGE_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
}
_JSON = "application/json"


class Routes:
    """Answers requests; `follow` keeps it up to date."""

    def __init__(self, outlook: Outlook, *, may_try: bool, hosts: str = "") -> None:
        """`hosts`: names, comma-separated, by which browsers may call this server besides addresses and localhost."""
        self._outlook, self._may_try = outlook, may_try
        self._hosts = {"localhost", *(host.strip().lower() for host in hosts.split(",") if host.strip())}
        self._history = History()
        self._trying = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._seen: tuple[float, Samples] = (float("-inf"), {})
        self._files = {path: _file(name) for path, (name, _) in PAGE.items()}
        self._routes: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/metrics"): self._metrics,
            ("GET", "/healthz"): self._live,
            ("GET", "/readyz"): self._ready,
            ("GET", "/api/state"): self._state,
            ("POST", "/api/try"): self._try,
        }

    async def follow(self) -> None:
        """Look every two seconds."""
        while True:
            self._history.add(time.time(), await self._samples())
            await asyncio.sleep(EVERY_S)

    async def handle(self, request: Request) -> Response:
        """The answer to any request."""
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get((method, request.path))
        if request.path.startswith(("/api/", "/reports/")) or request.path in PAGE:
            if not self._is_ours(request):
                return text(
                    HTTPStatus.FORBIDDEN, "this name is not ours; set LOCKSTEP_SERVE_PAGE_HOSTS to the names that are"
                )
            return await (route or self._page)(request)
        if route is not None:
            return await route(request)
        if request.path.startswith("/readyz/"):
            return await self._model_ready(request.path.removeprefix("/readyz/"))
        return text(HTTPStatus.NOT_FOUND, "there is: /, /metrics, /healthz, /readyz, /readyz/<model>")

    def _is_ours(self, request: Request) -> bool:
        """Whether the browser means this server: a page from elsewhere can give its own name our address."""
        host = request.headers.get("host", "").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            return bool(ip_address(name))
        except ValueError:
            return name in self._hosts

    async def _samples(self) -> Samples:
        async with self._asking:
            at_s, samples = self._seen
            if time.monotonic() - at_s > FRESH_S:
                samples = await self._outlook.samples()
                self._seen = time.monotonic(), samples
            return samples

    async def _metrics(self, _: Request) -> Response:
        return Response(HTTPStatus.OK, CONTENT_TYPE, exposition(await self._samples()).encode())

    async def _live(self, _: Request) -> Response:
        return text(HTTPStatus.OK, "live")

    async def _ready(self, _: Request) -> Response:
        """Ready while any model can be asked; every model with what is served of it, and why the rest is not."""
        models = readiness(await self._outlook.models())
        ready = any(model["ready"] for model in models.values())
        why = {} if models else {"why_not": "no model is published yet, or no worker answers"}
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"ready": ready, "models": models, **why}, status)

    async def _model_ready(self, name: str) -> Response:
        found = readiness(await self._outlook.models()).get(name)
        if found is None:
            return _json({"ready": False, "why_not": "there is no such model"}, HTTPStatus.NOT_FOUND)
        return _json(found, HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _page(self, request: Request) -> Response:
        if request.method == "POST":
            return text(HTTPStatus.METHOD_NOT_ALLOWED, "this page is only read")
        if request.path in PAGE:
            return Response(HTTPStatus.OK, PAGE[request.path][1], self._files[request.path], PAGE_HEADERS)
        kind, _, rest = request.path[1:].partition("/")
        model, _, version = rest.partition("/")
        report = await self._outlook.report(model, version) if kind == "reports" else None
        if report is None:
            return text(HTTPStatus.NOT_FOUND, "there is no such page")
        return Response(HTTPStatus.OK, "text/html; charset=utf-8", report.encode(), REPORT_HEADERS)

    async def _state(self, _: Request) -> Response:
        await self._samples()
        models = await self._outlook.models()
        return _json({**self._history.plain(), "served": models, "may_try": self._may_try, "now_s": time.time()})

    async def _try(self, request: Request) -> Response:
        if not self._may_try:
            return _json({"error": "trying is switched off; see the setting page_try."}, HTTPStatus.FORBIDDEN)
        # A form on a page from elsewhere cannot send this type without asking first, which is never granted.
        if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
            return _json({"error": f"send {_JSON}."}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return _json({"error": "the body is not a JSON object."}, HTTPStatus.BAD_REQUEST)
        if self._trying.locked():
            return _json({"error": "one at a time; another one is being tried."}, HTTPStatus.TOO_MANY_REQUESTS)
        async with self._trying:
            found = await self._outlook.attempt(asked)
        return _json(found, HTTPStatus.BAD_REQUEST if "error" in found else HTTPStatus.OK)


def _file(name: str) -> bytes:
    return files("serving").joinpath("page", name).read_bytes()


def _json(plain: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, _JSON, json.dumps(plain).encode(), PAGE_HEADERS)
