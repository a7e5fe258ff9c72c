"""Writes Avro records by Confluent's serializer: producer.py KAFKA REGISTRY

Each line of the input is a command in JSON, and each gets a line of the output once it is done:
{"topic": …, "partitions": …} creates a topic, {"schema": …} registers a schema, {"topic": …, "partition": …,
"schema": …, "value": …} writes a record. Schemas that have been registered need no registry.
"""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

kafka, url = sys.argv[1:]
registry = SchemaRegistryClient({"url": url})
admin = AdminClient({"bootstrap.servers": kafka})
producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
serializers = {}


def serialize(schema, value):
    text = json.dumps(schema)
    if text not in serializers:
        by_name = {"subject.name.strategy": lambda _, name: name}
        serializers[text] = AvroSerializer(registry, text, conf=by_name)
    return serializers[text](value, SerializationContext("", MessageField.VALUE))


for line in sys.stdin:
    command = json.loads(line)
    if "partitions" in command:
        new = NewTopic(command["topic"], command["partitions"], 1)
        for future in admin.create_topics([new]).values():
            future.result()
    elif "topic" not in command:
        example = {field["name"]: 0 if field["type"] == "int" else "" for field in command["schema"]["fields"]}
        serialize(command["schema"], example)
    else:
        value = serialize(command["schema"], command["value"])
        producer.produce(command["topic"], value, partition=command["partition"])
        assert producer.flush(30) == 0
    print("done", flush=True)
