"""One row of the audit trail as a DICOM audit message, PS3.15 A.5. Rows in, XML out; nothing is read or sent here.

Which event of A.5.3 a row is, and who takes which part in it, stands in ``FORMS``. Beside what the standard wants each
message names its row of the chain, with its hash, so that a collector's copy can be held against the trail. A patient
is named by the Patient ID alone; the name stays empty. A row that somebody has damaged still becomes a message.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from node.core.audit import OUTCOMES

DCM, RFC = "DCM", "RFC-3881"
Code = tuple[str, str, str]  # value, scheme, meaning; PS3.16 part CID 400 and following
START, STOP = ("110120", DCM, "Application Start"), ("110121", DCM, "Application Stop")
SOFTWARE = ("110131", DCM, "Software Configuration")
LOGIN, LOGOUT = ("110122", DCM, "Login"), ("110123", DCM, "Logout")
USERS = ("110137", DCM, "User Security Attributes Changed")
APPLICATION, SOURCE, DESTINATION = (
    ("110150", DCM, "Application"), ("110153", DCM, "Source Role ID"), ("110152", DCM, "Destination Role ID"),
)  # fmt: skip
ACTIVITY, ACCESSED = ("110100", DCM, "Application Activity"), ("110103", DCM, "DICOM Instances Accessed")
TRANSFERRED, QUERY = ("110104", DCM, "DICOM Instances Transferred"), ("110112", DCM, "Query")
ALERT, DELETED = ("110113", DCM, "Security Alert"), ("110105", DCM, "DICOM Study Deleted")
AUTHENTICATION, LOG_USED = ("110114", DCM, "User Authentication"), ("110101", DCM, "Audit Log Used")
STUDY_UID, CLASS_UID = ("110180", DCM, "Study Instance UID"), ("110181", DCM, "SOP Class UID")
PATIENT_NUMBER, URI = ("2", RFC, "Patient Number"), ("12", RFC, "URI")
LONGEST_DETAILS = 16_000  # letters
CHAIN_ROW = ("chain-row", "99LUNGNODE", "Row of the audit trail")


@dataclass(frozen=True)
class Form:
    """event, action: PS3.15 A.5.3. ours, theirs: roles; theirs None: nobody else takes part."""

    event: Code
    action: str
    ours: Code
    theirs: Code | None = None
    kind: Code | None = None
    we_ask: bool = False


FORMS = {
    "start": Form(ACTIVITY, "E", APPLICATION, kind=START, we_ask=True),
    "stop": Form(ACTIVITY, "E", APPLICATION, kind=STOP, we_ask=True),
    "settings": Form(ALERT, "E", APPLICATION, kind=SOFTWARE, we_ask=True),
    "command": Form(ALERT, "E", APPLICATION, APPLICATION, kind=SOFTWARE),
    "receipt": Form(TRANSFERRED, "C", DESTINATION, SOURCE),
    "refusal": Form(TRANSFERRED, "C", DESTINATION, SOURCE),
    "analysis": Form(ACCESSED, "C", APPLICATION, we_ask=True),
    "delivery": Form(TRANSFERRED, "R", SOURCE, DESTINATION, we_ask=True),
    "retrieve": Form(TRANSFERRED, "R", SOURCE, DESTINATION),
    "query": Form(QUERY, "E", DESTINATION, SOURCE),
    "view": Form(ACCESSED, "R", SOURCE, DESTINATION),
    "api": Form(QUERY, "E", DESTINATION, SOURCE),
    "verdict": Form(ACCESSED, "U", DESTINATION, SOURCE),
    "login": Form(AUTHENTICATION, "E", APPLICATION, APPLICATION, kind=LOGIN),
    "logout": Form(AUTHENTICATION, "E", APPLICATION, APPLICATION, kind=LOGOUT),
    "account": Form(ALERT, "E", APPLICATION, APPLICATION, kind=USERS),
    "deletion": Form(DELETED, "D", APPLICATION, APPLICATION, we_ask=True),
}
DAMAGED = Form(ALERT, "E", APPLICATION, we_ask=True)


@dataclass(frozen=True)
class Source:
    """Who tells: Audit Source ID, enterprise site, our AE title, name of the machine."""

    source: str
    site: str
    aet: str
    host: str


def message(row: Mapping[str, Any], source: Source, patient: tuple[str, str] | None = None) -> bytes:
    """row: chained, as ``db.audit.rows`` gives it; patient: Patient ID and issuer. UTF-8 with a declaration."""
    form, details = FORMS.get(row["kind"], DAMAGED), _details(row)
    if row["kind"] == "api" and details.get("path", "").endswith("/audit"):
        form = Form(LOG_USED, "R", APPLICATION, APPLICATION)
    root = Element("AuditMessage")
    event = SubElement(
        root, "EventIdentification",
        EventActionCode=form.action, EventDateTime=row["at"], EventOutcomeIndicator=OUTCOMES.get(row["outcome"], "12"),
    )  # fmt: skip
    _code(event, "EventID", form.event)
    if form.kind:
        _code(event, "EventTypeCode", form.kind)
    if row["outcome"] != "success" and details.get("reason"):
        SubElement(event, "EventOutcomeDescription").text = _text(details["reason"])
    _participants(root, form, row, source)
    origin = SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source.source))
    if source.site:
        origin.set("AuditEnterpriseSiteID", _text(source.site))
    SubElement(origin, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
    _objects(root, row, details, patient)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _details(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Empty where they are longer than a datagram holds; they stand in the trail."""
    try:
        found = json.loads(row["details"]) if len(row["details"]) <= LONGEST_DETAILS else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _participants(root: Element, form: Form, row: Mapping[str, Any], source: Source) -> None:
    if form.theirs is not None:
        whom = row["actor"] or row["aet"] or row["address"] or "unknown"
        _participant(root, form.theirs, whom, row["aet"], row["address"], asks=not form.we_ask)
    elif row["actor"]:
        _participant(root, APPLICATION, row["actor"], "", "", asks=True)
    _participant(root, form.ours, source.source, source.aet, source.host, asks=form.we_ask)


