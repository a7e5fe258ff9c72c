"""A Prometheus scrapes a program once a second, with the rules of deploy/, and what it made of it is judged.

    scrape.py ADDRESS SECONDS EXPRESSION…

Each expression has to have a result in the end.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from names import LAG, ROOT, SUFFIXES, TARGET_LABELS, dashboard_expressions, documented

CONFIG = """
global: {{ scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 5s }}
rule_files: ["{root}/deploy/prometheus/tailwater.rules.yml"]
scrape_configs: [{{ job_name: tailwater, static_configs: [{{ targets: ["{target}"] }}] }}]
"""

mistakes = []


def expect(condition, mistake):
    if not condition:
        mistakes.append(mistake)


class Prometheus:
    """The process, and its HTTP API."""

    def __init__(self, target, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        config = Path(folder, "prometheus.yml")
        config.write_text(CONFIG.format(root=ROOT, target=target))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={address}", "--log.level=warn"],
            stdout=sys.stderr)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready"):
                return True
        except OSError:
            return False

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        try:
            return self.ask("query", query=expression)["result"]
        except urllib.error.HTTPError as error:
            expect(False, f"{expression}: {error.read().decode()}")
            return []

    def scrapes(self):
        """How many scrapes there were, and how many of them failed."""
        numbers = [self.query(f"{over}_over_time(up[1h])") for over in ("count", "sum")]
        count, up = (int(float(number[0]["value"][1])) if number else 0 for number in numbers)
        return count, count - up


def text(target):
    """The text itself, by the lint of promtool. Names of Zilla break its rules, ours do not."""
    with urllib.request.urlopen(f"http://{target}/metrics") as answer:
        text = answer.read()
    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    said = lint.stderr.decode() + lint.stdout.decode()
    expect(lint.returncode in (0, 3), f"promtool does not read the metrics: {said}")
    for line in said.splitlines():
        expect(not line.startswith(("tailwater_", "process_")), f"promtool: {line}")


def families(prometheus, metrics):
    """Families and labels are those of the documentation, and the counters do not fall."""
    offered = prometheus.ask("metadata")
    for name, (about,) in offered.items():
        kind = metrics.get(name, (None, set()))[0]
        expect(about["type"] == kind, f"{name} is a {about['type']}, in metrics.md {kind}")
        expect(about["help"], f"{name} has no HELP")
    series = prometheus.ask("series", **{"match[]": '{job="tailwater"}'})
    now = {json.dumps(result["metric"], sort_keys=True) for result in prometheus.query('{job="tailwater"}')}
    for name, (kind, labels) in metrics.items():
        names = {name + suffix for suffix in SUFFIXES[kind]}
        of_name = [labels_of for labels_of in series if labels_of["__name__"] in names]
        # What a binding of the configuration calls its attributes is no matter of ours.
        if not name.startswith("http_"):
            for found in of_name:
                expect(found.keys() <= labels | TARGET_LABELS, f"{found} has a label that metrics.md lacks")
        if kind == "gauge" or name in LAG:
            continue
        for found in of_name:
            expect(json.dumps(found, sort_keys=True) in now, f"{found} is gone")
        for counter in names:
            for fell in prometheus.query(f"resets({counter}[1h]) > 0"):
                expect(False, f"{counter} fell: {fell['metric']}")
    return len(series)


def rules(prometheus):
    for group in prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            expect(rule["health"] == "ok", f"{rule['name']} is {rule['health']}: {rule.get('lastError')}")
            for alert in rule.get("alerts", []):
                expect(alert["state"] != "firing", f"{rule['name']} fires: {alert['annotations']}")


def judge(prometheus, target, seconds, expressions):
    metrics = documented()
    until = time.monotonic() + 60
    while not prometheus.is_ready() or prometheus.scrapes()[0] == 0:
        if prometheus.process.poll() is not None or time.monotonic() > until:
            sys.exit("scrape.py: Prometheus does not scrape")
        time.sleep(0.2)
    time.sleep(seconds)
    count, failed = prometheus.scrapes()
    (active,) = prometheus.ask("targets", state="active")["activeTargets"]
    expect(active["health"] == "up" and not active["lastError"], f"the target is {active}")
    expect(failed == 0, f"{failed} of {count} scrapes failed")
    expect(count > seconds / 10, f"there were {count} scrapes in {seconds} s")
    text(target)
    number = families(prometheus, metrics)
    rules(prometheus)
    for expression in dashboard_expressions():
        prometheus.query(expression.replace("=~\"x\"", "=~\".*\""))
    for expression in expressions:
        expect(prometheus.query(expression), f"nothing is {expression}")
    print(f"{count} scrapes, {number} series")


target, seconds, *expressions = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    prometheus = Prometheus(target, folder)
    try:
        judge(prometheus, target, float(seconds), expressions)
    finally:
        prometheus.process.kill()
        prometheus.process.wait()
for mistake in mistakes:
    print(f"scrape.py: {mistake}", file=sys.stderr)
sys.exit(bool(mistakes))
