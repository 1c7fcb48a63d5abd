"""The image and the compose files, without an engine: what a builder and Compose would refuse, the main rules of
hadolint (their numbers stand beside), and that every file, setting and port that is named is the project's.

Not covered: that the image builds and its containers run, which needs an engine; that the tags which are pinned can
still be fetched.
"""

from __future__ import annotations

import json
import re
import ssl
import stat
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from node.core import settings
from tests.deploy.containers import DOCKER, DOCKERFILE, FINAL, ROOT, UID, compose, effective, nodes
from tests.peers import program, run

FILES = ("compose.yml", "cluster.yml")
SERVICES = [(file, name) for file in FILES for name in compose(file)["services"]]
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
PINNED = r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*"


def service(file: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose(file)["services"][name]
    return found


def test_every_base_image_is_pinned() -> None:  # DL3006, DL3007
    defaults = dict(one.text.split("=", 1) for one in DOCKERFILE if one.word == "ARG" and "=" in one.text)
    stages = {one.stage for one in DOCKERFILE}
    for one in DOCKERFILE:
        if one.word == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda name: defaults[name[1]], one.text.split(" AS ")[0])
            assert image in stages or re.fullmatch(PINNED, image), image
    assert {f"viewer-{which}" for which in ("ohif", "none")} <= stages


def test_the_image_ends_as_somebody_who_is_not_root() -> None:  # DL3002
    users = [one.text for one in FINAL if one.word == "USER"]
    assert users == [f"{UID}:{UID}"]
    assert any(f"--uid {UID}" in one.text and "nologin" in one.text for one in FINAL if one.word == "RUN")


def test_the_dockerfile_keeps_to_the_main_rules_of_hadolint() -> None:
    words = [one.word for one in DOCKERFILE]
    assert not {"ADD", "MAINTAINER"} & set(words)  # DL3020, DL4000
    for one in DOCKERFILE:
        if one.word in ("CMD", "ENTRYPOINT"):
            assert one.text.startswith("["), one  # DL3025
        if one.word == "WORKDIR":
            assert one.text.startswith("/"), one  # DL3000
        if one.word == "RUN":
            assert not re.search(r"\b(sudo|apt-get|apt|wget|curl)\b|\|", one.text), one  # DL3004, DL3008, DL4006
            pinned = ("-c constraints.txt", "torch==", "--no-deps .")
            assert "pip install" not in one.text or any(part in one.text for part in pinned), one  # DL3013
        if one.word == "COPY" and not one.text.split()[-1].startswith("/"):
            assert any(other.stage == one.stage and other.word == "WORKDIR" for other in DOCKERFILE), one  # DL3045
    assert any("PIP_NO_CACHE_DIR=1" in one.text for one in DOCKERFILE if one.word == "ENV")  # DL3042
    assert sum(one.word == "HEALTHCHECK" for one in FINAL) == 1 and FINAL[-1].word == "CMD"


def test_torch_is_that_of_the_project_and_comes_from_the_index_of_the_variant() -> None:
    wanted = next(
        one for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if "torch" in one
    )
    (line,) = (one.text for one in DOCKERFILE if "torch==" in one.text)
    assert line.endswith(f" {wanted}") and "download.pytorch.org/whl/${TORCH}" in line
    assert any(one.text == "TORCH=cpu" for one in DOCKERFILE)


def test_whatever_is_copied_is_there_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for one in DOCKERFILE:
        if one.word == "COPY" and not one.text.startswith("--from"):
            for source in one.text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) for pattern in let), f".dockerignore leaves {source} out"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= set(let)


def test_ports_and_settings_of_the_image_are_the_nodes() -> None:
    environment: dict[str, str] = {}
    for one in FINAL:
        if one.word == "ENV":
            environment |= dict(re.findall(r"(\w+)=(\S+)", one.text))
    chosen = effective(environment)
    exposed = next(one.text for one in FINAL if one.word == "EXPOSE")
    assert exposed.split() == [str(port) for port in (chosen.node.dicom_port, chosen.tls.port, chosen.node.http_port)]
    assert chosen.node.http_host == "0.0.0.0"  # of the container; what is published is for Compose to say


@pytest.mark.parametrize("file", FILES)
def test_compose_takes_the_file(file: str) -> None:
    """The schema is that of Compose 1.29 (compose-spec, Apache 2.0), which did not know the name of a project yet."""
    found = compose(file)
    assert re.fullmatch(r"[a-z0-9-]+", found.pop("name"))
    jsonschema.Draft7Validator(SCHEMA).validate(found)
    for part in ("volumes", "networks", "secrets"):
        used = [str(one).split(":")[0] for each in found["services"].values() for one in each.get(part, [])]
        assert {one for one in used if not one.startswith((".", "/"))} == set(found.get(part, {})), part


