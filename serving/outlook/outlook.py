"""What can be asked about a server, of one process or of several."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from serving.metrics.samples import Samples, to_plain
from serving.outlook.described import REPORT, Model, described
from serving.outlook.link import Answers
from serving.outlook.trial import attempt

if TYPE_CHECKING:
    from serving.server import Server

__all__ = ["Inside", "Outlook"]


class Outlook(Protocol):
    """Asked by whoever serves the page."""

    async def samples(self) -> Samples:
        """What was counted."""
        ...

    async def models(self) -> Sequence[Model]:
        """As `described` says."""
        ...

    async def report(self, model: str, version: str) -> str | None:
        """The report of a version that is served; None where there is none."""
        ...

    async def attempt(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `trial.attempt` says."""
        ...


class Inside:
    """The server of this process."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    async def samples(self) -> Samples:
        """What was counted."""
        return self._server.samples()

    async def models(self) -> Sequence[Model]:
        """Those of its catalogue, and those it refused."""
        return described(self._server.catalogue, self._server.models.state())

    async def report(self, model: str, version: str) -> str | None:
        """From the bundle, which is in memory."""
        bundle = self._server.catalogue.bundles.get((model, version))
        return bundle.files[REPORT].decode() if bundle is not None and REPORT in bundle.files else None

    async def attempt(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """By the scorer that answers everybody."""
        return await attempt(self._server.scorer, self._server.models, asked)

    @property
    def answers(self) -> Answers:
        """The same for a supervisor."""

        async def samples() -> list[Any]:
            return to_plain(await self.samples())

        return {"samples": samples, "models": self.models, "report": self.report, "attempt": self.attempt}
