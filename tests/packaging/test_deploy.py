"""The files of deploy/ agree with one another and with the server, which reads their settings; nothing is run in a
container here, see docs/deployment.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import click
import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from plaudit_server import config, testing
from plaudit_server.cli.main import cli
from plaudit_server.config import Config
from plaudit_server.ops import health
from tests.service.operators import scrape, with_admin

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


INSTRUCTIONS = _instructions()
_LAST = max(number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
BUILD, IMAGE = INSTRUCTIONS[:_LAST], INSTRUCTIONS[_LAST:]


def _of(name: str, stage: list[tuple[str, str]] = IMAGE) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def _image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in _of("ENV") for pair in shlex.split(line))


def _copies(stage: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What is copied from the repository, and where to."""
    for line in _of("COPY", stage):
        if not line.startswith("--from"):
            *sources, target = line.split()
            yield from ((source, target) for source in sources)


def _in_repository(path: str) -> Path:
    """The file of the repository that the image has under a path."""
    [source] = [source for source, target in _copies(IMAGE) if target == path]
    return ROOT / source


def _arguments(command: list[str]) -> tuple[str, dict[str, Any]]:
    """The command's name and parameters, as the command line itself reads them. Raises click.UsageError."""
    name, *arguments = command
    # Under its group, because a command keeps the group's settings from its first use.
    group = click.Context(cli, **cli.context_settings)
    context = cli.commands[name].make_context(name, list(arguments), parent=group)
    return name, {key: value for key, value in context.params.items() if value not in (None, ())}


def _config(command: list[str], environment: Mapping[str, str]) -> Config:
    """The configuration that a container of our image would serve with."""
    name, flags = _arguments(command)
    assert name == "serve"
    variables = _image_environment() | dict(environment)
    file = variables.pop("PLAUDIT_CONFIG")
    return config.load(flags, variables, _in_repository(file))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _manifests() -> dict[str, Any]:
    """The objects that the kustomization lists, by kind."""
    listed = _yaml(KUBERNETES / "kustomization.yaml")["resources"]
    return {manifest["kind"]: manifest for manifest in map(_yaml, (KUBERNETES / name for name in listed))}


def _time_to_stop(settings: Config) -> float:
    return settings.connections.drain_delay_seconds + settings.connections.shutdown_grace_seconds


# The image


def test_image_serves_with_the_settings_beside_it() -> None:
    [entry], [command] = map(json.loads, _of("ENTRYPOINT")), map(json.loads, _of("CMD"))
    settings = _config(command, {})

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry == ["plaudit-server"]
    assert set(entry) <= scripts.keys()
    assert settings.authenticated
    scheme, path = settings.store.split(":")
    assert scheme == "sqlite"
    assert str(PurePosixPath(path).parent) in json.loads(_of("VOLUME")[0])
    assert [settings.listen] == [f"0.0.0.0:{port}" for port in _of("EXPOSE")]


def test_image_runs_as_nobody_special_who_owns_the_data() -> None:
    [user], [volume] = _of("USER"), json.loads(_of("VOLUME")[0])
    uid, gid = user.split(":")
    commands = [json.loads(line) for line in _of("RUN")]

    assert int(uid) > 0
    assert ["--uid", uid] == next(c for c in commands if c[0] == "useradd")[1:3]
    assert next(c for c in commands if c[0] == "install" and c[-1] == volume)[2:6] == ["-o", uid, "-g", gid]
    assert [name for name, _ in IMAGE].index("USER") > max(i for i, (name, _) in enumerate(IMAGE) if name == "RUN")


def test_health_check_of_the_image_is_a_command_of_ours() -> None:
    [check] = _of("HEALTHCHECK")
    program, *command = json.loads(check[check.index("CMD") + 3 :])

    assert program == "plaudit-server"
    assert _arguments(command)[0] == "health"
    # It uses the image's own settings, and times out before Docker does.
    timeout = float(re.findall(r"--timeout=(\d+)s", check)[0])
    assert _arguments(command)[1]["timeout"] < timeout


