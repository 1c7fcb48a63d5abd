"""Writes docs/configuration.md from config/node.toml, so that the page cannot differ from the defaults.

Run as ``python -m tests.docs.settings_page``; a test compares its output with the page.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """\
# Configuration

Every setting, its default and its meaning, written from `config/node.toml`. A file given by `--config` names only what
differs. Strongest first: command-line flag, environment variable, `--config` file, `config/node.toml`. An unknown
section, key or `LUNGNODE_` variable refuses to start with a sentence, as does a value of a wrong type or out of range.

Environment: `LUNGNODE_SECTION_KEY`, lists with commas, for example `LUNGNODE_NODE_WORKERS=2` and
`LUNGNODE_DELIVERY_DESTINATIONS=PACS@pacs.example:104,ARCHIVE@archive.example:104`.

The DICOM port listens on every address by default, since scanners must reach it, and takes any calling AE title until
`receive.calling_aets` names some. Keep it in a network of its own, or give
the node a certificate and set `tls.only`.
"""


def page() -> str:
    lines = [HEAD]
    for line in (ROOT / "config" / "node.toml").read_text(encoding="utf-8").splitlines():
        if section := re.match(r"\[(\w+)\]\s*(?:#\s*(.*))?$", line):
            note = f"{section[2][0].upper()}{section[2][1:]}\n\n" if section[2] else ""
            lines.append(f"\n## [{section[1]}]\n\n{note}| key | default | meaning |\n|---|---|---|\n")
        elif setting := re.match(r"(\w+) = (.+?)\s*(?:#\s*(.*))?$", line):
            lines.append(f"| `{setting[1]}` | `{setting[2]}` | {setting[3] or ''} |\n")
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
