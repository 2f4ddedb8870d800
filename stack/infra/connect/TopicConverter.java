import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.storage.Converter;

/**
 * JSON without schemas in the topics, for connectors of many topics.
 *
 * <p>Kafka's JsonConverter takes one schema from its configuration, so each topic would need a connector of its own.
 * This one takes a schema a topic, as {@code schema.TOPIC}, and hands on to a JsonConverter that has it. What is written
 * and is a string already is written as it is: the keys of the outbox's messages.
 */
public final class TopicConverter implements Converter {
    private static final String SCHEMA = "schema.";

    private final JsonConverter plain = new JsonConverter();
    private final Map<String, JsonConverter> byTopic = new HashMap<>();

    @Override
    public void configure(Map<String, ?> settings, boolean isKey) {
        Map<String, Object> common = new HashMap<>();
        settings.forEach((name, value) -> {
            if (!name.startsWith(SCHEMA)) {
                common.put(name, value);
            }
        });
        common.put("schemas.enable", "false");
        plain.configure(common, isKey);
        common.put("schemas.enable", "true");
        settings.forEach((name, value) -> {
            if (name.startsWith(SCHEMA)) {
                Map<String, Object> own = new HashMap<>(common);
                own.put("schema.content", value);
                JsonConverter converter = new JsonConverter();
                converter.configure(own, isKey);
                byTopic.put(name.substring(SCHEMA.length()), converter);
            }
        });
    }

    @Override
    public ConfigDef config() {
        return plain.config();
    }

    @Override
    public byte[] fromConnectData(String topic, Schema schema, Object value) {
        if (value instanceof String text) {
            return text.getBytes(StandardCharsets.UTF_8);
        }
        return plain.fromConnectData(topic, schema, value);
    }

    @Override
    public SchemaAndValue toConnectData(String topic, byte[] value) {
        return byTopic.getOrDefault(topic, plain).toConnectData(topic, value);
    }
}
