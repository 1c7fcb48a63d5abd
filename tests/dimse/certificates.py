"""An authority of the tests' own and what it signs, by the openssl command; everything lies in one folder."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from node.core.security import Tls
from tests.peers import LOOPBACK, program


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1 that are valid for a day."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.own = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        self._openssl(
            "req", "-x509", *_KEY, "-nodes", "-days", "1", "-subj", f"/CN={name}",
            "-keyout", self.own.key, "-out", self.own.certificate,
        )  # fmt: skip

    @property
    def file(self) -> str:
        return str(self.own.certificate)

    def sign(self, name: str, days: int = 1) -> Pair:
        """A certificate under this name, with its key; the same name again replaces both files."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:{LOOPBACK}\n")
        self._openssl("req", "-new", *_KEY, "-nodes", "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", pair.certificate,
        )  # fmt: skip
        return pair

    def tls(self, pair: Pair, **changes: object) -> Tls:
        """Settings of a node with this pair that trusts those whom the authority signed, on a free port."""
        values: dict[str, object] = {
            "port": 0,
            "only": False,
            "certificate": str(pair.certificate),
            "key": str(pair.key),
            "authorities": self.file,
            "require_peer_certificate": True,
            "check_host_name": True,
            "destinations": (),
        }
        return Tls(**(values | changes))  # type: ignore[arg-type]

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run([program("openssl"), *map(str, arguments)], check=True, capture_output=True, timeout=60)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
