import java.time.Instant;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Adds the time of the Kafka record to its row, as {@code __emitted_at}.
 *
 * <p>Kafka's InsertField does that too, as a Connect timestamp, which Debezium's JDBC sink writes in whole seconds. This
 * one is a zoned timestamp, which it writes as it is.
 */
public final class EmittedAt<R extends ConnectRecord<R>> implements Transformation<R> {
    private static final String FIELD = "__emitted_at";
    private static final Schema TYPE =
            SchemaBuilder.string().name("io.debezium.time.ZonedTimestamp").version(1).optional().build();

    private final Map<Schema, Schema> widened = new ConcurrentHashMap<>();

    @Override
    public R apply(R record) {
        if (!(record.value() instanceof Struct row)) {
            return record;
        }
        Schema schema = widened.computeIfAbsent(row.schema(), EmittedAt::widen);
        Struct wide = new Struct(schema);
        for (Field field : row.schema().fields()) {
            wide.put(field.name(), row.get(field));
        }
        wide.put(FIELD, record.timestamp() == null ? null : Instant.ofEpochMilli(record.timestamp()).toString());
        return record.newRecord(
                record.topic(), record.kafkaPartition(), record.keySchema(), record.key(), schema, wide,
                record.timestamp());
    }

    private static Schema widen(Schema schema) {
        SchemaBuilder builder = SchemaBuilder.struct().name(schema.name());
        for (Field field : schema.fields()) {
            builder.field(field.name(), field.schema());
        }
        return builder.field(FIELD, TYPE).build();
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public void configure(Map<String, ?> settings) {}

    @Override
    public void close() {}
}
