/**
 * Every property of a broker: Kafka's name, type and default where Kafka has one, and ours where the architecture differs (raft.*, wal.*, http.*, disk.*).
 * A property that is not in this table does nothing, and the broker says so at start.
 */
import { boolean, CONFIG_TYPE, int, long, oneOf, type ParsedConfig, text } from './config-definition.ts';
import { parseEndpoint, parseListener, parseVoters } from './endpoint.ts';
import { RefusedConfigError } from './refused-config-error.ts';

const MIB = 2 ** 20;

export const BROKER_PROPERTIES = {
  // Identity and addresses
  'node.id': int({
    required: true,
    min: 0,
    documentation: 'Id of this broker, unique in the cluster and never changed.',
  }),
  'broker.rack': text({
    allowed: 'a name of the failure domain',
    documentation: 'Replicas of a partition are placed in different racks first.',
    parse: nonEmpty,
  }),
  listeners: text({
    default: 'PLAINTEXT://127.0.0.1:9092',
    type: CONFIG_TYPE.list,
    allowed: 'PLAINTEXT://host:port',
    documentation: 'Address on which Kafka clients are served.',
    parse: parseListener,
  }),
  'advertised.listeners': text({
    type: CONFIG_TYPE.list,
    allowed: 'PLAINTEXT://host:port, reachable by clients',
    documentation: 'Address given to clients; the listener itself if not set.',
    parse: (value) => {
      const endpoint = parseListener(value);
      if (endpoint.host === '' || endpoint.host === '0.0.0.0' || endpoint.host === '::') {
        throw new RefusedConfigError('An advertised address needs a host that clients can connect to');
      }
      return endpoint;
    },
  }),
  'raft.listener': text({
    default: '127.0.0.1:9192',
    allowed: 'host:port',
    documentation: 'Address on which the other brokers are served (gRPC). Loopback only, unless raft.network.trusted.',
    parse: parseEndpoint,
  }),
  'raft.advertised.listener': text({
    allowed: 'host:port, reachable by the other brokers',
    documentation: 'Address given to the other brokers; raft.listener itself if not set.',
    parse: parseEndpoint,
  }),
  'raft.network.trusted': boolean({
    default: false,
    documentation:
      'States that everybody who can reach raft.listener may change the data of this cluster, as it carries no authentication.',
  }),
  'http.listener': text({
    default: '127.0.0.1:9292',
    allowed: 'host:port',
    documentation: 'Address of /metrics, /healthz, /readyz, /status and /scrub.',
    parse: parseEndpoint,
  }),
  'controller.quorum.voters': text({
    required: true,
    type: CONFIG_TYPE.list,
    allowed: '1, 3 or 5 times id@host:port (raft.listener of each), separated by commas',
    documentation:
      'Brokers that form the cluster once and vote on its metadata; the same list on every broker. Later it is where they are looked for, beside where they registered.',
    parse: parseVoters,
  }),
  'log.dirs': text({
    required: true,
    type: CONFIG_TYPE.list,
    allowed: 'one directory',
    documentation: 'Data directory of the broker, locked while it runs. Several brokers never share one.',
    parse: (value) => {
      if (value.includes(','))
        throw new RefusedConfigError('Several directories are given, but a broker has one WAL and one directory');
      return nonEmpty(value);
    },
  }),

  // Topics
  'num.partitions': int({
    default: 1,
    min: 1,
    max: 10_000,
    documentation: 'Partitions of a topic created without a count.',
  }),
  'default.replication.factor': int({
    default: 3,
    min: 1,
    max: 32_767,
    documentation:
      'Replicas of a partition created without a count. Kafka has 1 here; a promise that is on by default needs 3.',
  }),
  'min.insync.replicas': int({
    default: 1,
    min: 1,
    documentation: 'Flushed replicas that a produce waits for, if above the majority, which is always waited for.',
  }),
  'auto.create.topics.enable': boolean({
    default: true,
    documentation: 'Creates a topic when a client asks for its metadata.',
  }),
  'delete.topic.enable': boolean({ default: true, documentation: 'Allows DeleteTopics.' }),
  'message.max.bytes': int({ default: 1_048_588, min: 0, documentation: 'Largest record batch.' }),
  'compression.type': oneOf({
    words: ['producer'],
    default: 'producer',
    documentation: 'Batches stay as the producer compressed them.',
    unserved: recompression(),
  }),
  'log.cleanup.policy': oneOf({
    words: ['delete'],
    default: 'delete',
    type: CONFIG_TYPE.list,
    documentation: 'What happens to old records.',
    unserved: compaction(),
  }),
  'log.retention.ms': long({
    min: -1,
    documentation: 'Age at which records are deleted; -1: never. Goes before log.retention.minutes.',
  }),
  'log.retention.minutes': int({
    min: -1,
    documentation: 'Age at which records are deleted; -1: never. Goes before log.retention.hours.',
  }),
  'log.retention.hours': int({ default: 168, min: -1, documentation: 'Age at which records are deleted; -1: never.' }),
  'log.retention.bytes': long({
    default: -1,
    min: -1,
    documentation: 'Size of a partition above which its oldest segments are deleted; -1: none.',
  }),
  'log.retention.check.interval.ms': long({
    default: 300_000,
    min: 1,
    documentation: 'Time between two looks for records to delete.',
  }),
  'log.segment.bytes': int({
    default: 2 ** 30,
    min: 14,
    documentation: 'Size at which a partition begins a new segment file.',
  }),
  'log.roll.ms': long({
    min: 1,
    documentation: 'Age at which a partition begins a new segment file. Goes before log.roll.hours.',
  }),
  'log.roll.hours': int({ default: 168, min: 1, documentation: 'Age at which a partition begins a new segment file.' }),
  'log.index.interval.bytes': int({
    default: 4096,
    min: 0,
    documentation: 'Bytes between two entries of the offset and time indexes.',
  }),
  'log.message.timestamp.type': oneOf({
    words: ['CreateTime', 'LogAppendTime'],
    default: 'CreateTime',
    documentation: "Whose time a record carries: its producer's or the leader's.",
  }),
  'log.message.timestamp.before.max.ms': long({
    default: 2n ** 63n - 1n,
    min: 0,
    documentation: "How far a record's timestamp may lie before the leader's time.",
  }),
  'log.message.timestamp.after.max.ms': long({
    default: 2n ** 63n - 1n,
    min: 0,
    documentation: "How far a record's timestamp may lie after the leader's time.",
  }),
  'producer.id.expiration.ms': int({
    default: 86_400_000,
    min: 1,
    documentation: 'Inactivity after which a partition forgets an idempotent producer.',
  }),

  // Connections and requests
  'socket.request.max.bytes': int({
    default: 100 * MIB,
    min: 1024,
    documentation: 'Largest request; a longer one closes its connection.',
  }),
  'connections.max.idle.ms': long({
    default: 600_000,
    min: 1000,
    documentation: 'A connection without a request for so long is closed.',
  }),
  'max.connections': int({
    default: 10_000,
    min: 1,
    documentation: 'Connections of clients at a time; further ones are closed at once.',
  }),
  'queued.max.request.bytes': long({
    default: 256 * MIB,
    min: MIB,
    documentation:
      'Bytes of requests being read or served at a time; above, sockets are not read. Kafka has no limit here.',
  }),
  'connection.max.in.flight.requests': int({
    default: 256,
    min: 1,
    documentation: 'Requests of one connection being served at a time; above, its socket is not read.',
  }),
  'connection.max.in.flight.bytes': long({
    default: 32 * MIB,
    min: 1024,
    documentation:
      'Bytes of requests of one connection being served at a time; above, its socket is not read. A single larger request is served alone.',
  }),
  'connection.max.buffered.response.bytes': int({
    default: 8 * MIB,
    min: 1024,
    documentation: 'Bytes of responses that a client has not read yet; above, none of its requests is served.',
  }),
  'fetch.max.bytes': int({
    default: 55 * MIB,
    min: 1024,
    documentation: 'Most bytes of records in one Fetch response, except that one whole batch is always sent.',
  }),
  'fetch.max.buffered.bytes': long({
    default: 256 * MIB,
    min: MIB,
    documentation:
      'Bytes of Fetch responses read and not yet sent, of all connections; above, further fetches get one batch a partition at most.',
  }),

  // Groups
  'offsets.topic.num.partitions': int({
    default: 50,
    min: 1,
    max: 1000,
    documentation: 'Partitions of __consumer_offsets, fixed when it is created.',
  }),
  'offsets.topic.replication.factor': int({
    default: 3,
    min: 1,
    max: 32_767,
    documentation: 'Replicas of __consumer_offsets. It is created once so many brokers live.',
  }),
  'offsets.retention.minutes': int({
    default: 10_080,
    min: 1,
    documentation: 'Time after which the offsets of an empty group are forgotten.',
  }),
  'offsets.retention.check.interval.ms': long({
    default: 600_000,
    min: 1,
    documentation: 'Time between two looks for offsets to forget.',
  }),
  'offset.metadata.max.bytes': int({ default: 4096, min: 0, documentation: 'Longest text committed with an offset.' }),
  'group.initial.rebalance.delay.ms': int({
    default: 3000,
    min: 0,
    documentation: 'How long the first rebalance of an empty group waits for more members.',
  }),
  'group.min.session.timeout.ms': int({
    default: 6000,
    min: 1,
    documentation: 'Shortest session time-out that a member may ask for.',
  }),
  'group.max.session.timeout.ms': int({
    default: 1_800_000,
    min: 1,
    documentation: 'Longest session time-out that a member may ask for.',
  }),
  'group.max.size': int({ default: 10_000, min: 1, documentation: 'Most members of a group.' }),

  // Raft
  'replica.lag.time.max.ms': long({
    default: 10_000,
    min: 1,
    documentation: 'A replica that was not caught up for so long is not in sync.',
  }),
  'raft.election.timeout.ms': int({
    default: 1000,
    min: 50,
    max: 60_000,
    documentation: 'A replica that knows no leader asks for votes after one to two times this.',
  }),
  'raft.heartbeat.interval.ms': int({
    default: 150,
    min: 10,
    max: 10_000,
    documentation: 'Time between two heartbeats to each other broker.',
  }),
  'raft.liveness.timeout.ms': int({
    default: 1000,
    min: 50,
    max: 60_000,
    documentation: 'Silence after which a broker counts as dead. The end of its process is noticed at once.',
  }),
  'raft.disk.stall.limit.ms': int({
    default: 3000,
    min: 100,
    documentation: 'A broker whose oldest flush waits for longer gives its leaderships away.',
  }),
  'raft.group.max.uncommitted.bytes': long({
    default: 16 * MIB,
    min: MIB,
    documentation:
      'Bytes proposed and not yet committed of one partition; above, produce is refused with a retriable error.',
  }),
  'raft.max.uncommitted.bytes': long({
    default: 128 * MIB,
    min: MIB,
    documentation: 'The same for all partitions of the broker.',
  }),

  // Disk
  'wal.segment.bytes': int({
    default: 32 * MIB,
    min: MIB,
    max: 1024 * MIB,
    documentation: 'Size of one WAL segment; preallocated, then reused.',
  }),
  'wal.max.bytes': long({
    default: 256 * MIB,
    min: 4 * MIB,
    documentation: 'Size of the WAL; what a restart may have to replay.',
  }),
  'log.tail.cache.bytes': long({
    default: 32 * MIB,
    min: MIB,
    documentation:
      'Memory for the newest records of all partitions that the broker leads, and for what waits to be written to partition files.',
  }),
  'disk.free.min.bytes': long({
    default: 512 * MIB,
    min: 0,
    documentation: 'Free space below which produce is refused with a retriable error, while everything else goes on.',
  }),
  'disk.reserve.bytes': long({
    default: 64 * MIB,
    min: 0,
    documentation:
      'Size of a preallocated file that is given up when the disk is full, so that checkpoints and recovery go on.',
  }),
  'disk.check.interval.ms': int({ default: 1000, min: 10, documentation: 'Time between two looks at the free space.' }),
  'scrub.bytes.per.second': long({
    default: 8 * MIB,
    min: 1024,
    documentation:
      'Speed at which partition files are read in the background to find damage, which is then repaired from the other replicas.',
  }),
  'scrub.interval.ms': long({
    default: 3_600_000,
    min: 100,
    documentation:
      'Time from the begin of one search for damage to the begin of the next; one that takes longer is followed by the next at once.',
  }),
  'shutdown.transfer.timeout.ms': int({
    default: 5000,
    min: 0,
    documentation: 'How long a graceful stop waits for other brokers to take over leaderships.',
  }),

  // For tools
  'inter.broker.protocol.version': oneOf({
    words: ['3.9-IV0'],
    default: '3.9-IV0',
    documentation:
      'Kafka line whose client protocol is served. Read by tools; brokers talk to each other in a protocol of their own.',
  }),
  'log.level': oneOf({
    words: ['debug', 'info', 'warn', 'error'],
    default: 'info',
    documentation: 'Least severity that is logged.',
  }),
};

export type BrokerPropertyName = keyof typeof BROKER_PROPERTIES;
export type BrokerProperties = ParsedConfig<typeof BROKER_PROPERTIES>;

/** Sentences for what Kafka can do to old records and this broker can not yet. */
export function compaction(): { readonly [word: string]: string } {
  const sentence = 'Log compaction is not served by this broker, only cleanup.policy=delete is';
  return { compact: sentence, 'compact,delete': sentence, 'delete,compact': sentence };
}

export function recompression(): { readonly [word: string]: string } {
  const sentence =
    'Recompression is not served by this broker: batches stay as their producer compressed them (compression.type=producer)';
  return Object.fromEntries(
    ['uncompressed', 'none', 'gzip', 'snappy', 'lz4', 'zstd'].map((codec) => [codec, sentence]),
  );
}

function nonEmpty(value: string): string {
  const trimmed = value.trim();
  if (trimmed === '') throw new RefusedConfigError('It is empty');
  return trimmed;
}
