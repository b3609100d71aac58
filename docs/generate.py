"""Writes what is generated from the code: JSON Schemas, configs/default.yaml, docs/*.md of the same names.

python -m docs.generate            writes them; so does `make docs`
python -m docs.generate --check    names those that are stale and exits with 1
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from api import metrics as api_metrics
from cli.app import app
from deploy.dashboard import dashboard
from local.network.oddities import ODDITIES
from messaging import instruments, lag_exporter
from messaging.metrics import Section
from messaging.names import Names
from messaging.topics import Topic, topics
from producers import metrics as planner_metrics
from schemas.export import TOPIC_MODELS, config_reference, default_document, json_schemas
from schemas.settings import KafkaSettings
from sinks import metrics as sink_metrics
from stream_workers.fetch import metrics as fetch_metrics
from stream_workers.notifier import metrics as notifier_metrics
from stream_workers.tracker import metrics as tracker_metrics

ROOT = Path(__file__).resolve().parent.parent
METRICS: tuple[Section, ...] = (
    planner_metrics.SECTION,
    fetch_metrics.SECTION,
    tracker_metrics.SECTION,
    notifier_metrics.SECTION,
    sink_metrics.SECTION,
    lag_exporter.SECTION,
    api_metrics.SECTION,
    instruments.GROUP_SECTION,
    instruments.TRANSACTION_SECTION,
    instruments.HTTP_SECTION,
    instruments.RESOLVER_SECTION,
)
"""All metrics that any process exports."""
_DAY_MS = 24 * 3600 * 1000


def generated() -> dict[Path, str]:
    """Every generated file and its text."""
    files = {ROOT / "schemas" / "json" / name: text for name, text in json_schemas().items()}
    files[ROOT / "configs" / "default.yaml"] = default_document()
    files[ROOT / "docs" / "config.md"] = config_reference()
    files[ROOT / "docs" / "topics.md"] = topics_reference()
    files[ROOT / "docs" / "cli.md"] = cli_reference()
    files[ROOT / "docs" / "metrics.md"] = metrics_reference()
    files[ROOT / "docs" / "hosts.md"] = hosts_reference()
    files[ROOT / "deploy" / "grafana" / "dashboards" / "skyfill.json"] = dashboard()
    return files


def topics_reference() -> str:
    """`docs/topics.md`: each topic with its value, partitions and retention."""
    lines = [
        "# Topics and groups",
        "",
        "Generated from `messaging/topics.py` and `schemas/` by `make docs`. Names carry the",
        "prefix of `kafka.topic_prefix` (`skyfill.` unless set). `skyfill topics create` makes the topics",
        "and gives each group its place; partition counts are settings and fixed for a topic's life.",
        "",
        "| topic | value | partitions | kept | JSON Schema |",
        "| --- | --- | --- | --- | --- |",
    ]
    defaults = KafkaSettings(topic_prefix="")
    for topic in topics(defaults):
        model, _ = TOPIC_MODELS[topic.name]
        schema = topic.name.removesuffix(".retry")
        link = f"[{schema}.json](../schemas/json/{schema}.json)"
        lines.append(f"| `{topic.name}` | {model} | {topic.partitions} | {_kept(topic)} | {link} |")
    lines += ["", "| consumer group | reads |", "| --- | --- |"]
    for group, names in Names("").groups().items():
        lines.append(f"| `{group}` | {', '.join(f'`{name}`' for name in names)} |")
    lines.append("| `rates` | `outcomes`, each time from an hour back; it keeps no place |")
    lines.append("| `notifier` | nothing: it shares out the partitions of `job-status` |")
    return "\n".join([*lines, ""])


def cli_reference() -> str:
    """`docs/cli.md`: each command with its arguments, options and defaults, as its `--help` tells them."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="skyfill"), name="skyfill", title="Commands"
    )
    note = "Generated from `cli/` by `make docs`.\n"
    return text.replace("# Commands\n", f"# Commands\n\n{note}", 1).rstrip() + "\n"


def metrics_reference() -> str:
    """`docs/metrics.md`: each metric with its labels and what it tells."""
    lines = [
        "# Metrics",
        "",
        "Generated from the modules that declare them by `make docs`. Each process serves its",
        "own at `http://127.0.0.1:PORT/metrics`. Ports count up from `metrics.port` (8000 unless set; with",
        "`skyfill run`, from the document's `monitoring.prometheus_port`). `{data_dir}/metrics/*.json` says",
        "which process has which, in the form that Prometheus' `file_sd_configs` reads. What is not known",
        "has no sample; it is never shown as 0. No host, account or job is a label.",
    ]
    for section in METRICS:
        lines += ["", f"## {section.title}", "", section.about, ""]
        lines += ["| metric | type | what it is | what it tells |", "| --- | --- | --- | --- |"]
        for metric in section.metrics:
            labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
            lines.append(f"| `{metric.name}{labels}` | {metric.kind} | {metric.help} | {metric.tells} |")
    return "\n".join([*lines, ""])


def hosts_reference() -> str:
    """`docs/hosts.md`: what odd hosts answer, and what follows for an account's task."""
    about = {"host": "the host", "account": "the account", "pace": "the pace", "rules": "our own rules"}
    lines = [
        "# What hosts answer",
        "",
        "Generated from `local/network/oddities.py` by `make docs`. Each row is a switch of the simulated",
        "network, or a server that a test starts, and a test makes it happen and looks at what is said here.",
        "",
        "What tells of the host opens its breaker when it comes again and again, and costs no account an",
        "attempt then; what tells of an account costs it an attempt. `error type` and `reason` are those of",
        "its outcome and dead letter, after the last attempt.",
        "",
        "| answer | error type | reason | tried again | tells of |",
        "| --- | --- | --- | --- | --- |",
    ]
    for oddity in ODDITIES.values():
        kind = "fetched" if oddity.error_type is None else f"`{oddity.error_type}`"
        reason = "" if oddity.reason is None else f"`{oddity.reason}`"
        again = "" if oddity.error_type is None else "yes" if oddity.again else "no"
        tells = "" if oddity.error_type is None else about[oddity.about]
        lines.append(f"| {oddity.says} | {kind} | {reason} | {again} | {tells} |")
    return "\n".join([*lines, ""])


def _kept(topic: Topic) -> str:
    if topic.config.get("cleanup.policy") == "compact":
        return "the latest of each key"
    retention = int(topic.config["retention.ms"])
    if retention < 0:
        return "until it is done"
    days = retention // _DAY_MS
    return f"{days} day{'s' if days > 1 else ''}"


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit code."""
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    stale += [path for path in (ROOT / "schemas" / "json").glob("*.json") if path not in files]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale; run: make docs")
        return 1 if stale else 0
    for path in stale:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
