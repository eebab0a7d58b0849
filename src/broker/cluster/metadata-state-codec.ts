/**
 * The bytes of the whole metadata state, for checkpoints and catch-ups. Equal states give equal bytes on every broker (everything is sorted), so digests of them can be compared.
 *
 * Format: version (1 byte), fields, CRC-32C of all before it (4 bytes).
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert } from '../../std/assert.ts';
import { type BrokerId, groupId, type ReplicaId, replicaId } from '../../std/brands.ts';
import { crc32c } from '../../std/crc32c.ts';
import {
  readConfigs,
  readEndpoints,
  readList,
  readReplica,
  readString,
  readTombstone,
  writeConfigs,
  writeEndpoints,
  writeList,
  writeReplica,
  writeTombstone,
} from './metadata-command.ts';
import type { BrokerRegistration, PartitionPlacement, Tombstone, TopicImage } from './metadata-image.ts';
import { MetadataState } from './metadata-state.ts';
import { PersistentMap } from './persistent-map.ts';

const FORMAT_VERSION = 1;
const CHECKSUM_BYTES = 4;

/** One buffer. */
export function encodeMetadataState(state: MetadataState): Uint8Array {
  const writer = new ByteWriter(64 * 1024);
  writer.int8(FORMAT_VERSION);
  writer.compactString(state.clusterId);
  writer.int64(state.appliedIndex);
  writer.int64(state.appliedTerm);
  writer.int64(state.nextGroupId);
  writer.int64(state.nextReplicaId);
  writer.int64(state.nextProducerId);
  writer.uvarint(state.featureLevel);
  writer.bool(state.clusterTimeMs !== undefined);
  if (state.clusterTimeMs !== undefined) writer.int64(state.clusterTimeMs);
  writeList(writer, byNumber(state.brokers), ([, broker]) => {
    writeEndpoints(writer, broker);
    writer.int64(broker.metadataReplicaId);
  });
  writeList(writer, [...state.retiredStores].sort(), (storeId) => writer.compactString(storeId));
  writeList(writer, state.deletedTopicIds, (topicId) => writer.uuid(topicId));
  writeList(writer, byText(state.brokerConfigs), ([name, configs]) => {
    writer.compactString(name);
    writeConfigs(writer, [...configs]);
  });
  writeList(writer, byNumber(state.tombstones), ([, tombstone]) => writeTombstone(writer, tombstone));
  writeList(writer, byText(state.topics), ([, topic]) => {
    writer.compactString(topic.name);
    writer.uuid(topic.topicId);
    writer.bool(topic.isInternal);
    writeConfigs(writer, [...topic.configs]);
    writeList(writer, topic.partitions, (partition) => {
      writer.int64(partition.groupId);
      writer.uvarint(partition.version);
      writeList(writer, partition.replicas, (replica) => writeReplica(writer, replica));
      writeList(writer, partition.removing, (replica) => writeReplica(writer, replica));
    });
  });
  const body = Buffer.concat(writer.finish());
  const bytes = Buffer.allocUnsafe(body.length + CHECKSUM_BYTES);
  bytes.set(body);
  bytes.writeUInt32LE(crc32c(body), body.length);
  return bytes;
}

/** Whether the bytes are what {@link encodeMetadataState} once gave, in whatever format. */
export function isMetadataStateIntact(bytes: Uint8Array): boolean {
  if (bytes.length <= CHECKSUM_BYTES) return false;
  const bodyBytes = bytes.length - CHECKSUM_BYTES;
  const checksum = new DataView(bytes.buffer, bytes.byteOffset).getUint32(bodyBytes, true);
  return crc32c(bytes.subarray(0, bodyBytes)) === checksum;
}

/** Throws if the bytes are damaged or of another format: nothing of them may be believed. */
export function decodeMetadataState(bytes: Uint8Array): MetadataState {
  assert(isMetadataStateIntact(bytes), 'Metadata state is damaged: its checksum does not fit');
  const body = bytes.subarray(0, bytes.length - CHECKSUM_BYTES);
  const reader = new ByteReader(body);
  const version = reader.int8();
  assert(version === FORMAT_VERSION, `Metadata state of format version ${version} is not known to this version`);
  const clusterId = readString(reader);
  const appliedIndex = reader.int64();
  const appliedTerm = reader.int64();
  const nextGroupId = reader.int64();
  const nextReplicaId = reader.int64();
  const nextProducerId = reader.int64();
  const featureLevel = reader.uvarint();
  const clusterTimeMs = reader.bool() ? reader.int64() : undefined;
  const brokers = readList(reader, (): [BrokerId, BrokerRegistration] => {
    const broker = { ...readEndpoints(reader), metadataReplicaId: replicaId(reader.int64()) };
    return [broker.brokerId, broker];
  });
  const retiredStores = readList(reader, () => readString(reader));
  const deletedTopicIds = readList(reader, () => reader.uuid());
  const brokerConfigs = readList(reader, (): [string, ReadonlyMap<string, string>] => [
    readString(reader),
    new Map(readConfigs(reader)),
  ]);
  const tombstones = readList(reader, (): [ReplicaId, Tombstone] => {
    const tombstone = readTombstone(reader);
    return [tombstone.replicaId, tombstone];
  });
  const topics = readList(reader, (): TopicImage => {
    const name = readString(reader);
    const topicId = reader.uuid();
    const isInternal = reader.bool();
    const configs = new Map(readConfigs(reader));
    let next = 0;
    const partitions = readList(
      reader,
      (): PartitionPlacement => ({
        partition: next++,
        groupId: groupId(reader.int64()),
        version: reader.uvarint(),
        replicas: readList(reader, () => readReplica(reader)),
        removing: readList(reader, () => readReplica(reader)),
      }),
    );
    return { name, topicId, isInternal, configs, partitions };
  });
  assert(reader.remaining === 0, `Metadata state has ${reader.remaining} bytes too many`);
  return new MetadataState({
    clusterId,
    appliedIndex,
    appliedTerm,
    nextGroupId,
    nextReplicaId,
    nextProducerId,
    featureLevel,
    clusterTimeMs,
    brokers: new Map(brokers),
    retiredStores: new Set(retiredStores),
    deletedTopicIds,
    brokerConfigs: new Map(brokerConfigs),
    tombstones: PersistentMap.from(tombstones),
    topics: PersistentMap.from(topics.map((topic) => [topic.name, topic])),
    topicNames: PersistentMap.from(topics.map((topic) => [topic.topicId, topic.name])),
  });
}

function byNumber<K extends number, V>(map: ReadonlyMap<K, V>): [K, V][] {
  return [...map].sort(([a], [b]) => a - b);
}

function byText<V>(map: ReadonlyMap<string, V>): [string, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
