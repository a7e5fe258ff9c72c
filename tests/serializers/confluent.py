"""Writes the records of cases.json with Confluent's serializers.

confluent.py KAFKA REGISTRY RUN

KAFKA is host:port, REGISTRY the URL of Confluent's API. The topics RUN-avro, RUN-protobuf and RUN-json exist.
"""

import io
import json
import pathlib
import sys

import fastavro
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format
from google.protobuf import timestamp_pb2  # noqa: F401, it is in the pool then

kafka, url, run = sys.argv[1:]
cases = json.loads(pathlib.Path(__file__).with_name("cases.json").read_text("utf-8"))
schemas = cases["schemas"]
registry = SchemaRegistryClient({"url": url})
producer = Producer({"bootstrap.servers": kafka})
pool = descriptor_pool.Default()


def by_name(schema):
    """The subject is the format and the name of the schema: a topic has several."""
    return {"subject.name.strategy": lambda _, name: f"{run}-{schema['type']}-{name}"}


def references(schema):
    return [SchemaReference(name, register(name), 1) for name in schema.get("references", [])]


def registered(schema):
    return Schema(json.dumps(schema["schema"]), schema["type"], references(schema))


def register(name):
    """The subject of a schema that others refer to."""
    registry.register_schema(f"{run}-{name}", registered(schemas[name]))
    return f"{run}-{name}"


def avro(schema):
    named = {}
    for name in schema.get("references", []):
        fastavro.parse_schema(schemas[name]["schema"], named)
    parsed = fastavro.parse_schema(schema["schema"], named)
    serializer = AvroSerializer(registry, registered(schema), conf=by_name(schema))

    def serialize(record, context):
        value = record["value"]
        # fastavro reads no JSON of a type that recurs. Without bytes and unions the JSON is the value.
        if not schema.get("recurs"):
            (value,) = fastavro.json_reader(io.StringIO(json.dumps(value)), parsed)
        return serializer(value, context)

    return serialize


def protobuf(schema):
    for name in schema.get("references", []):
        protobuf(schemas[name])
    file = text_format.Parse("\n".join(schema["schema"]), descriptor_pb2.FileDescriptorProto())
    pool.Add(file)

    def serialize(record, context):
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{record['message']}"))
        names = by_name(schema) | {"reference.subject.name.strategy": lambda _, reference: f"{run}-{reference.name}"}
        serializer = ProtobufSerializer(message, registry, {"use.deprecated.format": False} | names)
        return serializer(json_format.ParseDict(record["value"], message()), context)

    return serialize


def of_json(schema):
    serializer = JSONSerializer(registered(schema), registry, conf=by_name(schema))
    return lambda record, context: serializer(record["value"], context)


formats = {"AVRO": avro, "PROTOBUF": protobuf, "JSON": of_json}
serializers = {}
for name, records in cases["topics"].items():
    topic = f"{run}-{name}"
    for record in records:
        schema = record["schema"]
        if schema not in serializers:
            serializers[schema] = formats[schemas[schema]["type"]](schemas[schema])
        value = serializers[schema](record, SerializationContext(topic, MessageField.VALUE, []))
        producer.produce(topic, value, partition=0)
assert producer.flush(30) == 0
