"""Writes docs/conformance.md from the code's own tables, so that the statement cannot differ from what is done.

Run as ``python -m tests.docs.conformance_page``; a test compares its output with the page. Status codes are read out of
the source lines that own them, with the comment that stands there.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from highdicom.sr import CodedConcept
from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from node import __version__
from node.core import settings
from node.core.destination import KINDS
from node.core.uids import PRODUCT_UID
from node.dimse import access, associating, contexts, scu, tls
from node.dimse.find import MODELS as FIND_MODELS
from node.dimse.retrieve import MODELS as RETRIEVE_MODELS
from node.pipeline import pixel_bytes
from node.pipeline.query_keys import KEYS
from node.results import character_sets, codes, common
from node.web import stow_client
from node.web.dicomweb.capabilities import representations
from node.web.dicomweb.json_model import INLINE_BYTES
from node.web.dicomweb.media import COMPRESSED as COMPRESSED_FRAMES
from node.web.dicomweb.reasons import OUT_OF_RESOURCES
from node.web.dicomweb.search import REQUIRED
from node.web.dicomweb.service import PATHS
from tests.docs import conformance_text as text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
PARAMETERS = (
    "node.aet", "node.dicom_host", "receive.require_called_aet", "receive.calling_aets", "receive.acse_timeout_seconds",
    "receive.dimse_timeout_seconds", "receive.network_timeout_seconds", "receive.max_instance_bytes",
    "delivery.destinations", "delivery.acse_timeout_seconds", "delivery.dimse_timeout_seconds", "query.serve",
    "query.move_destinations", "limits.calling_addresses", "limits.max_waiting_studies", "results.timezone",
)  # fmt: skip
OBJECTS = {  # of objects.kinds -> SOP class, transfer syntaxes, what it is
    "summary": ("Comprehensive 3D SR Storage", "the report"),
    "regions": ("Comprehensive 3D SR Storage", "AI regions: every focus as a region"),
    "heat-maps": ("Secondary Capture Image Storage", "heat over each film or key slice"),
    "heat-stacks": ("Multi-frame True Color Secondary Capture Image Storage", "heat over all slices of a CT"),
    "page": ("Secondary Capture Image Storage", "the report as a picture"),
    "segmentations": ("Segmentation Storage", "lungs and foci of a CT series"),
    "film-segmentations": ("Segmentation Storage", "lungs, heart and foci of a film"),
    "presentation-states": ("Grayscale Softcopy Presentation State Storage", "contours and foci over the source"),
    "key-images": ("Key Object Selection Document Storage", "where a model decided a disease"),
    "rejection-notes": ("Key Object Selection Document Storage", "pictures of an older analysis that are replaced"),
    "parametric-maps": ("Parametric Map Storage", "heat of CT key slices as numbers"),
}
COMPRESSED = {  # by kind; the second by objects.jpeg
    "heat-maps": "Explicit VR Little Endian; JPEG Baseline",
    "heat-stacks": "JPEG-LS Lossless; JPEG Baseline",
    "page": "JPEG-LS Lossless; JPEG Baseline",
}
CODE_LINE = re.compile(r"^([A-Z_]+)(?:: int)? = (0x[0-9A-F]{4})(?: +# (.*))?$", re.M)
REASON_LINE = re.compile(r"^    \((\w+), (0x[0-9A-F]{4}|OUT_OF_RESOURCES)\),(?: +# (.*))?$", re.M)
STATUS_LINE = re.compile(r"^    \((\w+), (0x[0-9A-F]{4})\),(?: +# (.*))?$", re.M)


def page() -> str:
    usual = settings.load()
    parts = (
        text.OVERVIEW.format(
            version=__version__,
            services=_services(),
            syntaxes=_table(("transfer syntax", "UID"), (_named(uid) for uid in contexts.TRANSFER_SYNTAXES)),
            objects=_objects(usual),
            aet=usual.node.aet,
            quiet=f"{usual.completeness.quiet_seconds:g}",
            processes=usual.receive.processes,
            quiet_film=f"{usual.completeness.quiet_seconds_film:g}",
            hard_limit=f"{usual.completeness.hard_limit_seconds:g}",
        ),
        text.SERVICES.format(
            storage_classes=_table(("SOP class", "UID"), (_named(uid) for uid in contexts.STORAGE)),
            product_uid=PRODUCT_UID,
            storage_statuses=_storage_statuses(),
            min_free=usual.receive.min_free_bytes,
            max_instance=usual.receive.max_instance_bytes,
            backoff=", ".join(f"{seconds:g}" for seconds in usual.delivery.backoff_seconds),
            attempts="no end" if not usual.delivery.max_attempts else f"{usual.delivery.max_attempts} attempts",
            away_after=usual.delivery.away_after,
            meanings=_table(
                ("status", "in the ledger as"), ((_hex(code), said) for code, said in scu.MEANINGS.items())
            ),
            query_models=_table(("SOP class", "UID"), (_named(uid) for uid in (*FIND_MODELS, *RETRIEVE_MODELS))),
            max_matches=usual.query.max_matches,
            query_keys=_rows(
                (key.level, key.keyword, key.vr, key.kind, "yes" if key.matched else "returned")
                for key in KEYS
                if "." not in key.keyword
            ),
            find_statuses=_statuses("node/dimse/find.py"),
            retrieve_statuses=_statuses("node/dimse/retrieve.py"),
            commitment=_commitment(usual),
            dicomweb=_dicomweb(usual),
            stow_files=stow_client.MOST_FILES,
            stow_bytes=stow_client.MOST_BYTES,
            every=len(contexts.EVERY),
            videos=", ".join(UID(uid).name for uid in contexts.VIDEO),
        ),
        text.COMMUNICATION.format(
            parameters=_parameters(),
            dicom_port=usual.node.dicom_port,
            tls_port=usual.tls.port,
            http_port=usual.node.http_port,
            http_host=usual.node.http_host,
            implementation_uid=PYNETDICOM_IMPLEMENTATION_UID,
            implementation_version=re.sub(r"\d+$", "", PYNETDICOM_IMPLEMENTATION_VERSION)
            + "xyz, version of pynetdicom",
            max_associations=usual.receive.max_associations,
            max_pdu=usual.receive.max_pdu_bytes,
            scu_pdu=associating.PDU_BYTES,
            rejections=_rows((f"{a}, {b}, {c}", words) for (a, b, c), words in access.WORDS.items()),
            product_uid=PRODUCT_UID,
            character_sets=", ".join(
                f"`{term}`" for term in sorted(character_sets.SINGLE | character_sets.EXTENDED, key=_by_number)
            ),
            ciphers=tls.CIPHERS,
        ),
        text.ANNEXES.format(
            copied=", ".join(f"`{keyword}`" for keyword in (*common.PATIENT, *common.STUDY)),
            series_base=usual.results.series_number_base,
            product_uid=PRODUCT_UID,
            private=codes.PRIVATE,
            concepts=_concepts(),
            model_concepts=_model_concepts(),
        ),
    )
    return "\n".join(_folded("\n".join(parts).splitlines()))


def _folded(lines: list[str]) -> Iterator[str]:
    """Sentences in lines of like length, whatever was put between them; tables and drawings as they are."""
    paragraph: list[str] = []
    for line in (*lines, ""):
        if re.match(r"[^\W\d]|`|\*\*|\d+,? ", line):
            paragraph.append(line)
            continue
        if paragraph:
            yield from textwrap.wrap(" ".join(paragraph), 116, break_long_words=False, break_on_hyphens=False)
            paragraph = []
        yield line


def _services() -> str:
    both, scp = "SCU and SCP", "SCP"
    rows = [("Verification", contexts.VERIFICATION, both)]
    rows += [(*_named(uid), both if _is_written(uid) else f"{scp}; SCU of retrievals") for uid in contexts.STORAGE]
    study_root = [uid for uid in (*FIND_MODELS, *RETRIEVE_MODELS) if "Study Root" in UID(uid).name]
    rows += [(*_named(uid), both if uid in study_root else scp) for uid in (*FIND_MODELS, *RETRIEVE_MODELS)]
    rows.append((*_named(StorageCommitmentPushModel), both))
    rows += [(name, "", "user agent") for name in ("STOW-RS Store Instances", "QIDO-RS Search for Studies")]
    rows += [(name, "", "origin server") for name in ("QIDO-RS Search", "WADO-RS Retrieve", "STOW-RS Store")]
    return _table(("service", "UID", "role"), rows)


def _is_written(uid: str) -> bool:
    """What results are, and their simpler forms; objects of every class go out by C-MOVE and C-GET besides."""
    simpler = {str(found) for found in common.DOCUMENTS}
    return str(UID(uid).name) in {name for name, _ in OBJECTS.values()} or uid in simpler


def _objects(usual: settings.Settings) -> str:
    if set(OBJECTS) != set(KINDS):
        raise AssertionError("OBJECTS names other kinds than node.core.destination")
    rows = []
    for kind, (sop_class, what) in OBJECTS.items():
        default = "yes" if kind in usual.objects.kinds else "by switch"
        rows.append((f"`{kind}`", what, sop_class, COMPRESSED.get(kind, "Explicit VR Little Endian"), default))
    return _table(("`objects.kinds`", "what", "SOP class", "transfer syntax", "by default"), rows)


def _storage_statuses() -> str:
    source = (ROOT / "node" / "dimse" / "status.py").read_text(encoding="utf-8")
    return _rows((code, name, said) for name, code, said in STATUS_LINE.findall(source))


def _statuses(module: str) -> str:
    """The constants of a module that are 16-bit codes, with the remark behind each."""
    found = CODE_LINE.findall((ROOT / module).read_text(encoding="utf-8"))
    rows = [(code, name.lower().replace("_", " "), said) for name, code, said in found]
    return _table(("status", "name", "when"), sorted(rows))


def _commitment(usual: settings.Settings) -> str:
    return text.COMMITMENT.format(
        statuses=_statuses("node/dimse/commitment.py"), ask_again=f"{usual.commitment.ask_again_seconds:g}"
    )


def _dicomweb(usual: settings.Settings) -> str:
    """The origin server, by its own tables."""
    wanted = usual.dicomweb
    reasons = (ROOT / "node" / "web" / "dicomweb" / "reasons.py").read_text(encoding="utf-8")
    required = (keyword for keywords in REQUIRED.values() for keyword in keywords)
    return text.DICOMWEB.format(
        prefix=wanted.prefix,
        paths=_rows((f"`{path.replace(':path', '')}`", ", ".join(representations(path))) for path in sorted(PATHS)),
        required=", ".join(required),
        max_matches=usual.query.max_matches,
        encoders=", ".join(str(UID(uid).name) for uid in pixel_bytes.ENCODERS),
        decodable=", ".join(str(UID(uid).name) for uid in sorted(pixel_bytes.DECODABLE)),
        media=_table(("transfer syntax", "media type"), ((str(UID(a).name), b) for a, b in COMPRESSED_FRAMES.items())),
        inline=INLINE_BYTES,
        most_upload=wanted.most_upload_bytes,
        silent=f"{wanted.silent_seconds:g}",
        reasons=_rows(
            (code if code.startswith("0x") else f"0x{OUT_OF_RESOURCES:04X}", name, said)
            for name, code, said in REASON_LINE.findall(reasons)
        ),
    ).rstrip()


def _parameters() -> str:
    """As config/node.toml writes them."""
    found, section = [], ""
    for line in (ROOT / "config" / "node.toml").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"\[(\w+)\]", line):
            section = heading[1]
        elif (setting := re.match(r"(\w+) = (.+?)\s*(?:#.*)?$", line)) and f"{section}.{setting[1]}" in PARAMETERS:
            found.append((f"`{section}.{setting[1]}`", f"`{setting[2]}`"))
    return _rows(found)


def _concepts() -> str:
    found = {value for value in vars(codes).values() if isinstance(value, CodedConcept)}
    key = [(code.scheme_designator, code.value, code.meaning) for code in found]
    return _rows((value, scheme, meaning) for scheme, value, meaning in sorted(key))


def _model_concepts() -> str:
    systems: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted((ROOT / "models" / "weights").glob("*.toml")):
        card = tomllib.loads(path.read_text(encoding="utf-8"))
        for one in (*card.get("classes", ()), *card.get("quantities", ())):
            if "value" in one:
                systems.setdefault((one["scheme"], one["value"], one["meaning"]), []).append(card["system"])
    return _rows(
        (value, scheme, meaning, ", ".join(of)) for (scheme, value, meaning), of in sorted(systems.items())
    )  # fmt: skip


def _named(uid: str) -> tuple[str, str]:
    return str(UID(uid).name), str(uid)


def _by_number(term: str) -> tuple[str, int]:
    prefix, _, number = term.rpartition(" ")
    return (prefix, int(number)) if number.isdigit() else (term, 0)


def _hex(code: int) -> str:
    return f"0x{code:04X}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"{_rows([head])}\n|{'---|' * len(head)}\n{_rows(rows)}"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
