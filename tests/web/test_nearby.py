"""While there is no login, data are answered to this machine and to addresses of the settings alone.

Not covered: proxies, which are clients like others here.
"""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from node.core import settings
from node.core.errors import Misconfigured
from node.core.limits import networks
from node.web.nearby import OPEN, Nearby

DATA = "/dicom-web/studies"


def status(path: str, address: str, *trusted: str) -> int:
    """Of a GET from this address."""
    told: list[Message] = []

    async def here(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("here")(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        told.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "client": (address, 50000)}
    asyncio.run(Nearby(here, networks(trusted))(scope, receive, send))
    return int(told[0]["status"])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_answered(address: str) -> None:
    assert status(DATA, address) == 200


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.1", "fe80::1", "::ffff:10.1.2.3"])
def test_others_are_answered_where_the_settings_name_them(address: str) -> None:
    assert status(DATA, address) == 403
    assert status(DATA, address, "172.16.0.0/12") == 403
    assert status(DATA, address, "10.1.0.0/16", "192.168.0.1", "fe80::/10") == 200


@pytest.mark.parametrize("path", OPEN)
def test_health_and_metrics_are_for_everybody(path: str) -> None:
    assert status(path, "10.1.2.3") == 200


def test_what_is_no_network_is_refused_by_the_settings() -> None:
    with pytest.raises(Misconfigured, match="web_addresses"):
        settings.load(flags={("limits", "web_addresses"): ["everybody"]})
