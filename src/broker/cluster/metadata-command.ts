/**
 * What the metadata group replicates: commands, and their bytes.
 *
 * A command names what was decided (which brokers, which topic id, which final config values); identities that only have to be new (group, replica and producer ids) are given
 * out by apply from counters in the state, so no two commands can ever carry the same one. Format: version (1 byte), kind (1 byte), fields. A kind or version that is not known stops the
 * broker (DECISIONS I4): to skip it would fork the state.
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert, unreachable } from '../../std/assert.ts';
import { type BrokerId, brokerId, groupId, type ReplicaId, replicaId } from '../../std/brands.ts';
import type { ReplicaPlacement, Tombstone } from './metadata-image.ts';

export interface BrokerEndpoints {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly host: string;
  readonly port: number;
  readonly raftHost: string;
  readonly raftPort: number;
  readonly rack: string | null;
}

/** Brokers of each partition, preferred leader first. */
export type PartitionBrokers = readonly (readonly BrokerId[])[];
export type ConfigEntries = readonly (readonly [name: string, value: string])[];

export type MetadataCommand =
  /** `metadataReplicaId` 0: give out a new one. A known broker with another store id replaces its store (DECISIONS I1). */
  | { readonly kind: 'registerBroker'; readonly broker: BrokerEndpoints; readonly metadataReplicaId: ReplicaId | 0 }
  | {
      readonly kind: 'createTopics';
      readonly topics: readonly {
        readonly name: string;
        readonly topicId: string;
        readonly isInternal: boolean;
        readonly partitions: PartitionBrokers;
        readonly configs: ConfigEntries;
      }[];
    }
  | { readonly kind: 'deleteTopics'; readonly topicIds: readonly string[] }
  /** New partitions are numbered from `firstPartition`, which must be the topic's partition count. */
  | {
      readonly kind: 'createPartitions';
      readonly topics: readonly {
        readonly topicId: string;
        readonly firstPartition: number;
        readonly partitions: PartitionBrokers;
      }[];
    }
  /** Replaces all configs of each resource. `name`: topic id; broker id as text, '' for the cluster default. */
  | {
      readonly kind: 'alterConfigs';
      readonly resources: readonly {
        readonly resource: 'topic' | 'broker';
        readonly name: string;
        readonly configs: ConfigEntries;
      }[];
    }
  | { readonly kind: 'allocateProducerIds'; readonly count: number }
  /** Their store deleted these replicas. */
  | { readonly kind: 'replicasRemoved'; readonly replicaIds: readonly ReplicaId[] }
  /** New targets; refused for a partition whose version is not `version` any more. */
  | {
      readonly kind: 'setReplicas';
      readonly partitions: readonly {
        readonly topicId: string;
        readonly partition: number;
        readonly version: number;
        readonly brokerIds: readonly BrokerId[];
      }[];
    }
  /** The groups' own configurations equal the targets of these versions. */
  | {
      readonly kind: 'replicasFinal';
      readonly partitions: readonly {
        readonly topicId: string;
        readonly partition: number;
        readonly version: number;
      }[];
    }
  /** A replica that may have forgotten a vote gets a successor in the same store, and a tombstone; refused if the version is not `version` any more. */
  | {
      readonly kind: 'replaceReplica';
      readonly topicId: string;
      readonly partition: number;
      readonly version: number;
      readonly replicaId: ReplicaId;
    }
  /** Their stores still have these replicas, but lost what was in their logs, perhaps their removal: a tombstone for each that was given out and is not placed any more. */
  | { readonly kind: 'buryReplicas'; readonly replicas: readonly Tombstone[] }
  | { readonly kind: 'clusterTime'; readonly timeMs: number }
  | { readonly kind: 'featureLevel'; readonly level: number };

const FORMAT_VERSION = 1;

const KIND = {
  registerBroker: 1,
  createTopics: 2,
  deleteTopics: 3,
  createPartitions: 4,
  alterConfigs: 5,
  allocateProducerIds: 6,
  replicasRemoved: 7,
  setReplicas: 8,
  replicasFinal: 9,
  clusterTime: 10,
  featureLevel: 11,
  replaceReplica: 12,
  buryReplicas: 13,
} as const satisfies { readonly [Kind in MetadataCommand['kind']]: number };

const KIND_NAMES = new Map<number, MetadataCommand['kind']>(
  Object.entries(KIND).map(([name, code]) => [code, name as MetadataCommand['kind']]),
);