@pytest.mark.parametrize("file", FILES)
def test_docker_compose_itself_takes_the_file(file: str) -> None:
    docker = program("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("the docker client here has no compose plugin")
    ran = run([docker, "compose", "--file", str(DOCKER / file), "config", "--quiet"])
    assert ran.code == 0, ran.text


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_every_service_is_confined(file: str, name: str) -> None:
    one = service(file, name)
    assert one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one and one["restart"] == "unless-stopped"
    assert "healthcheck" in one or "build" in one, "the image has one of its own"
    assert re.fullmatch(PINNED, one["image"])
    assert one.get("read_only") or name == "orthanc", "Orthanc's image writes its configuration at its start"


@pytest.mark.parametrize("file", FILES)
def test_no_password_stands_in_a_file(file: str) -> None:
    text = (DOCKER / file).read_text(encoding="utf-8")
    for name, value in re.findall(r"^\s+(\w*(?:PASSWORD|TOKEN|KEY|SECRET)\w*): (.+)$", text, re.M):
        assert value.startswith("/run/secrets/"), name
    made = (DOCKER / "secrets.sh").read_text(encoding="utf-8")
    for secret in compose(file)["secrets"].values():
        assert f'"$folder/{secret["file"].removeprefix("secrets/")}"' in made
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def _made(folder: Path) -> dict[str, str]:
    """The secrets by name, after the script has run."""
    ran = run(["sh", str(DOCKER / "secrets.sh"), str(folder), "node.example.org"])
    assert ran.code == 0, ran.text
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_secrets_are_made_once_and_for_their_readers_alone(tmp_path: Path) -> None:
    made, again = (_made(tmp_path / "secrets") for _ in range(2))
    assert made == again
    assert {f"secrets/{name}" for name in made} == {
        secret["file"] for file in FILES for secret in compose(file)["secrets"].values()
    }
    assert made["pgpass"] == f"postgres:5432:lungnode:lungnode:{made['postgres-password']}"
    for path in (tmp_path / "secrets").iterdir():
        others = stat.S_IRWXG | stat.S_IRWXO
        assert path.name == "web-certificate.pem" or not path.stat().st_mode & others, path.name
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "secrets" / "web-certificate.pem", tmp_path / "secrets" / "web-key.pem")


@pytest.mark.parametrize("file", FILES)
def test_every_setting_of_a_node_exists_and_every_port_is_its_own(file: str) -> None:
    for name, one in nodes(file).items():
        chosen = effective(one["environment"])
        known = {str(chosen.node.dicom_port), str(chosen.node.http_port), str(chosen.tls.port)}
        assert {port.split(":")[-1] for port in one.get("ports", [])} <= known
        assert chosen.web.certificate and chosen.web.key, f"{name} takes passwords"
        for path in (
            chosen.web.certificate,
            chosen.web.key,
            one["environment"].get("PGPASSFILE", "/run/secrets/web-key"),
        ):
            assert path.removeprefix("/run/secrets/") in one["secrets"]
        assert int(one["stop_grace_period"].removesuffix("s")) > 180  # docs/operations.md


def test_the_roles_of_the_cluster_share_what_they_must_and_each_has_its_own_data() -> None:
    found = nodes("cluster.yml")
    roles = {effective(one["environment"]).queue.roles for one in found.values()}
    assert roles == {("receiver",), ("web",), ("worker",)}
    shared = {(chosen.database.url, chosen.database.archive) for chosen in map(_settings, found.values())}
    ((url, archive),) = shared
    assert archive == "/archive" and url.startswith("postgresql://lungnode@postgres:")
    for one in found.values():
        assert "/data" in one["volumes"] and "archive:/archive" in one["volumes"]
        assert one["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert compose("cluster.yml")["networks"]["inside"]["internal"]
    assert service("cluster.yml", "postgres")["networks"] == ["inside"]


def _settings(one: dict[str, Any]) -> settings.Settings:
    return effective(one["environment"])


def test_results_go_to_the_pacs_of_the_cluster_which_knows_the_node() -> None:
    orthanc = service("cluster.yml", "orthanc")["environment"]
    chosen = _settings(nodes("cluster.yml")["worker"])
    assert chosen.delivery.destinations == (f"{orthanc['ORTHANC__DICOM_AET']}@orthanc:4242",)
    known = json.loads(orthanc["ORTHANC__DICOM_MODALITIES"])["lungnode"]
    assert known == [chosen.node.aet, "receiver", chosen.node.dicom_port]


def test_prometheus_of_the_cluster_scrapes_every_role_and_grafana_finds_its_files() -> None:
    ran = run([program("promtool"), "check", "config", "--syntax-only", str(DOCKER / "prometheus" / "cluster.yml")])
    assert ran.code == 0, ran.text
    (job,) = compose("prometheus/cluster.yml")["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert set(names["names"]) == set(nodes("cluster.yml"))
    assert names["port"] == settings.load().node.http_port
    secrets = service("cluster.yml", "prometheus")["secrets"]
    for path in (job["authorization"]["credentials_file"], job["tls_config"]["ca_file"]):
        assert path.removeprefix("/run/secrets/") in secrets
    for name in ("prometheus", "grafana"):
        for volume in service("cluster.yml", name)["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (DOCKER / source).is_dir()
    (source,) = compose("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    assert service("cluster.yml", "grafana")["network_mode"] == "service:prometheus"


class Answering(BaseHTTPRequestHandler):
    """/health/ready of a node: ready, or not."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/ready" else 404)
        self.end_headers()
        self.wfile.write(b"1 of 2 workers run.")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(params=[False, True], ids=["http", "https"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data folder as a node leaves it, beside a server at the port that it names."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    certificate = ""
    if request.param:
        _made(tmp_path / "secrets")
        certificate = str(tmp_path / "secrets" / "web-certificate.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, tmp_path / "secrets" / "web-key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "ports.json").write_text(json.dumps({"dicom": 1, "http": server.server_port}))
    (tmp_path / "run" / "settings.json").write_text(json.dumps({"web": {"certificate": certificate}}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_the_health_check_says_what_the_node_says(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = ["python3", str(DOCKER / "healthy.py"), str(data)]
    assert run(check).code == 0
    monkeypatch.setattr(Answering, "status", 503)
    ran = run(check)
    assert ran.code == 1 and "1 of 2 workers run." in ran.out
    (data / "ports.json").unlink()
    ran = run(check)
    assert ran.code == 1 and "has not started" in ran.out
