"""The files of deploy/ and the chapters on metrics name what there is. Prints the dashboard's expressions as rules.

The list of metrics is that of docs/operations/metrics.md. It is compared with the names in src/metrics, and by
scrape.py with what the program serves.
"""

import re
import sys
from pathlib import Path

import yaml

from names import ROOT, SUFFIXES, TARGET_LABELS, dashboard, dashboard_expressions, documented

KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}

mistakes = []


def expect(condition, mistake):
    if not condition:
        mistakes.append(mistake)


def names(expression, series):
    """The series and the labels that an expression names are there."""
    text = re.sub(r'"(\\.|[^"\\])*"', '""', expression)
    labels = set()
    for selector in re.findall(r"\{([^}]*)\}", text):
        labels |= set(re.findall(r"([A-Za-z_]\w*)\s*[=!]", selector))
    text = re.sub(r"\{[^}]*\}", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    grouping = r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    for _, list_of_labels in re.findall(grouping, text):
        labels |= set(re.findall(r"\w+", list_of_labels))
    text = re.sub(grouping, "", text)
    text = re.sub(r"\boffset\s+\w+", "", text)
    found = set(re.findall(r"(?<![\w:.$])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])", text)) - KEYWORDS
    expect(found, f"names no series: {expression}")
    for name in found:
        expect(name in series, f"there is no series {name}: {expression}")
    known = TARGET_LABELS.union(*(series.get(name, set()) for name in found))
    for label in labels - known:
        expect(False, f"the series have no label {label}: {expression}")


def all_series(metrics):
    return {name + suffix: labels for name, (kind, labels) in metrics.items() for suffix in SUFFIXES[kind]}


def rules(series):
    """The rules, their tests and their chapter."""
    text = (ROOT / "deploy/prometheus/tailwater.rules.yml").read_text()
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    rule = yaml.safe_load((ROOT / "deploy/prometheus/prometheus-rule.yaml").read_text())
    expect(rule["spec"] == yaml.safe_load(text), "the PrometheusRule has other rules")
    for rule in rules:
        if "record" in rule:
            series = series | {rule["record"]: {"topic"}}
    chapter = (ROOT / "docs/operations/alerts.md").read_text()
    headings = set(re.findall(r"^## (\w+)$", chapter, re.M))
    tests = (Path(__file__).parent / "rules.test.yml").read_text()
    alerts = set()
    for rule in rules:
        names(rule["expr"], series)
        if "alert" not in rule:
            continue
        name = rule["alert"]
        alerts.add(name)
        expect(rule["labels"]["severity"] in ("critical", "warning"), f"{name} has no severity")
        annotations = rule["annotations"]
        expect(annotations.keys() == {"summary", "description", "runbook_url"}, f"the annotations of {name}")
        link = f"https://github.com/tailwater/tailwater/blob/main/docs/operations/alerts.md#{name.lower()}"
        expect(annotations["runbook_url"] == link, f"the runbook of {name} is {link}")
        expect(f'alertname="{name}", alertstate="firing"' in tests, f"rules.test.yml has no {name} that fires")
        labels = set(re.findall(r"\$labels\.(\w+)", annotations["summary"] + annotations["description"]))
        for label in labels - TARGET_LABELS:
            in_rule = any(label in found for key, found in series.items() if re.search(rf"\b{key}\b", rule["expr"]))
            expect(in_rule, f"the series of {name} have no label {label}")
    expect(headings == alerts, f"alerts.md and the rules differ in {sorted(headings ^ alerts)}")


def panels(series):
    """The dashboard is whole, and asks for series that are there."""
    board = dashboard()
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    expect({"datasource", "binding", "topic", "cluster"} <= variables.keys(), "the dashboard lacks a variable")
    source = {"type": "prometheus", "uid": "${datasource}"}
    for variable in variables.values():
        if variable["type"] == "query":
            expect(variable["datasource"] == source, f"the data source of the variable {variable['name']}")
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            for name in re.findall(r"tailwater_\w+", selector):
                expect(label in series.get(name, set()) | TARGET_LABELS, f"{name} has no label {label}")
    rows, taken, ids = [], set(), set()
    for panel in board["panels"]:
        title, place = panel["title"], panel["gridPos"]
        expect(panel["id"] not in ids, f"two panels have the id of {title}")
        ids.add(panel["id"])
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        expect(not cells & taken and place["x"] + place["w"] <= 24, f"{title} covers another panel")
        taken |= cells
        if panel["type"] == "row":
            rows.append(title)
            continue
        expect(panel["description"], f"{title} has no description")
        expect(panel["datasource"] == source, f"the data source of {title}")
        expect(panel["targets"], f"{title} asks for nothing")
        for target in panel["targets"]:
            expect(target["datasource"] == source, f"the data source of {title}")
            for name in re.findall(r"\$(\w+)", target["expr"]):
                expect(name in variables or name.startswith("__"), f"{title} has no variable {name}")
    expect(rows == ["Streams", "Lag", "Kafka", "Connections", "Auth", "Process"], f"the rows are {rows}")
    for expression in dashboard_expressions():
        names(expression, series)


def in_source(metrics):
    """The documentation has each metric of the source, and no other."""
    written = set()
    for file in sorted((ROOT / "src/metrics").rglob("*.rs")):
        code = file.read_text().split("#[cfg(test)]")[0]
        written |= set(re.findall(r'"(tailwater_[a-z_]+)"', code))
    own = {name for name in metrics if name.startswith("tailwater_")}
    for name in sorted(written - own):
        expect(False, f"metrics.md lacks {name}")
    for name in sorted(own - written):
        expect(False, f"src/metrics lacks {name}")


metrics = documented()
in_source(metrics)
series = all_series(metrics)
rules(series)
panels(series)
for mistake in mistakes:
    print(f"check.py: {mistake}", file=sys.stderr)
if mistakes:
    sys.exit(1)
group = {"name": "dashboard", "rules": [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(dashboard_expressions())]}
yaml.safe_dump({"groups": [group]}, sys.stdout)