const RESOURCE = { topic: 0, broker: 1 } as const;

export function encodeMetadataCommand(command: MetadataCommand): Uint8Array[] {
  const writer = new ByteWriter();
  writer.int8(FORMAT_VERSION);
  writer.int8(KIND[command.kind]);
  switch (command.kind) {
    case 'registerBroker':
      writeEndpoints(writer, command.broker);
      writer.int64(command.metadataReplicaId);
      break;
    case 'createTopics':
      writeList(writer, command.topics, (topic) => {
        writer.compactString(topic.name);
        writer.uuid(topic.topicId);
        writer.bool(topic.isInternal);
        writePartitionBrokers(writer, topic.partitions);
        writeConfigs(writer, topic.configs);
      });
      break;
    case 'deleteTopics':
      writeList(writer, command.topicIds, (topicId) => writer.uuid(topicId));
      break;
    case 'createPartitions':
      writeList(writer, command.topics, (topic) => {
        writer.uuid(topic.topicId);
        writer.uvarint(topic.firstPartition);
        writePartitionBrokers(writer, topic.partitions);
      });
      break;
    case 'alterConfigs':
      writeList(writer, command.resources, (resource) => {
        writer.int8(RESOURCE[resource.resource]);
        writer.compactString(resource.name);
        writeConfigs(writer, resource.configs);
      });
      break;
    case 'allocateProducerIds':
      writer.uvarint(command.count);
      break;
    case 'replicasRemoved':
      writeList(writer, command.replicaIds, (id) => writer.int64(id));
      break;
    case 'setReplicas':
      writeList(writer, command.partitions, (partition) => {
        writePartitionVersion(writer, partition);
        writeBrokerIds(writer, partition.brokerIds);
      });
      break;
    case 'replicasFinal':
      writeList(writer, command.partitions, (partition) => writePartitionVersion(writer, partition));
      break;
    case 'replaceReplica':
      writePartitionVersion(writer, command);
      writer.int64(command.replicaId);
      break;
    case 'buryReplicas':
      writeList(writer, command.replicas, (replica) => writeTombstone(writer, replica));
      break;
    case 'clusterTime':
      writer.int64(command.timeMs);
      break;
    case 'featureLevel':
      writer.uvarint(command.level);
      break;
    default:
      unreachable(command, 'metadata command');
  }
  return writer.finish();
}

/** Throws on anything this version of the broker does not know or that is not exactly one command: the caller stops. */
export function decodeMetadataCommand(payload: Uint8Array): MetadataCommand {
  const reader = new ByteReader(payload);
  const version = reader.int8();
  assert(version === FORMAT_VERSION, `Metadata command of format version ${version} is not known to this version`);
  const code = reader.int8();
  const kind = KIND_NAMES.get(code);
  assert(kind !== undefined, `Metadata command of kind ${code} is not known to this version`);
  const command = readCommand(reader, kind);
  assert(reader.remaining === 0, `Metadata command ${kind} has ${reader.remaining} bytes too many`);
  return command;
}

function readCommand(reader: ByteReader, kind: MetadataCommand['kind']): MetadataCommand {
  switch (kind) {
    case 'registerBroker':
      return { kind, broker: readEndpoints(reader), metadataReplicaId: replicaId(reader.int64()) };
    case 'createTopics':
      return {
        kind,
        topics: readList(reader, () => ({
          name: readString(reader),
          topicId: reader.uuid(),
          isInternal: reader.bool(),
          partitions: readPartitionBrokers(reader),
          configs: readConfigs(reader),
        })),
      };
    case 'deleteTopics':
      return { kind, topicIds: readList(reader, () => reader.uuid()) };
    case 'createPartitions':
      return {
        kind,
        topics: readList(reader, () => ({
          topicId: reader.uuid(),
          firstPartition: reader.uvarint(),
          partitions: readPartitionBrokers(reader),
        })),
      };
    case 'alterConfigs':
      return {
        kind,
        resources: readList(reader, () => ({
          resource: readResource(reader),
          name: readString(reader),
          configs: readConfigs(reader),
        })),
      };
    case 'allocateProducerIds':
      return { kind, count: reader.uvarint() };
    case 'replicasRemoved':
      return { kind, replicaIds: readList(reader, () => replicaId(reader.int64())) };
    case 'setReplicas':
      return {
        kind,
        partitions: readList(reader, () => ({ ...readPartitionVersion(reader), brokerIds: readBrokerIds(reader) })),
      };
    case 'replicasFinal':
      return { kind, partitions: readList(reader, () => readPartitionVersion(reader)) };
    case 'replaceReplica':
      return { kind, ...readPartitionVersion(reader), replicaId: replicaId(reader.int64()) };
    case 'buryReplicas':
      return { kind, replicas: readList(reader, () => readTombstone(reader)) };
    case 'clusterTime':
      return { kind, timeMs: reader.int64() };
    case 'featureLevel':
      return { kind, level: reader.uvarint() };
    default:
      return unreachable(kind, 'metadata command');
  }
}

