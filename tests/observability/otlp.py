"""A collector of OTLP over HTTP that takes nothing but what the protocol says, as JSON.

It prints the port that it listens on, and then a line of JSON for each push: `path`, `encoding`, `authorization`, and
`request` as the protocol buffers of OpenTelemetry read it, or `mistakes`, and then the answer is 400. An argument is
the status of all answers to pushes without mistakes.
"""

import gzip
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

CUMULATIVE = 2
STATUS = int(sys.argv[1]) if len(sys.argv) > 1 else 200

lock = Lock()
# The last value of each counter, by everything that names it.
counters = {}


def unique_keys(pairs):
    """Parsers differ in what they make of a key that comes twice."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a key comes twice among {keys}")
    return dict(pairs)


def as_written(value, key=""):
    """Where the JSON of OTLP is stricter than that of protocol buffers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if "_" in key:
                yield f"{key} is not in lowerCamelCase"
            yield from as_written(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from as_written(inner, key)
    elif key in ("traceId", "spanId"):
        if not re.fullmatch(r"[0-9a-f]{32}" if key == "traceId" else r"[0-9a-f]{16}", str(value)):
            yield f"{key} is not in hexadecimal: {value}"
    elif key in ("aggregationTemporality", "severityNumber", "kind"):
        if not isinstance(value, int):
            yield f"{key} is not the number of an enumeration: {value}"
    elif key.endswith("UnixNano") or key in ("asInt", "count", "bucketCounts", "intValue"):
        if not isinstance(value, str):
            yield f"{key} is not a string of digits: {value}"


def attributes(of, where):
    keys = [attribute.key for attribute in of]
    if len(set(keys)) != len(keys) or "" in keys:
        yield f"{where} has an attribute twice or without a name: {keys}"
    for attribute in of:
        if attribute.value.WhichOneof("value") is None:
            yield f"{where} has no value of {attribute.key}"


def points(metric, kind, resource):
    data = getattr(metric, kind)
    if kind != "gauge" and data.aggregation_temporality != CUMULATIVE:
        yield f"{metric.name} is not cumulative"
    if not data.data_points:
        yield f"{metric.name} has no data points"
    seen = set()
    for point in data.data_points:
        yield from attributes(point.attributes, metric.name)
        labels = tuple(sorted((one.key, one.value.SerializeToString()) for one in point.attributes))
        if labels in seen:
            yield f"{metric.name} has two points of {labels}"
        seen.add(labels)
        if not point.time_unix_nano:
            yield f"{metric.name} has no time"
        if kind != "gauge" and not 0 < point.start_time_unix_nano <= point.time_unix_nano:
            yield f"{metric.name} does not begin before its time"
        if kind == "histogram":
            bounds = list(point.explicit_bounds)
            if bounds != sorted(set(bounds)) or len(point.bucket_counts) != len(bounds) + 1:
                yield f"{metric.name} has {len(point.bucket_counts)} buckets by {bounds}"
            if sum(point.bucket_counts) != point.count:
                yield f"{metric.name} counts {point.count}, its buckets {sum(point.bucket_counts)}"
        elif point.WhichOneof("value") is None:
            yield f"{metric.name} has no value"
        elif kind == "sum" and data.is_monotonic:
            series = (resource, metric.name, labels, point.start_time_unix_nano)
            value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
            if value < counters.get(series, 0):
                yield f"{metric.name} fell from {counters[series]} to {value}"
            counters[series] = value


def metrics(request):
    for of_resource in request.resource_metrics:
        yield from attributes(of_resource.resource.attributes, "the resource")
        resource = of_resource.resource.SerializeToString(deterministic=True)
        for scope in of_resource.scope_metrics:
            if not scope.scope.name:
                yield "a scope has no name"
            names = [metric.name for metric in scope.metrics]
            for name in {name for name in names if names.count(name) > 1}:
                yield f"{name} comes {names.count(name)} times in one scope"
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if not metric.name or kind not in ("gauge", "sum", "histogram"):
                    yield f"a metric {metric.name} of the kind {kind}"
                else:
                    yield from points(metric, kind, resource)


def logs(request):
    for of_resource in request.resource_logs:
        yield from attributes(of_resource.resource.attributes, "the resource")
        for scope in of_resource.scope_logs:
            for record in scope.log_records:
                yield from attributes(record.attributes, "a record")
                if not record.observed_time_unix_nano or not record.time_unix_nano:
                    yield "a record has no time"
                if not 1 <= record.severity_number <= 24:
                    yield "a record has no severity"
                if not record.body.string_value:
                    yield "a record has no text"


SIGNALS = {
    "/v1/metrics": (ExportMetricsServiceRequest, metrics),
    "/v1/logs": (ExportLogsServiceRequest, logs),
}


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        pushed = {"path": self.path, "encoding": self.headers["content-encoding"],
                  "authorization": self.headers["authorization"]}
        try:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-type"] != "application/json":
                raise ValueError(f"content-type: {self.headers['content-type']}")
            if pushed["encoding"] == "gzip":
                body = gzip.decompress(body)
            elif pushed["encoding"]:
                raise ValueError(f"content-encoding: {pushed['encoding']}")
            signal = next((path for path in SIGNALS if self.path.endswith(path)), None)
            if signal is None:
                raise ValueError(f"nothing is taken at {self.path}")
            message, judge = SIGNALS[signal]
            mistakes = list(as_written(json.loads(body, object_pairs_hook=unique_keys)))
            request = json_format.Parse(body, message())
            with lock:
                mistakes += judge(request)
            pushed["request"] = json_format.MessageToDict(request)
        except (ValueError, TypeError, OSError, json_format.ParseError) as error:
            mistakes = [str(error)]
        if mistakes:
            pushed["mistakes"] = mistakes
        self.answer(400 if mistakes else STATUS)
        with lock:
            print(json.dumps(pushed), flush=True)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
