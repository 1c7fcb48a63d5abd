"""The Kubernetes manifests against the schemas of Kubernetes, strictly, and what the schemas do not say: that names
meet, that every pod is confined, and that each role is told what the settings know.

Not covered: a cluster that runs them; the volume's class and the database, which are a site's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from node.core.settings import Settings
from tests.deploy.containers import DOCKER, FINAL, UID, effective, nodes

FOLDER = DOCKER / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
VERSIONS = ("1.30", "1.33")
ROLES = ("receiver", "web", "worker")
Manifest = dict[str, Any]


def manifests() -> Iterator[Manifest]:
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))


ALL = list(manifests())


def of_kind(kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in ALL if one["kind"] == kind}


def pod(role: str) -> Manifest:
    found: Manifest = of_kind("Deployment")[role]["spec"]["template"]["spec"]
    return found


def container(role: str) -> Manifest:
    (found,) = pod(role)["containers"]
    return dict(found)


def chosen(role: str) -> Settings:
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert container(role)["envFrom"] == [{"configMapRef": {"name": generated["name"]}}]
    environment = dict(literal.split("=", 1) for literal in generated["literals"])
    return effective(environment | {one["name"]: one["value"] for one in container(role)["env"] if "value" in one})


def selected(selector: Manifest) -> set[str]:
    """The roles whose pods carry these labels."""
    labels = {role: of_kind("Deployment")[role]["spec"]["template"]["metadata"]["labels"] for role in ROLES}
    return {role for role in ROLES if selector.get("matchLabels", selector).items() <= labels[role].items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    for one in ALL:
        kubernetes_validate.validate(one, version, strict=True)
    assert set(of_kind("Deployment")) == set(ROLES)
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


@pytest.mark.parametrize("role", ROLES)
def test_every_pod_is_confined_and_can_be_watched_and_moved(role: str) -> None:
    security, one = pod(role)["securityContext"], container(role)
    assert security["runAsNonRoot"] and security["runAsUser"] == security["fsGroup"] == UID
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    own = one["securityContext"]
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not pod(role)["automountServiceAccountToken"] and not pod(role)["enableServiceLinks"]
    paths = {probe: one[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready",
    }  # fmt: skip
    assert set(one["resources"]["requests"]) == {"cpu", "memory"} and "memory" in one["resources"]["limits"]
    assert pod(role)["terminationGracePeriodSeconds"] > 180  # docs/operations.md
    (budget,) = (one for one in of_kind("PodDisruptionBudget").values() if selected(one["spec"]["selector"]) == {role})
    assert budget["metadata"]["name"] == role and of_kind("Deployment")[role]["spec"]["replicas"] > 1


def test_the_pods_of_all_roles_are_one_but_for_their_names_ports_and_sizes() -> None:
    def shared(role: str) -> str:
        (spread,) = pod(role)["topologySpreadConstraints"]
        assert selected(spread["labelSelector"]) == {role}
        told = [one for one in container(role)["env"] if one["name"] != "LUNGNODE_QUEUE_ROLES"]
        one = {**container(role), "env": told, "ports": [], "resources": {}}
        return yaml.safe_dump({**pod(role), "containers": [one], "topologySpreadConstraints": []})

    assert len({shared(role) for role in ROLES}) == 1


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_told_what_the_settings_know(role: str) -> None:
    settings = chosen(role)
    assert settings.queue.roles == (role,)
    ports = {one["name"]: one["containerPort"] for one in container(role)["ports"]}
    wanted = {"https": settings.node.http_port}
    assert ports == wanted | ({"dicom": settings.node.dicom_port} if role == "receiver" else {})
    mounts = {one["name"]: one["mountPath"] for one in container(role)["volumeMounts"]}
    assert settings.web.certificate == f"{mounts['tls']}/tls.crt" and settings.web.key == f"{mounts['tls']}/tls.key"
    assert settings.database.archive == mounts["archive"]
    assert any(one.word == "VOLUME" and mounts["data"] in one.text for one in FINAL)
    assert {one["name"] for one in pod(role)["volumes"]} == set(mounts)
    (claim,) = of_kind("PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert {"persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}.items() <= next(
        one for one in pod(role)["volumes"] if one["name"] == "archive"
    ).items()


def test_the_image_is_that_of_compose_and_the_password_is_nowhere() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert {container(role)["image"] for role in ROLES} == {image["name"]}
    assert {one["image"] for one in nodes("cluster.yml").values()} == {f"{image['name']}:{image['newTag']}"}
    assert not of_kind("Secret")
    for role in ROLES:
        (password,) = (one for one in container(role)["env"] if "PASSWORD" in one["name"])
        assert "value" not in password and password["valueFrom"]["secretKeyRef"]["name"] == "database"


def test_every_service_reaches_a_port_of_its_role_and_nothing_else_is_open() -> None:
    reached = {}
    for service in of_kind("Service").values():
        (role,) = selected(service["spec"]["selector"])
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] in {one["name"] for one in container(role)["ports"]}
        reached[role] = port["targetPort"]
    assert reached == {"receiver": "dicom", "web": "https"}
    policies = of_kind("NetworkPolicy")
    closed = policies.pop("nothing-else")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        (role, port["port"])
        for policy in policies.values()
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
        for role in selected(policy["spec"]["podSelector"])
    }
    assert opened == {("receiver", "dicom")} | {(role, "https") for role in ROLES}
    outwards = {port["port"] for rule in policies["outwards"]["spec"]["egress"] for port in rule["ports"]}
    database = chosen("web").database.url
    assert {53, 104, int(database.rsplit(":", 1)[1].split("/")[0])} <= outwards
    assert selected(policies["outwards"]["spec"]["podSelector"]) == set(ROLES)
