"""The Grafana dashboard, made from the declared metrics: a metric that is renamed can't leave a dead panel.

`make docs` writes it to deploy/grafana/dashboards/skyfill.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from messaging import instruments as common
from messaging import lag_exporter as lag
from messaging.metrics import Declared, HistogramOf
from producers import metrics as planner
from sinks import metrics as sinks
from stream_workers.fetch import metrics as fetch
from stream_workers.tracker import metrics as tracker

_WIDTH, _HEIGHT = 8, 8
_PER_ROW = 24 // _WIDTH
_SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True)
class Panel:
    """One chart: `lines` are PromQL expressions and their legends, `about` is shown on the i."""

    title: str
    about: str
    unit: str
    lines: Sequence[tuple[str, str]]
    stacked: bool = False


def rate(metric: Declared, by: str = "", where: str = "", over: str = "1m") -> str:
    """Its growth a second, summed over processes."""
    return f"sum by ({by}) (rate({metric.name}{where}[{over}]))"


def quantile(share: float, metric: HistogramOf, by: str = "", where: str = "") -> str:
    """An estimate from its buckets."""
    buckets = f"rate({metric.name}_bucket{where}[5m])"
    return f"histogram_quantile({share}, sum by ({', '.join(filter(None, ('le', by)))}) ({buckets}))"


def _quantiles(metric: HistogramOf, where: str = "") -> list[tuple[str, str]]:
    return [(quantile(0.5, metric, where=where), "p50"), (quantile(0.99, metric, where=where), "p99")]


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Throughput",
        (
            Panel(
                "Records",
                "Published by the workers, and stored by the sinks (once for each destination).",
                "cps",
                [
                    (rate(fetch.RECORDS, where='{result="published"}'), "published"),
                    (rate(sinks.ROWS, "role", '{what="stored"}'), "stored, {{role}}"),
                ],
            ),
            Panel("Repositories", fetch.TASKS.tells, "cps", [(rate(fetch.TASKS, "ending"), "{{ending}}")]),
            Panel("Download", fetch.REPO_BYTES.tells, "Bps", [(rate(fetch.REPO_BYTES), "repositories")]),
            Panel(
                "A repository's time",
                fetch.REPO_SECONDS.tells,
                "s",
                _quantiles(fetch.REPO_SECONDS, '{result="completed"}'),
            ),
            Panel(
                "Errors", fetch.ERRORS.tells, "cps", [(rate(fetch.ERRORS, "error_type"), "{{error_type}}")]
            ),
            Panel(
                "Accounts planned",
                planner.ACCOUNTS.tells,
                "cps",
                [(rate(planner.ACCOUNTS, "result"), "{{result}}")],
            ),
        ),
    ),
    (
        "Consumer lag",
        (
            Panel(
                "Lag",
                lag.GROUP_LAG.tells,
                "short",
                [(f"sum by (group, topic) ({lag.GROUP_LAG.name})", "{{topic}} by {{group}}")],
            ),
            Panel(
                "Trend",
                lag.TREND.tells,
                "cps",
                [(f"sum by (group, topic) ({lag.TREND.name})", "{{topic}} by {{group}}")],
            ),
            Panel(
                "Time to clear",
                lag.CLEARS.tells,
                "s",
                [(f"max by (group, topic) ({lag.CLEARS.name})", "{{topic}} by {{group}}")],
            ),
            Panel(
                "Finished beyond the commit",
                lag.BEYOND.tells,
                "short",
                [(f"sum by (topic) ({lag.BEYOND.name})", "{{topic}}")],
            ),
            Panel(
                "Oldest unfinished task",
                fetch.OLDEST.tells,
                "s",
                [(f"max by (instance) ({fetch.OLDEST.name})", "{{instance}}")],
            ),
            Panel(
                "Tasks in flight",
                fetch.IN_FLIGHT.tells,
                "short",
                [
                    (f"sum({fetch.IN_FLIGHT.name})", "read, not finished"),
                    (f"sum({fetch.RUNNING.name})", "running"),
                ],
            ),
        ),
    ),
    (
        "Network",
        (
            Panel(
                "Requests",
                common.REQUESTS.tells,
                "reqps",
                [(rate(common.REQUESTS, "endpoint, outcome"), "{{endpoint}} {{outcome}}")],
                stacked=True,
            ),
            Panel(
                "Latency",
                common.ANSWER_SECONDS.tells,
                "s",
                [
                    (quantile(0.5, common.ANSWER_SECONDS, "endpoint"), "{{endpoint}} p50"),
                    (quantile(0.99, common.ANSWER_SECONDS, "endpoint"), "{{endpoint}} p99"),
                ],
            ),
            Panel(
                "Requests in flight",
                common.IN_FLIGHT.tells,
                "short",
                [(f"sum by (endpoint) ({common.IN_FLIGHT.name})", "{{endpoint}}")],
            ),
            Panel(
                "Hosts by breaker",
                fetch.HOSTS.tells,
                "short",
                [(f"sum by (breaker) ({fetch.HOSTS.name})", "{{breaker}}")],
                stacked=True,
            ),
            Panel(
                "Budgets used",
                fetch.BUDGET_USED.tells,
                "percentunit",
                [
                    (quantile(0.5, fetch.BUDGET_USED), "half of the windows"),
                    (quantile(0.1, fetch.BUDGET_USED), "the least used tenth"),
                ],
            ),
            Panel(
                "Waiting for hosts",
                fetch.LIMITER_SECONDS.tells,
                "short",
                [
                    (rate(fetch.LIMITER_SECONDS), "requests waiting for a turn"),
                    (rate(fetch.REFUSALS), "429s a second"),
                    (rate(fetch.PARKED), "tasks parked a second"),
                ],
            ),
        ),
    ),
    (
        "Transactions and stores",
        (
            Panel(
                "Transactions",
                common.TRANSACTIONS.tells,
                "cps",
                [(rate(common.TRANSACTIONS, "role, result"), "{{role}} {{result}}")],
            ),
            Panel(
                "Time of a commit",
                common.COMMIT_SECONDS.tells,
                "s",
                [(quantile(0.99, common.COMMIT_SECONDS, "role"), "{{role}} p99")],
            ),
            Panel(
                "Produce queue",
                common.QUEUE.tells,
                "short",
                [(f"sum by (role, producer) ({common.QUEUE.name})", "{{role}} {{producer}}")],
            ),
            Panel(
                "Time of a flush",
                sinks.FLUSH_SECONDS.tells,
                "s",
                [(quantile(0.99, sinks.FLUSH_SECONDS, "role"), "{{role}} p99")],
            ),
            Panel(
                "Rows of a batch",
                sinks.FLUSH_ROWS.tells,
                "short",
                [(quantile(0.5, sinks.FLUSH_ROWS, "role"), "{{role}} p50")],
            ),
            Panel(
                "Rows buffered",
                sinks.BUFFERED.tells,
                "short",
                [(f"sum by (role) ({sinks.BUFFERED.name})", "{{role}}")],
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "Jobs", tracker.JOBS.tells, "short", [(f"sum by (state) ({tracker.JOBS.name})", "{{state}}")]
            ),
            Panel(
                "CPU",
                "Cores used. A worker near 1 is bound by its CPU: start more.",
                "short",
                [("sum by (role) (rate(process_cpu_seconds_total[1m]))", "{{role}}")],
            ),
            Panel(
                "Memory",
                "Resident bytes.",
                "bytes",
                [("max by (role) (process_resident_memory_bytes)", "{{role}}, the largest")],
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON, in the form that Grafana provisions from a file."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, charts in ROWS:
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        for number, chart in enumerate(charts):
            x, y = number % _PER_ROW * _WIDTH, top + 1 + number // _PER_ROW * _HEIGHT
            place = {"h": _HEIGHT, "w": _WIDTH, "x": x, "y": y}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _chart(chart))
        top += 1 + -(-len(charts) // _PER_ROW) * _HEIGHT
    whole = {
        "uid": "skyfill",
        "title": "skyfill",
        "description": "Throughput, consumer lag and health of a backfill.",
        "tags": ["skyfill"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _chart(panel: Panel) -> dict[str, Any]:
    stacking = {"mode": "normal", "group": "A"} if panel.stacked else {"mode": "none", "group": "A"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0 if panel.title != "Trend" else None,
                # A gap is what is not known; it is neither bridged nor drawn as 0.
                "custom": {
                    "fillOpacity": 10,
                    "showPoints": "never",
                    "spanNulls": False,
                    "stacking": stacking,
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for number, (expr, legend) in enumerate(panel.lines)
        ],
    }
