"""``python healthy.py DATA``: 0 where the node on this data folder says that it is ready; else 1, and why not.

The health check of the image. It asks /health/ready as the node's own settings say: port and, with a certificate, TLS.
Whose certificate it is does not matter on the way to oneself. It needs nothing but Python.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 8.0


def why_not(data: Path) -> str:
    """Empty where the node is ready."""
    try:
        port = json.loads((data / "ports.json").read_text(encoding="utf-8"))["http"]
        web = json.loads((data / "run" / "settings.json").read_text(encoding="utf-8"))["web"]
    except (OSError, ValueError, KeyError) as error:
        return f"The node has not started: {error}"
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    url = f"{'https' if web['certificate'] else 'http'}://127.0.0.1:{port}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=trusting):
            return ""
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace")
    except OSError as error:
        return f"{url} does not answer: {error}"


if __name__ == "__main__":
    if sentence := why_not(Path(sys.argv[1])):
        sys.stdout.write(f"{sentence}\n")
        sys.exit(1)
