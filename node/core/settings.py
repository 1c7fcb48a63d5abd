"""Settings: typed, frozen, complete. Every default stands in ``config/node.toml`` with its comment.

Units stand in the names. Precedence, strongest first: flags, environment ``LUNGNODE_SECTION_KEY``, the file given by
``--config``, ``config/node.toml``. An unknown key or a wrong type is ``Misconfigured`` and the node does not start.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from node.core.asked import Commitment, Query, check_asked
from node.core.audit import Audit, check_audit
from node.core.cluster import Bucket, Queue, Shared, check_bucket, check_cluster
from node.core.destination import KINDS as KINDS
from node.core.destination import Destination as Destination
from node.core.destination import Objects as Objects
from node.core.destination import check_objects
from node.core.dicomweb import Dicomweb, check_dicomweb
from node.core.errors import Misconfigured
from node.core.keeping import Priors, Retention, check_priors, check_retention
from node.core.lanes import Lanes, check_lanes
from node.core.limits import Limits, PeerLimits, check_limits, read_access
from node.core.login import Oidc, Web, check_login
from node.core.security import Tls, check_tls
from node.core.site import Site, check_sites, read_sites
from node.core.spelling import check_equipment, check_peers
from node.core.tracing import Tracing


@dataclass(frozen=True)
class Node:
    aet: str
    dicom_host: str
    dicom_port: int
    http_host: str
    http_port: int
    workers: int
    threads_per_worker: int
    log_level: str


@dataclass(frozen=True)
class Receive:
    processes: int
    max_associations: int
    max_pdu_bytes: int
    require_called_aet: bool
    calling_aets: tuple[str, ...]
    acse_timeout_seconds: float
    dimse_timeout_seconds: float
    network_timeout_seconds: float
    max_instance_bytes: int
    min_free_bytes: int
    fsync: bool


@dataclass(frozen=True)
class Completeness:
    quiet_seconds: float
    quiet_seconds_film: float
    hard_limit_seconds: float


@dataclass(frozen=True)
class Analysis:
    segmenter: str
    biomarkers: str
    systems: tuple[str, ...]
    ct_systems: tuple[str, ...]
    indicators: tuple[str, ...]
    ensemble: bool
    device: str
    max_attempts: int
    selection: str = ""


@dataclass(frozen=True)
class Results:
    timezone: str
    manufacturer: str
    model_name: str
    device_serial_number: str
    series_number_base: int


@dataclass(frozen=True)
class Delivery:
    destinations: tuple[str, ...]
    backoff_seconds: tuple[float, ...]
    max_attempts: int
    away_after: int
    acse_timeout_seconds: float
    dimse_timeout_seconds: float


@dataclass(frozen=True)
class Settings:
    node: Node
    receive: Receive
    completeness: Completeness
    analysis: Analysis
    lanes: Lanes
    results: Results
    delivery: Delivery
    objects: Objects
    query: Query
    commitment: Commitment
    dicomweb: Dicomweb
    web: Web
    oidc: Oidc
    retention: Retention
    priors: Priors
    audit: Audit
    tls: Tls
    limits: Limits
    destinations: Mapping[str, Objects]
    access: Mapping[str, PeerLimits]
    sites: Mapping[str, Site]
    database: Shared
    archive: Bucket
    queue: Queue
    tracing: Tracing

    @property
    def peers(self) -> tuple[Destination, ...]:
        """Every destination with what it is sent: those of the list, those that only have a table, those of sites."""
        of_sites = (text for site in self.sites.values() for text in site.destinations)
        names = dict.fromkeys((*self.delivery.destinations, *self.destinations, *of_sites))
        return tuple(
            dataclasses.replace(Destination.named(name), objects=self.destinations.get(name, self.objects))
            for name in names
        )


Tree = dict[str, dict[str, Any]]
TABLES = ("destinations", "access", "sites")  # sections of tables, one for each peer that differs, or site


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, str], Any] | None = None,
) -> Settings:
    """Settings from all four sources. ``flags``: {(section, key): value}, values of None are left out."""
    tree = _defaults()
    if file is not None:
        _merge(tree, _read(file), str(file))
    for (section, key), text in _from_environment(environment or {}, tree).items():
        tree[section][key] = text
    for (section, key), value in (flags or {}).items():
        if value is not None:
            tree[section][key] = value
    return _build(tree)


def as_tree(settings: Settings) -> Tree:
    """Plain sections, keys and values, for a child process; ``from_tree`` is the inverse."""
    return dataclasses.asdict(settings)


def from_tree(tree: Tree) -> Settings:
    return _build(tree)


def _defaults() -> Tree:
    text = resources.files("config").joinpath("node.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _read(file: Path) -> Tree:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"cannot read the settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} is not valid TOML: {error}") from error


def _merge(tree: Tree, other: Tree, where: str) -> None:
    for section, values in other.items():
        if section not in tree:
            raise Misconfigured(f"{where}: unknown section [{section}]; known: {', '.join(tree)}")
        if not isinstance(values, dict):
            raise Misconfigured(f"{where}: {section} is a section, not a value")
        for key, value in values.items():
            if key not in tree[section] and section not in TABLES:
                raise Misconfigured(f"{where}: unknown key {key!r} in [{section}]")
            tree[section][key] = value


def _from_environment(environment: Mapping[str, str], tree: Tree) -> dict[tuple[str, str], Any]:
    """LUNGNODE_SECTION_KEY; a list is written with commas. Any other LUNGNODE_ name is refused as a typing error."""
    known = {f"LUNGNODE_{s}_{k}".upper(): (s, k) for s, values in tree.items() for k in values if s not in TABLES}
    found: dict[tuple[str, str], Any] = {}
    for name, text in environment.items():
        if not name.startswith("LUNGNODE_"):
            continue
        if name not in known:
            raise Misconfigured(f"environment variable {name} names no setting")
        section, key = known[name]
        found[section, key] = _parse(text, tree[section][key], name)
    return found


def _parse(text: str, like: object, name: str) -> object:
    try:
        if isinstance(like, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(like, int):
            return int(text)
        if isinstance(like, float):
            return float(text)
        if isinstance(like, list):
            parts = [part.strip() for part in text.split(",") if part.strip()]
            return [float(part) for part in parts] if like and isinstance(like[0], (int, float)) else parts
    except (KeyError, ValueError) as error:
        raise Misconfigured(f"{name}: {text!r} is not a {type(like).__name__}") from error
    return text


def _build(tree: Tree) -> Settings:
    sections = {name: kind for name, kind in typing.get_type_hints(Settings).items() if name not in TABLES}
    found = {name: _section(name, kind, tree[name]) for name, kind in sections.items()}
    tables = {name: _table(name, values, tree["objects"]) for name, values in tree["destinations"].items()}
    access, sites = read_access(tree["access"]), read_sites(tree["sites"])
    settings = Settings(**found, destinations=tables, access=access, sites=sites)
    _check(settings)
    return settings


def _table(peer: str, values: object, usual: Mapping[str, Any]) -> Objects:
    """The table of one destination: what it does not name is as in [objects]."""
    where = f'destinations."{peer}"'
    if not isinstance(values, dict):
        raise Misconfigured(f"{where} is a table of the keys of [objects]")
    if unknown := set(values) - set(usual):
        raise Misconfigured(f"{where} knows no {', '.join(sorted(unknown))}; known: {', '.join(usual)}")
    found: Objects = _section(where, Objects, {**usual, **values})
    return found


def _section(name: str, kind: type, values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}
    if fields != set(values):
        raise Misconfigured(f"[{name}] must hold exactly {sorted(fields)}")
    return kind(**{key: _typed(f"{name}.{key}", values[key], hints[key]) for key in fields})


def _typed(name: str, value: object, kind: Any) -> object:
    if isinstance(kind, types.GenericAlias) or typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise Misconfigured(f"{name} is a list")
        inner = typing.get_args(kind)[0]
        return tuple(_typed(name, item, inner) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise Misconfigured(f"{name} is a {kind.__name__}, not {value!r}")
    return value


def _check(settings: Settings) -> None:
    """Ranges that a type cannot say."""
    node, receive = settings.node, settings.receive
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}", node.aet):
        raise Misconfigured(f"an AE title has 1 to 16 printable characters and no backslash, not {node.aet!r}")
    for name, port in (("dicom_port", node.dicom_port), ("http_port", node.http_port)):
        if not 0 <= port < 65536:
            raise Misconfigured(f"node.{name} is a port number, 0 to 65535")
    if node.workers < 0 or node.threads_per_worker < 0:
        raise Misconfigured("node.workers and node.threads_per_worker are 0 or more")
    if node.log_level not in ("debug", "info", "warning", "error"):
        raise Misconfigured("node.log_level is debug, info, warning or error")
    if receive.processes < 1 or receive.max_associations < 1 or not 4096 <= receive.max_pdu_bytes <= 1 << 20:
        raise Misconfigured("receive: processes and max_associations are at least 1, max_pdu_bytes 4096 to 1048576")
    for name in ("systems", "ct_systems", "indicators"):
        if len(set(getattr(settings.analysis, name))) < len(getattr(settings.analysis, name)):
            raise Misconfigured(f"analysis.{name} names a system twice")
    if settings.analysis.device not in ("cpu", "cuda", "auto"):
        raise Misconfigured("analysis.device is cpu, cuda or auto")
    if settings.analysis.max_attempts < 1:
        raise Misconfigured("analysis.max_attempts is at least 1")
    if settings.results.timezone and not re.fullmatch(r"(?!-0000)[+-](0\d|1[0-4])[0-5]\d", settings.results.timezone):
        raise Misconfigured('results.timezone is an offset such as "+0100", or empty')
    if not settings.delivery.backoff_seconds or min(settings.delivery.backoff_seconds) < 0:
        raise Misconfigured("delivery.backoff_seconds needs at least one number, none negative")
    check_lanes(settings.lanes)
    check_tls(settings.tls)
    check_dicomweb(settings.dicomweb)
    check_login(settings.web, settings.oidc)
    check_limits(settings.limits)
    check_retention(settings.retention)
    check_priors(settings.priors)
    check_audit(settings.audit)
    check_cluster(settings.database, settings.queue)
    watermark = settings.retention.high_watermark_percent
    check_bucket(settings.archive, settings.database, receive.max_instance_bytes, watermark)
    check_sites(settings.sites, settings.node.aet)
    for text in settings.tls.destinations:
        Destination.parse(text)
    if settings.delivery.away_after < 1:
        raise Misconfigured("delivery.away_after is at least 1")
    check_asked(settings.query, settings.commitment)
    if not 1 <= settings.results.series_number_base <= 2**31 - 100:
        raise Misconfigured("results.series_number_base is a positive IS value")
    if len(settings.delivery.destinations) != len(set(settings.delivery.destinations)):
        raise Misconfigured("delivery.destinations names a peer twice")
    _check_spelling(settings)
    check_objects("everyone", settings.objects)
    for peer in settings.peers:
        if peer.url and peer.objects and (peer.objects.commit or peer.objects.identity_check == "c-find"):
            raise Misconfigured(f"{peer.name} is no DICOM peer: commit and c-find are not for its table")
    for name, wanted in settings.destinations.items():
        check_objects(Destination.named(name).name, wanted)


def _check_spelling(settings: Settings) -> None:
    delivered = (*settings.delivery.destinations, *settings.destinations)
    delivered += tuple(text for site in settings.sites.values() for text in site.destinations)
    peers = (*delivered, *settings.tls.destinations, *settings.query.move_destinations, *settings.commitment.peers)
    peers += (settings.priors.source,) if settings.priors.source else ()
    check_peers((text, Destination.named(text).name) for text in peers)
    results = settings.results
    ours = {name: getattr(results, name) for name in ("manufacturer", "model_name", "device_serial_number")}
    check_equipment({f"results.{name}": text for name, text in ours.items()})