def test_image_has_every_file_that_the_wheel_is_built_from(tmp_path: Path) -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert {source for source, _ in (*_copies(BUILD), *_copies(IMAGE))} == allowed

    for source, target in _copies(BUILD):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / target)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(list((tmp_path / "out").glob("plaudit-*.whl"))) == 1


def test_image_installs_the_pinned_versions_with_the_driver_of_postgresql_and_tracing() -> None:
    [installed] = [json.loads(line) for line in _of("RUN", BUILD) if "install" in line]
    environment = dict(pair.split("=", 1) for line in _of("ENV", BUILD) for pair in shlex.split(line))

    assert installed[-1] == ".[server,jwt,postgres,schema,tracing]"
    assert environment["PIP_CONSTRAINT"] == "/src/constraints.txt"
    assert "/opt/plaudit /opt/plaudit" in "".join(_of("COPY"))


# Compose


@pytest.fixture(scope="module")
def compose() -> Any:
    return _yaml(DEPLOY / "compose.yaml")


@pytest.mark.parametrize("name", ["plaudit-a", "plaudit-b"])
def test_servers_of_compose_read_their_settings(compose: Any, name: str) -> None:
    service = compose["services"][name]
    [command] = map(json.loads, _of("CMD"))
    settings = _config(command, {key: str(value) for key, value in service["environment"].items()})

    database = re.fullmatch(r"postgresql://(\w+)@(\w+):5432/(\w+)", settings.store)
    assert database is not None
    assert database[2] in compose["services"]
    assert database[2] in service["depends_on"]
    given = compose["services"][database[2]]["environment"]
    assert (database[1], database[3]) == (given["POSTGRES_USER"], given["POSTGRES_DB"])
    assert service["environment"]["PGPASSWORD"] == given["POSTGRES_PASSWORD"]
    assert int(service["stop_grace_period"].removesuffix("s")) > _time_to_stop(settings)
    assert service["read_only"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_names_in_compose_lead_somewhere(compose: Any) -> None:
    for service in compose["services"].values():
        assert set(service["networks"]) <= compose["networks"].keys()
        assert set(service.get("depends_on", ())) <= compose["services"].keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"]


def test_balancer_of_compose_finds_its_servers_and_is_published_to_this_machine_alone(compose: Any) -> None:
    balancer = (DEPLOY / "haproxy.cfg").read_text()
    servers = dict(re.findall(r'^    server \w+ "\$\{\w+-([\w-]+):(\d+)\}"$', balancer, re.MULTILINE))
    [listens] = re.findall(r'^    bind "\$\{\w+-:(\d+)\}" proto h2$', balancer, re.MULTILINE)
    host, _, inside = compose["services"]["haproxy"]["ports"][0].rsplit(":", 2)

    assert servers.keys() == {name for name in compose["services"] if name.startswith("plaudit-")}
    assert set(servers.values()) == set(_of("EXPOSE"))
    assert set(compose["services"]["haproxy"]["depends_on"]) == servers.keys()
    assert (host, inside) == ("127.0.0.1", listens)


def test_the_http_ports_of_compose_are_balanced_too(compose: Any) -> None:
    balancer = (DEPLOY / "haproxy.cfg").read_text()
    servers = dict(
        re.findall(r'^    server web-\w+ "\$\{\w+-([\w-]+):(\d+)\}" track servers/\w+$', balancer, re.MULTILINE)
    )
    [listens] = re.findall(r'^    bind "\$\{PLAUDIT_HTTP_BALANCER-:(\d+)\}"$', balancer, re.MULTILINE)

    assert servers.keys() == {name for name in compose["services"] if name.startswith("plaudit-")}
    for name in servers:
        settings = _config(["serve"], compose["services"][name]["environment"])
        assert settings.http.listen == f"0.0.0.0:{servers[name]}"
    assert compose["services"]["haproxy"]["ports"][1] == f"127.0.0.1:{listens}:{listens}"


def test_balancer_looks_away_before_a_server_that_drains_takes_no_more_calls() -> None:
    balancer = (DEPLOY / "haproxy.cfg").read_text()
    [(interval, checks)] = re.findall(r"check inter (\d+)ms fall (\d+)", balancer)
    [timeout] = re.findall(r"timeout check (\d+)s", balancer)
    settings = _config(["serve"], {})

    longest = int(checks) * (int(interval) / 1000 + int(timeout))
    assert longest < settings.connections.drain_delay_seconds


# Kubernetes


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    return _manifests()


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> Any:
    return manifests["Deployment"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    [container] = pod["spec"]["containers"]
    return container


@pytest.fixture
def pod_settings(pod: Any, container: Any, tmp_path: Path) -> Config:
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    # The secret, where its volume is mounted, has the one key that the variable's file is named after.
    path = PurePosixPath(environment["PLAUDIT_STORE_FILE"])
    [mounted] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == str(path.parent)]
    [secret] = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if volume["name"] == mounted]
    documented = re.findall(r"create secret generic (\S+) --from-literal=(\w+)=(\S+)", _page("deployment.md"))
    assert [(name, key) for name, key, _ in documented] == [(secret, path.name)]
    file = tmp_path / path.name
    file.write_text(documented[0][2].strip("'"))
    return _config(container["args"], environment | {"PLAUDIT_STORE_FILE": str(file)})


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_manifest_is_listed(manifests: dict[str, Any]) -> None:
    listed = set(_yaml(KUBERNETES / "kustomization.yaml")["resources"])

    assert listed == {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= manifests.keys()
    assert _yaml(KUBERNETES / "kustomization.yaml")["namespace"] == manifests["Namespace"]["metadata"]["name"]


def test_pods_read_their_settings_and_have_time_to_stop(pod: Any, pod_settings: Config) -> None:
    assert pod_settings.store.startswith("postgresql://")
    assert pod_settings.authenticated
    assert pod["spec"]["terminationGracePeriodSeconds"] > _time_to_stop(pod_settings)


def test_every_selector_selects_the_pods(manifests: dict[str, Any], pod: Any) -> None:
    labels = pod["metadata"]["labels"]
    policy, budget = manifests["NetworkPolicy"]["spec"], manifests["PodDisruptionBudget"]["spec"]
    [spread] = pod["spec"]["topologySpreadConstraints"]

    assert manifests["Service"]["spec"]["selector"] == labels
    for selector in (
        manifests["Deployment"]["spec"]["selector"],
        policy["podSelector"],
        budget["selector"],
        spread["labelSelector"],
    ):
        assert selector == {"matchLabels": labels}


def test_ports_and_probes_are_the_servers(manifests: dict[str, Any], container: Any, pod_settings: Config) -> None:
    [port, web, metrics] = container["ports"]
    [served, served_web] = manifests["Service"]["spec"]["ports"]
    callers, watchers = manifests["NetworkPolicy"]["spec"]["ingress"]
    probes = {kind: container[f"{kind}Probe"]["grpc"] for kind in ("startup", "readiness", "liveness")}

    assert pod_settings.listen == f"0.0.0.0:{port['containerPort']}"
    assert pod_settings.http.listen == f"0.0.0.0:{web['containerPort']}"
    assert manifests["Service"]["metadata"]["name"] in pod_settings.http.hosts
    assert served["targetPort"] == port["name"]
    assert served_web["targetPort"] == web["name"]
    assert [rule["port"] for rule in callers["ports"]] == [port["name"], web["name"]]
    assert [rule["port"] for rule in watchers["ports"]] == [metrics["name"]]
    assert [rule["from"][0]["podSelector"]["matchLabels"] for rule in (callers, watchers)] == [
        {"plaudit-client": "true"},
        {"plaudit-monitor": "true"},
    ]
    assert {probe["port"] for probe in probes.values()} == {port["containerPort"]}
    assert probes["readiness"]["service"] == "plaudit.v1.FeedbackService"
    assert probes["startup"]["service"] == probes["liveness"]["service"] == health.LIVENESS
    assert manifests["Service"]["spec"]["clusterIP"] == "None"


def test_a_database_is_within_what_pods_may_reach(manifests: dict[str, Any], pod_settings: Config) -> None:
    ports = {rule["port"] for egress in manifests["NetworkPolicy"]["spec"]["egress"] for rule in egress["ports"]}
    found = re.search(r"@[\w.]+(?::(\d+))?/", pod_settings.store)

    assert found is not None
    assert {int(found[1] or 5432), 53} <= ports


def test_pods_have_no_rights_and_write_nowhere_but_to_what_is_mounted(pod: Any, container: Any) -> None:
    [user] = _of("USER")

    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert f"{pod['spec']['securityContext']['runAsUser']}:{pod['spec']['securityContext']['runAsGroup']}" == user
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_a_renewal_or_an_eviction_leaves_a_server(manifests: dict[str, Any]) -> None:
    deployment = manifests["Deployment"]["spec"]

    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] < deployment["replicas"]


