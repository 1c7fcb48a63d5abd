"""The Native DICOM Model (PS3.19 annex A.1) of a data set that is at hand as DICOM JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

from node.web.dicomweb.json_model import PARTS_OF_NAME, Model

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")  # PS3.19 Table A.1.5-2


def encoded(model: Model) -> bytes:
    """One document."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _fill(root, model)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _fill(parent: Element, model: Model) -> None:
    for tag, attribute in model.items():
        node = SubElement(parent, "DicomAttribute", {"tag": tag, "vr": attribute["vr"]})
        if keyword := keyword_for_tag(int(tag, 16)):
            node.set("keyword", keyword)
        if "BulkDataURI" in attribute:
            SubElement(node, "BulkData", {"uri": attribute["BulkDataURI"]})
        elif "InlineBinary" in attribute:
            SubElement(node, "InlineBinary").text = attribute["InlineBinary"]
        else:
            _values(node, attribute["vr"], attribute.get("Value", ()))


def _values(node: Element, vr: str, values: Iterable[Any]) -> None:
    for number, value in enumerate(values, start=1):
        place = {"number": str(number)}
        if vr == "SQ":
            _fill(SubElement(node, "Item", place), value)
        elif vr == "PN":
            _name(SubElement(node, "PersonName", place), value or {})
        else:
            SubElement(node, "Value", place).text = "" if value is None else _legal(str(value))


def _name(node: Element, name: dict[str, str]) -> None:
    for part in PARTS_OF_NAME:
        if part in name:
            group = SubElement(node, part)
            for component, text in zip(COMPONENTS, name[part].split("^"), strict=False):
                if text:
                    SubElement(group, component).text = _legal(text)


def _legal(text: str) -> str:
    """Without the control signs that XML 1.0 cannot carry."""
    return "".join(sign if sign >= " " or sign in "\t\n\r" else "\ufffd" for sign in text)
