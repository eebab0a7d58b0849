/*
 * Writes the golden bytes beside this file with the message classes of Apache Kafka's own client library, so that our
 * encoder is never compared with itself. Run once per change of the list below; README.md says how.
 *
 * Every message in every served version is written three times: "default" (as constructed), "full" (each field that the
 * version has holds some other value, arrays have two elements) and "nulls" (full, with null wherever the version allows it).
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.BaseRecords;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

public class Generate {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();

    /** API, first and last version. */
    private static final Object[][] APIS = {
        {"ApiVersions", 0, 4}, {"Metadata", 0, 12}, {"Produce", 3, 11}, {"Fetch", 4, 16}, {"ListOffsets", 1, 9},
        {"FindCoordinator", 0, 6}, {"JoinGroup", 0, 9}, {"SyncGroup", 0, 5}, {"Heartbeat", 0, 4}, {"LeaveGroup", 0, 5},
        {"OffsetCommit", 1, 9}, {"OffsetFetch", 1, 9}, {"ListGroups", 0, 5}, {"DescribeGroups", 0, 5},
        {"DeleteGroups", 0, 2}, {"CreateTopics", 0, 7}, {"DeleteTopics", 0, 6}, {"CreatePartitions", 0, 3},
        {"InitProducerId", 0, 5}, {"DescribeCluster", 0, 1}, {"DescribeConfigs", 0, 4},
        {"IncrementalAlterConfigs", 0, 1}, {"OffsetForLeaderEpoch", 2, 4}, {"OffsetDelete", 0, 0},
        {"DeleteRecords", 0, 2}, {"AlterConfigs", 0, 2}, {"DescribeLogDirs", 0, 4},
    };
    private static final Object[][] DATA = {
        {"org.apache.kafka.common.message.ConsumerProtocolSubscription", 0, 3},
        {"org.apache.kafka.common.message.ConsumerProtocolAssignment", 0, 3},
        {"org.apache.kafka.coordinator.group.generated.OffsetCommitKey", 0, 0},
        {"org.apache.kafka.coordinator.group.generated.OffsetCommitValue", 0, 4},
        {"org.apache.kafka.coordinator.group.generated.GroupMetadataKey", 0, 0},
        {"org.apache.kafka.coordinator.group.generated.GroupMetadataValue", 0, 4},
    };

    private static int counter;

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        try (PrintStream out = open(folder.resolve("messages.jsonl"))) {
            for (Object[] api : APIS) {
                for (String kind : List.of("Request", "Response")) {
                    writeMessages(out, "org.apache.kafka.common.message." + api[0] + kind + "Data", api[0] + kind, api);
                }
            }
            for (Object[] data : DATA) {
                String name = (String) data[0];
                writeMessages(out, name, name.substring(name.lastIndexOf('.') + 1), data);
            }
        }
        try (PrintStream out = open(folder.resolve("headers.jsonl"))) {
            for (Object[] api : APIS) writeHeaders(out, (String) api[0], (int) api[1], (int) api[2]);
        }
        try (PrintStream out = open(folder.resolve("batches.jsonl"))) {
            writeBatches(out);
        }
    }

    private static PrintStream open(Path path) throws Exception {
        return new PrintStream(path.toFile(), StandardCharsets.UTF_8);
    }

    private static void writeMessages(PrintStream out, String className, String name, Object[] versions) throws Exception {
        Class<?> type = Class.forName(className);
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        short lowest = type.getField("LOWEST_SUPPORTED_VERSION").getShort(null);
        Method toJson = Class.forName(className + "JsonConverter").getMethod("write", type, short.class);
        for (int version = (int) versions[1]; version <= (int) versions[2]; version++) {
            Schema schema = schemas[version];
            if (version < lowest || schema == null) throw new IllegalStateException(name + " lacks version " + version);
            for (String kind : List.of("default", "full", "nulls")) {
                counter = 0;
                Message message = (Message) type.getConstructor().newInstance();
                boolean hasNull = !kind.equals("default") && fill(message, schema, kind.equals("nulls"));
                if (kind.equals("nulls") && !hasNull) continue;
                byte[] bytes = bytesOf(message, (short) version);
                ObjectNode line = JSON.createObjectNode();
                line.put("message", name).put("version", version).put("kind", kind);
                line.set("value", withRecords((JsonNode) toJson.invoke(null, message, (short) version), message));
                line.put("hex", HEX.formatHex(bytes));
                out.print(JSON.writeValueAsString(line) + "\n");
            }
        }
    }

    private static byte[] bytesOf(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) throw new IllegalStateException("Size is wrong");
        return buffer.array();
    }

    /** Sets what `schema` has; with `nulls` to null where possible. Returns whether anything became null. */
    private static boolean fill(Object target, Schema schema, boolean nulls) throws Exception {
        boolean hasNull = false;
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (Field field : taggedFields(tagged)) hasNull |= set(target, field.name, field.type, nulls);
            } else {
                hasNull |= set(target, bound.def.name, bound.def.type, nulls);
            }
        }
        return hasNull;
    }

    @SuppressWarnings("unchecked")
    private static Collection<Field> taggedFields(TaggedFields tagged) throws Exception {
        java.lang.reflect.Field fields = TaggedFields.class.getDeclaredField("fields");
        fields.setAccessible(true);
        return ((Map<Integer, Field>) fields.get(tagged)).values();
    }

    private static boolean set(Object target, String snake, Type type, boolean nulls) throws Exception {
        StringBuilder name = new StringBuilder("set");
        for (String word : snake.split("_")) name.append(Character.toUpperCase(word.charAt(0))).append(word.substring(1));
        Method setter = null;
        for (Method method : target.getClass().getMethods()) if (method.getName().contentEquals(name)) setter = method;
        if (setter == null) throw new IllegalStateException("No " + name + " in " + target.getClass());
        Class<?> parameter = setter.getParameterTypes()[0];
        // The constructor's value stays where null is wanted and the field is of a version that has it non-null.
        if (nulls && type.isNullable()) {
            setter.invoke(target, (Object) null);
            return true;
        }
        Type element = type.arrayElementType().orElse(null);
        if (element == null) {
            boolean[] inner = {false};
            setter.invoke(target, value(parameter, type, nulls, inner));
            return inner[0];
        }
        boolean[] inner = {false};
        Collection<Object> values = collection(parameter);
        Class<?> elementClass = elementClass(target, name.substring(3), setter);
        for (int index = 0; index < 2; index++) values.add(value(elementClass, element, nulls, inner));
        setter.invoke(target, values);
        return inner[0];
    }

    @SuppressWarnings("unchecked")
    private static Collection<Object> collection(Class<?> type) throws Exception {
        return type == List.class ? new ArrayList<>() : (Collection<Object>) type.getConstructor().newInstance();
    }

    private static Class<?> elementClass(Object target, String name, Method setter) {
        java.lang.reflect.Type generic = setter.getGenericParameterTypes()[0];
        if (generic instanceof java.lang.reflect.ParameterizedType list) return (Class<?>) list.getActualTypeArguments()[0];
        Class<?> type = setter.getParameterTypes()[0];
        return (Class<?>) ((java.lang.reflect.ParameterizedType) type.getGenericSuperclass()).getActualTypeArguments()[0];
    }

    private static Object value(Class<?> type, Type wire, boolean nulls, boolean[] hasNull) throws Exception {
        int n = ++counter;
        if (type == byte.class || type == Byte.class) return (byte) (n % 100 + 1);
        if (type == short.class || type == Short.class) return (short) (n + 300);
        if (type == int.class || type == Integer.class) return n % 2 == 0 ? n + 70_000 : -n - 1_000_000;
        if (type == long.class || type == Long.class) return n % 2 == 0 ? n + (1L << 40) : -n - (1L << 45);
        if (type == double.class) return n + 0.5;
        if (type == boolean.class || type == Boolean.class) return true;
        if (type == String.class) return n % 3 == 0 ? "é€𝄞" + n : "s" + n;
        if (type == Uuid.class) return new Uuid(0x0123456789abcdefL + n, 0xfedcba9876543210L - n);
        if (type == byte[].class) return new byte[] {(byte) n, 0, (byte) 0xff};
        if (type == ByteBuffer.class) return ByteBuffer.wrap(new byte[] {(byte) n, 1, (byte) 0x80});
        if (type == BaseRecords.class) return MemoryRecords.readableRecords(ByteBuffer.wrap(new byte[] {(byte) n, 2, 3, 4}));
        Object struct = type.getConstructor().newInstance();
        hasNull[0] |= fill(struct, (Schema) wire, nulls);
        return struct;
    }

    /** Kafka's converter leaves out the bytes of records: they are put in here. */
    private static JsonNode withRecords(JsonNode json, Object source) throws Exception {
        if (json instanceof ObjectNode node) {
            if (node.has("records")) {
                Object records = source.getClass().getMethod("records").invoke(source);
                if (records == null) node.putNull("records");
                else node.put("records", Base64.getEncoder().encodeToString(((MemoryRecords) records).buffer().array()));
            }
            for (String name : names(node)) {
                if (!(node.get(name) instanceof ArrayNode array) || array.isEmpty() || !array.get(0).isObject()) continue;
                Object list = source.getClass().getMethod(name).invoke(source);
                int index = 0;
                for (Object element : (Iterable<?>) list) withRecords(array.get(index++), element);
            }
        }
        return json;
    }

    private static List<String> names(ObjectNode node) {
        List<String> names = new ArrayList<>();
        node.fieldNames().forEachRemaining(names::add);
        return names;
    }

    private static void writeHeaders(PrintStream out, String name, int first, int last) throws Exception {
        ApiKeys key = null;
        for (ApiKeys each : ApiKeys.values()) if (each.name.equals(name)) key = each;
        for (int version = first; version <= last; version++) {
            short requestVersion = key.requestHeaderVersion((short) version);
            short responseVersion = key.responseHeaderVersion((short) version);
            RequestHeaderData request = new RequestHeaderData()
                .setRequestApiKey(key.id).setRequestApiVersion((short) version).setCorrelationId(77).setClientId("cliént");
            ResponseHeaderData response = new ResponseHeaderData().setCorrelationId(77);
            ObjectNode line = JSON.createObjectNode();
            line.put("api", name).put("version", version);
            line.put("request", HEX.formatHex(bytesOf(request, requestVersion)));
            line.put("response", HEX.formatHex(bytesOf(response, responseVersion)));
            out.print(JSON.writeValueAsString(line) + "\n");
        }
    }

    private static void writeBatches(PrintStream out) throws Exception {
        List<Compression> codecs = List.of(Compression.NONE, Compression.gzip().build(), Compression.snappy().build(),
            Compression.lz4().build(), Compression.zstd().build());
        for (Compression codec : codecs) {
            String name = codec.type().name;
            writeBatch(out, name + " small", small(builder(codec, TimestampType.CREATE_TIME, -1L, (short) -1, -1, false)));
            writeBatch(out, name + " idempotent", small(builder(codec, TimestampType.CREATE_TIME, 4711L, (short) 3, 17, false)));
            writeBatch(out, name + " transactional", small(builder(codec, TimestampType.CREATE_TIME, 4711L, (short) 3, 17, true)));
            writeBatch(out, name + " append time", small(builder(codec, TimestampType.LOG_APPEND_TIME, -1L, (short) -1, -1, false)));
            MemoryRecordsBuilder large = builder(codec, TimestampType.CREATE_TIME, -1L, (short) -1, -1, false);
            // Repetitive and longer than one block of any codec.
            int count = codec == Compression.NONE ? 20 : 3000;
            for (int index = 0; index < count; index++) {
                large.append(1_700_000_000_000L + index * 37L % 1000, ("key-" + index % 7).getBytes(),
                    ("{\"order\":" + index + ",\"customer\":\"customer-" + index % 13 + "\",\"amount\":42}").getBytes());
            }
            writeBatch(out, name + " large", large.build());
        }
        writeBatch(out, "commit marker", MemoryRecords.withEndTransactionMarker(1234L, 1_700_000_000_000L, 5, 4711L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9)));
        writeBatch(out, "abort marker", MemoryRecords.withEndTransactionMarker(1234L, 1_700_000_000_000L, 5, 4711L, (short) 3,
            new EndTransactionMarker(ControlRecordType.ABORT, 9)));
    }

    private static MemoryRecordsBuilder builder(Compression codec, TimestampType type, long producerId, short epoch,
            int sequence, boolean transactional) {
        return MemoryRecords.builder(ByteBuffer.allocate(1 << 20), RecordBatch.MAGIC_VALUE_V2, codec, type, 100L,
            1_700_000_009_999L, producerId, epoch, sequence, transactional, 5);
    }

    private static MemoryRecords small(MemoryRecordsBuilder builder) {
        builder.append(1_700_000_000_000L, "key".getBytes(), "value".getBytes());
        builder.append(1_700_000_000_009L, (byte[]) null, "no key".getBytes());
        builder.append(1_600_000_000_000L, "no value, long before".getBytes(), (byte[]) null);
        builder.append(1_700_000_000_001L, new byte[0], new byte[0], new Header[] {
            new RecordHeader("header", "x".getBytes()), new RecordHeader("null", (byte[]) null), new RecordHeader("é", new byte[0])});
        builder.append(1_700_000_000_002L, "300 bytes".getBytes(), "abc".repeat(100).getBytes());
        return builder.build();
    }

    private static void writeBatch(PrintStream out, String name, MemoryRecords records) throws Exception {
        RecordBatch batch = records.firstBatch();
        ObjectNode line = JSON.createObjectNode();
        line.put("name", name);
        ObjectNode header = line.putObject("header");
        header.put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset());
        header.put("leaderEpoch", batch.partitionLeaderEpoch()).put("crc", batch.checksum());
        header.put("codec", batch.compressionType().id).put("maxTimestamp", batch.maxTimestamp());
        header.put("isLogAppendTime", batch.timestampType() == TimestampType.LOG_APPEND_TIME);
        header.put("isTransactional", batch.isTransactional()).put("isControl", batch.isControlBatch());
        header.put("producerId", batch.producerId()).put("producerEpoch", batch.producerEpoch());
        header.put("baseSequence", batch.baseSequence()).put("recordCount", batch.countOrNull());
        List<Record> all = new ArrayList<>();
        for (Record record : batch) all.add(record);
        // The large ones follow a rule that the test repeats: only their last record is kept.
        ArrayNode array = line.putArray("records");
        for (Record record : all.size() > 10 ? all.subList(all.size() - 1, all.size()) : all) {
            ObjectNode node = array.addObject();
            node.put("offset", record.offset()).put("timestamp", record.timestamp());
            node.put("key", record.hasKey() ? HEX.formatHex(MessageUtil.byteBufferToArray(record.key())) : null);
            node.put("value", record.hasValue() ? HEX.formatHex(MessageUtil.byteBufferToArray(record.value())) : null);
            ArrayNode headers = node.putArray("headers");
            for (Header each : record.headers()) {
                headers.addObject().put("key", each.key()).put("value", each.value() == null ? null : HEX.formatHex(each.value()));
            }
        }
        line.put("hex", HEX.formatHex(MessageUtil.byteBufferToArray(records.buffer())));
        out.print(JSON.writeValueAsString(line) + "\n");
    }
}
