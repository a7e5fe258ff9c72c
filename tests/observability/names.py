"""The metrics that there are, by docs/operations/metrics.md, and the expressions of the dashboard."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The series of a metric of each type.
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
# What Prometheus or Kubernetes adds to each series, and the limit of a bucket.
TARGET_LABELS = {"job", "instance", "pod", "le", "__name__"}
# Histograms of the moment: their counts fall.
LAG = {"tailwater_stream_lag_seconds", "tailwater_stream_lag_records"}


def documented():
    """The metrics of the documentation: type and labels by name."""
    metrics = {}
    for line in (ROOT / "docs/operations/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        name = re.fullmatch(r"`([a-z_]+)`", cells[1]) if len(cells) > 5 else None
        if name:
            assert name[1] not in metrics, f"metrics.md has {name[1]} twice"
            assert cells[2] in SUFFIXES, f"metrics.md: the type of {name[1]} is {cells[2]}"
            assert cells[4], f"metrics.md: {name[1]} has no meaning"
            metrics[name[1]] = (cells[2], set(re.findall(r"`([a-z_]+)`", cells[3])))
    assert len(metrics) > 20, "metrics.md has no table of metrics"
    return metrics


def dashboard():
    return json.loads((ROOT / "deploy/grafana/tailwater.json").read_text())


def dashboard_expressions():
    """What the panels ask for, with `x` in place of each variable."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
            yield re.sub(r"\$\w+", "x", expression)
