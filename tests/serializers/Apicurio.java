import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.TextFormat;
import com.google.protobuf.TimestampProto;
import com.google.protobuf.util.JsonFormat;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import io.apicurio.registry.serde.avro.strategy.QualifiedRecordIdStrategy;
import io.apicurio.registry.serde.jsonschema.JsonSchemaKafkaSerializer;
import io.apicurio.registry.serde.protobuf.ProtobufKafkaSerializer;
import java.io.File;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serializer;

/**
 * Writes the records of cases.json with Apicurio's serializers.
 *
 * <p>Apicurio.java CASES KAFKA REGISTRY RUN
 *
 * <p>KAFKA is host:port. For each MODE of headers, prefix and legacy, the topics RUN-MODE-avro, RUN-MODE-protobuf and
 * RUN-MODE-json exist.
 */
class Apicurio {
    static final ObjectMapper JSON = new ObjectMapper();
    static JsonNode schemas;
    static String registry;

    public static void main(String[] arguments) throws Exception {
        JsonNode cases = JSON.readTree(new File(arguments[0]));
        schemas = cases.get("schemas");
        registry = arguments[2];
        String run = arguments[3];
        Map<String, Map<String, String>> modes = Map.of(
                "headers", Map.of(),
                "prefix", Map.of("apicurio.registry.headers.enabled", "false"),
                "legacy", Map.of(
                        "apicurio.registry.headers.enabled", "false", "apicurio.registry.as-confluent", "true"));
        for (JsonNode record : cases.get("topics").get("json")) {
            register(run, record.get("schema").asText());
        }
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", arguments[1]), bytes, bytes)) {
            for (String mode : modes.keySet()) {
                for (String format : List.of("avro", "protobuf", "json")) {
                    for (JsonNode record : cases.get("topics").get(format)) {
                        // Apicurio's serializer names a message without the one that it is nested in, and finds none.
                        if (record.path("message").asText().contains(".")) {
                            continue;
                        }
                        String topic = run + "-" + mode + "-" + format;
                        var headers = new RecordHeaders();
                        byte[] value = switch (format) {
                            case "avro" -> serialize(new AvroKafkaSerializer<>(), modes.get(mode), topic, headers, Map.of(
                                    "apicurio.registry.auto-register", "true",
                                    // Several schemas in a topic.
                                    "apicurio.registry.artifact-resolver-strategy",
                                    QualifiedRecordIdStrategy.class.getName()), avro(record));
                            case "protobuf" -> serialize(new ProtobufKafkaSerializer<>(), modes.get(mode), topic, headers,
                                    Map.of("apicurio.registry.auto-register", "true"), protobuf(record));
                            default -> serialize(new JsonSchemaKafkaSerializer<>(), modes.get(mode), topic, headers, Map.of(
                                    "apicurio.registry.find-latest", "true",
                                    // It looks for what a schema refers to on the disk only.
                                    "apicurio.registry.serde.validation-enabled", "false",
                                    "apicurio.registry.artifact.group-id", run,
                                    "apicurio.registry.artifact.artifact-id", record.get("schema").asText()),
                                    record.get("value"));
                        };
                        producer.send(new ProducerRecord<byte[], byte[]>(topic, 0, null, null, value, headers)).get();
                    }
                }
            }
        }
    }

    static <T> byte[] serialize(Serializer<T> serializer, Map<String, String> mode, String topic, Headers headers,
            Map<String, String> more, T value) {
        Map<String, Object> options = new HashMap<>(mode);
        options.putAll(more);
        options.put("apicurio.registry.url", registry + "/apis/registry/v2");
        serializer.configure(options, false);
        return serializer.serialize(topic, headers, value);
    }

    static Object avro(JsonNode record) throws Exception {
        Schema.Parser parser = new Schema.Parser();
        JsonNode schema = schemas.get(record.get("schema").asText());
        for (String name : references(schema)) {
            parser.parse(schemas.get(name).get("schema").toString());
        }
        Schema parsed = parser.parse(schema.get("schema").toString());
        return new GenericDatumReader<>(parsed)
                .read(null, DecoderFactory.get().jsonDecoder(parsed, record.get("value").toString()));
    }

    static DynamicMessage protobuf(JsonNode record) throws Exception {
        Descriptor message = null;
        for (String name : record.get("message").asText().split("\\.")) {
            message = message == null
                    ? file(record.get("schema").asText()).findMessageTypeByName(name)
                    : message.findNestedTypeByName(name);
        }
        DynamicMessage.Builder builder = DynamicMessage.newBuilder(message);
        JsonFormat.parser().merge(record.get("value").toString(), builder);
        return builder.build();
    }

    static FileDescriptor file(String name) throws Exception {
        JsonNode schema = schemas.get(name);
        List<FileDescriptor> imported = new ArrayList<>(List.of(TimestampProto.getDescriptor()));
        for (String reference : references(schema)) {
            imported.add(file(reference));
        }
        StringBuilder text = new StringBuilder();
        schema.get("schema").forEach(line -> text.append(line.asText()).append('\n'));
        FileDescriptorProto.Builder file = FileDescriptorProto.newBuilder();
        TextFormat.merge(text, file);
        return FileDescriptor.buildFrom(file.build(), imported.toArray(new FileDescriptor[0]));
    }

    /** The serializer of JSON Schema registers none itself. */
    static void register(String group, String name) throws Exception {
        JsonNode schema = schemas.get(name);
        List<Map<String, String>> references = new ArrayList<>();
        for (String reference : references(schema)) {
            register(group, reference);
            references.add(Map.of("groupId", group, "artifactId", reference, "version", "1", "name", reference));
        }
        Map<String, Object> body = Map.of("content", schema.get("schema").toString(), "references", references);
        URI uri = URI.create(registry + "/apis/registry/v2/groups/" + group + "/artifacts?ifExists=RETURN_OR_UPDATE");
        HttpRequest request = HttpRequest.newBuilder(uri)
                .header("content-type", "application/create.extended+json")
                .header("x-registry-artifactid", name)
                .header("x-registry-artifacttype", "JSON")
                .POST(BodyPublishers.ofString(JSON.writeValueAsString(body)))
                .build();
        var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(response.body());
        }
    }

    static List<String> references(JsonNode schema) {
        List<String> names = new ArrayList<>();
        if (schema.has("references")) {
            schema.get("references").forEach(name -> names.add(name.asText()));
        }
        return names;
    }
}
