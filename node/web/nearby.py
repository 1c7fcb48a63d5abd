"""Who may ask over HTTP while there is no login: this machine, and the addresses that the settings name.

Health and metrics name no patient and are answered to everybody. A proxy in front of the node is its own client here:
name its address only if it asks people who they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from node.core.limits import Network, within

OPEN = ("/health/live", "/health/ready", "/metrics")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
SENTENCE = "There is no login yet: over HTTP this node answers its own machine and what limits.web_addresses names."


class Nearby:
    """ASGI middleware. trusted: networks besides loopback."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network] = ()) -> None:
        self._app, self._may = app, (*LOOPBACK, *trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._is_near(scope):
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"detail": SENTENCE}, status_code=403)(scope, receive, send)

    def _is_near(self, scope: Scope) -> bool:
        client = scope.get("client")
        return client is not None and within(client[0], self._may)
