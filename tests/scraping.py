"""The metrics of a deployment's processes, read as Prometheus would: through the discovery files."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, str], float]
"""(process, sample with its labels) -> value."""


def scrape(data_dir: Path) -> Samples:
    """All samples of all processes that are announced in the data folder."""
    samples: Samples = {}
    for entry in sorted((data_dir / "metrics").glob("*.json")):
        [target] = json.loads(entry.read_text())
        with urlopen(f"http://{target['targets'][0]}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                samples[target["labels"]["process"], f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def total(samples: Samples, name: str) -> float:
    """A sample, summed over all processes."""
    return sum(value for (_, sample), value in samples.items() if sample == name)
