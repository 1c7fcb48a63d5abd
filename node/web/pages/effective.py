"""The effective settings, to read: every key with its value, its meaning, and whether it is another than the default.

What is secret, or may hold one, is never drawn: a password in an address, an authorization that is not a reference.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from node.core import settings
from node.core.settings import Settings
from node.web.pages.site import Posted, Site

SECRET = ("authorization", "client_secret", "password", "token")  # words of keys
REFERENCE = re.compile(r"(env|file):\S+")  # where a secret is, which is none itself
PASSWORD = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
HIDDEN = "set, not shown"


@dataclass(frozen=True)
class Setting:
    key: str
    value: str
    default: str
    meaning: str

    @property
    def differs(self) -> bool:
        return self.value != self.default


@dataclass(frozen=True)
class Section:
    name: str
    meaning: str
    settings: tuple[Setting, ...]


class Effective:
    def __init__(self, site: Site, effective: Settings) -> None:
        self._site, self._effective = site, effective

    def routes(self) -> list[BaseRoute]:
        return [self._site.route("/settings", self._page, "settings")]

    def _page(self, request: Request, _: Posted) -> Response:
        only = request.query_params.get("only") == "differing"
        return self._site.page(request, "settings.html", sections=self._sections, only=only)

    @cached_property
    def _sections(self) -> list[Section]:
        usual, meanings = settings.as_tree(settings.load()), _meanings()
        return [
            Section(
                name,
                meanings.get((name, ""), ""),
                tuple(
                    Setting(key, shown(key, value), shown(key, usual[name].get(key)), meanings.get((name, key), ""))
                    for key, value in section.items()
                ),
            )
            for name, section in settings.as_tree(self._effective).items()
        ]


def shown(key: str, value: Any) -> str:
    """As TOML would have it, nearly; without secrets, also in the tables of single peers."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {shown(name, inner)}" for name, inner in value.items() if inner not in (None, ""))
    if any(word in key for word in SECRET) and value and not REFERENCE.fullmatch(str(value)):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value)
    return PASSWORD.sub(r"\1:***@", text)


def _meanings() -> dict[tuple[str, str], str]:
    """(section, key) -> the comment beside it in config/node.toml; the key is empty for the section itself."""
    found, section = dict[tuple[str, str], str](), ""
    for line in resources.files("config").joinpath("node.toml").read_text(encoding="utf-8").splitlines():
        if head := re.match(r"\[(\w+)\]\s*(?:#\s*(.*))?$", line):
            section = head[1]
            found[section, ""] = head[2] or ""
        elif entry := re.match(r"(\w+) = (.+?)\s*(?:#\s*(.*))?$", line):
            found[section, entry[1]] = entry[3] or ""
    return found
