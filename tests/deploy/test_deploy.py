"""No Docker engine runs the tests, so all that the compose file names is looked up: every command, variable,
port and path has to exist, every metric in a panel or rule has to be declared.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import typer
import yaml

from cli.app import app
from cli.settings import known_variables
from docs.generate import METRICS
from local.kafka import BROKER_SETTINGS
from messaging.metrics import HistogramOf
from schemas.settings import Settings
from tests.conftest import DYNAMODB_IMAGE, KAFKA_IMAGE

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "skyfill"}
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "skyfill.json").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
OWN_METRICS = 8000
NEITHER_OURS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
LABELS = {"role", "instance", "le"}
"""Beside those declared: what Prometheus adds, and a histogram's bound."""


def linted(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def declared() -> dict[str, set[str]]:
    """Every sample that any process exports, and its labels."""
    names: dict[str, set[str]] = {name: set() for name in NEITHER_OURS}
    for metric in (metric for section in METRICS for metric in section.metrics):
        suffixes = ("_bucket", "_sum", "_count") if isinstance(metric, HistogramOf) else ("",)
        names |= {metric.name + suffix: set(metric.labels) for suffix in suffixes}
    return names


def test_the_files_are_well_formed() -> None:
    linted(tool("hadolint"), "deploy/Dockerfile")
    linted(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


@pytest.mark.parametrize("name", sorted(set(OURS) - {"skyfill"}))
def test_each_command_exists_with_its_flags(name: str) -> None:
    command: Any = typer.main.get_command(app)
    words: list[str] = list(OURS[name]["command"])
    while commands := getattr(command, "commands", {}):
        assert words[0] in commands, f"there is no command {words[0]}"
        command, words = commands[words[0]], words[1:]
    command.make_context(name, words)  # raises for a flag that does not exist
    with pytest.raises(typer.TyperException, match="No such option"):
        command.make_context(name, [*words, "--no-such-flag"])


def test_every_process_of_a_deployment_has_its_service() -> None:
    started = {tuple(service["command"][:2]) for name, service in OURS.items() if name != "skyfill"}
    assert started == {
        ("topics", "create"),
        ("producer",),
        ("worker",),
        ("tracker",),
        ("notifier",),
        ("rates",),
        ("sink", "parquet"),
        ("sink", "dynamodb"),
        ("lag-exporter",),
        ("api",),
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_variable_is_a_setting_and_takes_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of_image = dict(re.findall(r"(SKYFILL_\w+)=(\S+)", DOCKERFILE))
    given = of_image | OURS[name]["environment"]
    ours = {key: value for key, value in given.items() if key.startswith("SKYFILL_")}
    assert set(ours) <= set(known_variables())
    for key, value in ours.items():
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    settings = Settings()
    assert settings.metrics.port == OWN_METRICS
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert str(settings.data_dir) == "/var/lib/skyfill"


def test_the_broker_is_set_up_as_the_embedded_one() -> None:
    given = SERVICES["kafka"]["environment"]
    for key in (
        "auto.create.topics.enable",
        "offsets.retention.minutes",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "transaction.max.timeout.ms",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "message.max.bytes",
        "replica.fetch.max.bytes",
    ):
        assert given[f"KAFKA_{key.upper().replace('.', '_')}"] == BROKER_SETTINGS[key], key
    assert (SERVICES["kafka"]["image"], SERVICES["dynamodb"]["image"]) == (KAFKA_IMAGE, DYNAMODB_IMAGE)


def test_ports_meet_where_they_are_named() -> None:
    [job] = PROMETHEUS["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    scraped = {name for name, service in OURS.items() if not service.get("healthcheck", {}).get("disable")}
    assert set(discovery["names"]) == scraped, "every process with metrics is scraped, and no other"
    assert discovery["port"] == OWN_METRICS
    assert f"EXPOSE {OWN_METRICS}" in DOCKERFILE
    assert f":{OWN_METRICS}/metrics" in OURS["worker"]["healthcheck"]["test"][-1]
    listeners = dict(
        listener.split("://:") for listener in SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"].split(",")
    )
    assert OURS["worker"]["environment"]["SKYFILL_KAFKA__BOOTSTRAP_SERVERS"] == f"kafka:{listeners['BROKER']}"
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published, "nothing could be looked at"
    assert all(port.startswith("127.0.0.1:") for port in published), "only this machine may reach them"
    assert f"127.0.0.1:{listeners['HOST']}:{listeners['HOST']}" in published
    [source] = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    host, port = source["url"].removeprefix("http://").split(":")
    assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]


def test_paths_exist_and_meet() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("./deploy"):
                assert (ROOT / source).is_dir(), f"{name} mounts {source}"
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"
            assert target.startswith("/")
    for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines(), source
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= copied, "every package is in the image"
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["prometheus"]["volumes"]}
    [config] = [
        word.removeprefix("--config.file=")
        for word in SERVICES["prometheus"]["command"]
        if word.startswith("--config.file=")
    ]
    assert (ROOT / mounted[str(Path(config).parent)] / Path(config).name).is_file()
    assert all((ROOT / "deploy" / "prometheus" / rules).is_file() for rules in PROMETHEUS["rule_files"])
    grafana = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    [provider] = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/skyfill.yml").read_text())[
        "providers"
    ]
    folder = ROOT / grafana[provider["options"]["path"]]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (folder / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]


def expressions() -> list[tuple[str, str]]:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    shown = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    rules = [(rule["alert"], rule["expr"]) for group in RULES["groups"] for rule in group["rules"]]
    return shown + rules


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_each_expression_is_promql_over_metrics_and_labels_that_exist(title: str, expression: str) -> None:
    promql_parser.parse(expression)
    metrics, names = declared(), re.findall(r"\b(?:skyfill|process)_\w+", expression)
    assert names, title
    assert set(names) <= set(metrics), title
    known = LABELS.union(*(metrics[name] for name in names))
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    used = {label.strip() for labels in grouped for label in labels.split(",") if label.strip()}
    used |= set(re.findall(r"(\w+)\s*=~?\"", expression))
    assert used <= known, title


def test_panels_do_not_overlap_and_name_the_provisioned_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    sources = {t["datasource"]["uid"] for p in DASHBOARD["panels"] for t in p.get("targets", [])}
    assert sources == {"prometheus"}