function readResource(reader: ByteReader): 'topic' | 'broker' {
  const code = reader.int8();
  assert(code === RESOURCE.topic || code === RESOURCE.broker, `Config resource ${code} is not known to this version`);
  return code === RESOURCE.topic ? 'topic' : 'broker';
}

function writePartitionVersion(writer: ByteWriter, at: { topicId: string; partition: number; version: number }): void {
  writer.uuid(at.topicId);
  writer.uvarint(at.partition);
  writer.uvarint(at.version);
}

function readPartitionVersion(reader: ByteReader): { topicId: string; partition: number; version: number } {
  return { topicId: reader.uuid(), partition: reader.uvarint(), version: reader.uvarint() };
}

function writePartitionBrokers(writer: ByteWriter, partitions: PartitionBrokers): void {
  writeList(writer, partitions, (brokers) => writeBrokerIds(writer, brokers));
}

function readPartitionBrokers(reader: ByteReader): BrokerId[][] {
  return readList(reader, () => readBrokerIds(reader));
}

function writeBrokerIds(writer: ByteWriter, ids: readonly BrokerId[]): void {
  writeList(writer, ids, (id) => writer.uvarint(id));
}

function readBrokerIds(reader: ByteReader): BrokerId[] {
  return readList(reader, () => brokerId(reader.uvarint()));
}

export function writeReplica(writer: ByteWriter, replica: ReplicaPlacement): void {
  writer.int64(replica.replicaId);
  writer.uvarint(replica.brokerId);
  writer.compactString(replica.storeId);
}

export function readReplica(reader: ByteReader): ReplicaPlacement {
  return {
    replicaId: replicaId(reader.int64()),
    brokerId: brokerId(reader.uvarint()),
    storeId: readString(reader),
  };
}

export function writeTombstone(writer: ByteWriter, tombstone: Tombstone): void {
  writeReplica(writer, tombstone);
  writer.int64(tombstone.groupId);
}

export function readTombstone(reader: ByteReader): Tombstone {
  return { ...readReplica(reader), groupId: groupId(reader.int64()) };
}

export function writeEndpoints(writer: ByteWriter, broker: BrokerEndpoints): void {
  writer.uvarint(broker.brokerId);
  writer.compactString(broker.storeId);
  writer.compactString(broker.host);
  writer.int32(broker.port);
  writer.compactString(broker.raftHost);
  writer.int32(broker.raftPort);
  writer.bool(broker.rack !== null);
  if (broker.rack !== null) writer.compactString(broker.rack);
}

export function readEndpoints(reader: ByteReader): BrokerEndpoints {
  return {
    brokerId: brokerId(reader.uvarint()),
    storeId: readString(reader),
    host: readString(reader),
    port: reader.int32(),
    raftHost: readString(reader),
    raftPort: reader.int32(),
    rack: reader.bool() ? readString(reader) : null,
  };
}

export function writeConfigs(writer: ByteWriter, configs: ConfigEntries): void {
  writeList(writer, configs, ([name, value]) => {
    writer.compactString(name);
    writer.compactString(value);
  });
}

export function readConfigs(reader: ByteReader): [string, string][] {
  return readList(reader, () => [readString(reader), readString(reader)]);
}

export function readString(reader: ByteReader): string {
  return reader.utf8(reader.compactLength());
}

export function writeList<T>(writer: ByteWriter, items: readonly T[], write: (item: T) => void): void {
  writer.uvarint(items.length);
  for (const item of items) write(item);
}

export function readList<T>(reader: ByteReader, read: () => T): T[] {
  const count = reader.uvarint();
  assert(count <= reader.remaining, `List of ${count} items with ${reader.remaining} bytes left`);
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(read());
  return items;
}