def test_balancer_asks_for_health_in_http_2() -> None:
    """The bytes of the check, read as frames."""
    sent = re.findall(r"tcp-check send-binary ([0-9a-f]+)", (DEPLOY / "haproxy.cfg").read_text())
    preface, *rest = map(bytes.fromhex, sent)
    frames = {frame[3]: frame for frame in rest}

    assert preface == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert [frame[3] for frame in rest] == [4, 1, 0]  # SETTINGS, HEADERS, DATA
    for frame in rest:
        assert int.from_bytes(frame[:3], "big") == len(frame) - 9
    assert b"/grpc.health.v1.Health/Check" in frames[1]
    assert frames[0][9:] == bytes(5)  # an empty message


# Metrics and alerts


def test_metrics_are_scraped_where_pods_listen_and_channelz_stays_in_the_pod(
    pod: Any, container: Any, pod_settings: Config
) -> None:
    [_, _, metrics] = container["ports"]
    scraped = pod["metadata"]["annotations"]

    assert pod_settings.admin.listen == f"0.0.0.0:{metrics['containerPort']}"
    assert scraped["prometheus.io/port"] == str(metrics["containerPort"])
    assert scraped["prometheus.io/path"] == "/metrics"
    assert pod_settings.admin.grpc_listen.startswith("127.0.0.1:")