def _participant(root: Element, role: Code, user: str, aet: str, address: str, *, asks: bool) -> None:
    found = SubElement(root, "ActiveParticipant", UserID=_text(user), UserIsRequestor="true" if asks else "false")
    if aet:
        found.set("AlternativeUserID", f"AETITLES={_text(aet)}")  # PS3.15 A.5.2.1
    if address:
        found.set("NetworkAccessPointID", _text(address))
        found.set("NetworkAccessPointTypeCode", "2" if _is_ip(address) else "1")
    _code(found, "RoleIDCode", role)


def _objects(
    root: Element, row: Mapping[str, Any], details: Mapping[str, Any], patient: tuple[str, str] | None
) -> None:
    if row["kind"] in ("query", "api"):
        model = details.get("sop_class_uid", "")
        named = (CLASS_UID, model) if model else (URI, details.get("path", "") or "/")
        asked = base64.b64encode(json.dumps(details, sort_keys=True).encode()).decode()
        _object(root, named[0], named[1], "2", "3" if model else "24", query=asked)
    if row["study_uid"]:
        _object(root, STUDY_UID, row["study_uid"], "2", "3")
    if patient is not None:
        whole = "^^^".join(part for part in patient if part)  # HL7 CX, the assigning authority its fourth component
        _object(root, PATIENT_NUMBER, whole, "1", "1")
    pairs = {"hash": row["hash"], "details": json.dumps(details, sort_keys=True)}
    _object(root, CHAIN_ROW, str(row["sequence"]), "2", "13", details=pairs)


def _object(
    root: Element, kind: Code, uid: str, type_code: str, role: str, query: str = "", details: Mapping[str, str] = {}
) -> None:
    found = SubElement(
        root, "ParticipantObjectIdentification",
        ParticipantObjectID=_text(uid), ParticipantObjectTypeCode=type_code, ParticipantObjectTypeCodeRole=role,
    )  # fmt: skip
    _code(found, "ParticipantObjectIDTypeCode", kind)
    if query:
        SubElement(found, "ParticipantObjectQuery").text = query
    else:
        SubElement(found, "ParticipantObjectName")
    for name, value in details.items():
        encoded = base64.b64encode(value.encode()).decode()
        SubElement(found, "ParticipantObjectDetail", type=name, value=encoded)


def _code(parent: Element, name: str, code: Code) -> None:
    value, scheme, meaning = code
    SubElement(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _text(value: str) -> str:
    """What XML 1.0 can hold of it (section 2.2)."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