def test_metrics_of_compose_stay_in_its_network(compose: Any) -> None:
    service = compose["services"]["plaudit-a"]

    assert service["environment"]["PLAUDIT_ADMIN_LISTEN"].startswith("0.0.0.0:")
    assert "ports" not in service


def _families() -> dict[str, Metric]:
    """Every metric of a server, by name, as a scrape shows it."""
    with testing.server(config=with_admin()) as running:
        text = scrape(running).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    families = _families()
    known: dict[str, set[str]] = {"up": {"job"}}
    for family in families.values():
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    [group] = _yaml(DEPLOY / "alerts.yaml")["groups"]
    asked = set()
    for rule in group["rules"]:
        for name, labels in re.findall(
            r"\b([a-z]\w*_\w+|up)(?:\{([^}]*)\})?", re.sub(r"by \([^)]*\)", "", rule["expr"])
        ):
            if name != "histogram_quantile":
                asked.add(name)
                assert set(re.findall(r"(\w+)(?:=~|!=|=)", labels)) <= known[name], rule["alert"]
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = {
            label.strip() for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(",")
        }
        assert said <= (grouped or {"instance", "kind"}), rule["alert"]
    assert len(asked) > 8


def test_manual_has_every_metric_and_every_alert() -> None:
    text = _page("observing.md")
    [group] = _yaml(DEPLOY / "alerts.yaml")["groups"]
    stages = set(re.findall(r"`…(_\w+_total)`", text))

    assert set(re.findall(r"^\| `(Plaudit\w+)` \|", text, re.MULTILINE)) == {rule["alert"] for rule in group["rules"]}
    for name, family in _families().items():
        shown = name + "_total" if family.type == "counter" else name
        stage = shown.removeprefix("plaudit_rows")
        assert name.startswith(("process_", "python_")) or f"`{shown}`" in text or stage in stages, shown
