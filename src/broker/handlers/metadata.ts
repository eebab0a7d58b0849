/**
 * Metadata (3): brokers, topics, partitions and who leads them.
 *
 * Behaviour:
 *  - Answered from the local image and from what leaders announced; only an unknown topic makes this broker ask the metadata leader for the newest image and look again (DECISIONS C1).
 *  - A topic that is still unknown is created if request and broker allow it and it was asked for by name; it is answered with its leaders, so that clients that do not retry work at once.
 *  - A leader that is not known is -1 with error 5, never a guess (DECISIONS C2).
 *  - Every requested topic has an entry.
 *
 * Version notes: 0: no topics = all of them; 1+: null = all, none = none. Before 4 auto-creation is implied. 10+ topic ids; 12: lookup by id.
 */

import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type MetadataRequest, type MetadataResponse, metadataApi } from '../../kafka-protocol/messages/metadata.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { PartitionPlacement, TopicImage } from '../cluster/metadata-image.ts';
import { topicNameProblem } from '../cluster/topic-name.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

type TopicResponse = MetadataResponse['topics'][number];
type PartitionResponse = TopicResponse['partitions'][number];
type RequestedTopic = NonNullable<MetadataRequest['topics']>[number];

const REFRESH_TIMEOUT_MS = 2000;
const AUTO_CREATE_TIMEOUT_MS = 10_000;
/** A creation that may yet succeed; clients know one code for that in the Metadata of a topic. */
const NOT_YET: ReadonlySet<ErrorCode> = new Set([ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_CONTROLLER]);
const NULL_NAME_FROM_VERSION = 12;

export function metadataHandler(services: HandlerServices): AnyHandler {
  return defineHandler({
    api: metadataApi,
    handle(request, context) {
      const { topics } = request;
      const all = topics === null || (context.apiVersion === 0 && topics.length === 0);
      if (all) {
        return respond(services, [...services.cluster.image.topics.values()].map(topicDescriber(services)));
      }
      const found = topics.map((topic) => findTopic(services.cluster, topic));
      if (!found.includes(undefined)) {
        return respond(services, (found as TopicImage[]).map(topicDescriber(services)));
      }
      return describeWithUnknown(services, request, context.apiVersion);
    },
  });
}

async function describeWithUnknown(
  services: HandlerServices,
  request: MetadataRequest,
  apiVersion: number,
): Promise<MetadataResponse> {
  const { cluster, config } = services;
  const topics = request.topics ?? [];
  const mayCreate = request.allowAutoTopicCreation || apiVersion < 4;
  const isLegal = (topic: RequestedTopic): boolean => topic.name === null || topicNameProblem(topic.name) === undefined;
  if (topics.some((topic) => isLegal(topic) && findTopic(cluster, topic) === undefined)) {
    await cluster.refresh(REFRESH_TIMEOUT_MS);
  }
  const failures = new Map<string, ErrorCode>();
  if (mayCreate && config['auto.create.topics.enable']) {
    const names = new Set<string>();
    for (const topic of topics) {
      if (topic.topicId !== ZERO_UUID || topic.name === null || !isLegal(topic)) continue;
      if (findTopic(cluster, topic) === undefined) names.add(topic.name);
    }
    if (names.size > 0) await createTopics(cluster, [...names], failures);
  }
  const describeTopic = topicDescriber(services);
  return respond(
    services,
    topics.map((requested): TopicResponse => {
      const topic = findTopic(cluster, requested);
      if (topic !== undefined) return describeTopic(topic);
      const { topicId } = requested;
      // A request may lack a name from 10 on, a response from 12 on only.
      const name = requested.name ?? (apiVersion < NULL_NAME_FROM_VERSION ? '' : null);
      if (topicId !== ZERO_UUID) return unknownTopic(ErrorCode.UNKNOWN_TOPIC_ID, name, topicId);
      if (requested.name === null) return unknownTopic(ErrorCode.INVALID_REQUEST, name, topicId);
      if (!isLegal(requested)) return unknownTopic(ErrorCode.INVALID_TOPIC_EXCEPTION, name, topicId);
      return unknownTopic(failures.get(requested.name) ?? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name, topicId);
    }),
  );
}

async function createTopics(cluster: Cluster, names: string[], failures: Map<string, ErrorCode>): Promise<void> {
  const outcomes = await cluster.createTopics(
    names.map((name) => ({ name, partitionCount: -1, replicationFactor: -1, assignments: [], configs: [] })),
    { validateOnly: false, timeoutMs: AUTO_CREATE_TIMEOUT_MS },
  );
  for (const { name, errorCode } of outcomes) {
    if (errorCode === ErrorCode.TOPIC_ALREADY_EXISTS) await cluster.refresh(REFRESH_TIMEOUT_MS);
    else if (NOT_YET.has(errorCode)) failures.set(name, ErrorCode.LEADER_NOT_AVAILABLE);
    else if (errorCode !== ErrorCode.NONE) failures.set(name, errorCode);
  }
}

function findTopic(cluster: Cluster, requested: RequestedTopic): TopicImage | undefined {
  const { image } = cluster;
  if (requested.topicId !== ZERO_UUID) return image.topicById(requested.topicId);
  return requested.name === null ? undefined : image.topics.get(requested.name);
}

function unknownTopic(errorCode: ErrorCode, name: string | null, topicId: string): TopicResponse {
  return { errorCode, name, topicId, partitions: [] };
}

function respond({ cluster }: HandlerServices, topics: TopicResponse[]): MetadataResponse {
  const brokers = [];
  let controllerId: number = cluster.brokerId;
  for (const brokerId of cluster.liveBrokers()) {
    const registration = cluster.image.brokers.get(brokerId);
    if (registration === undefined) continue;
    const { host, port, rack } = registration;
    brokers.push({ nodeId: brokerId, host, port, rack });
    // Every broker forwards what is the controller's, so this one stands in while there is none.
    if (brokerId === cluster.controllerId) controllerId = brokerId;
  }
  return { brokers, clusterId: cluster.image.clusterId, controllerId, topics };
}

function topicDescriber(services: HandlerServices): (topic: TopicImage) => TopicResponse {
  const live = new Set<number>(services.cluster.liveBrokers());
  return (topic) => ({
    errorCode: ErrorCode.NONE,
    name: topic.name,
    topicId: topic.topicId,
    isInternal: topic.isInternal,
    partitions: topic.partitions.map((placement) => describePartition(services, placement, live)),
  });
}

function describePartition(
  { groups }: HandlerServices,
  placement: PartitionPlacement,
  live: ReadonlySet<number>,
): PartitionResponse {
  const announcement = groups.leaderOf(placement.groupId);
  const leader = announcement !== undefined && live.has(announcement.leader) ? announcement : undefined;
  const replicaNodes = placement.replicas.map((replica) => replica.brokerId);
  const liveReplicas = replicaNodes.filter((replica) => live.has(replica));
  const isrNodes = leader?.inSync ?? (liveReplicas.length > 0 ? liveReplicas : replicaNodes);
  return {
    errorCode: leader === undefined ? ErrorCode.LEADER_NOT_AVAILABLE : ErrorCode.NONE,
    partitionIndex: placement.partition,
    leaderId: leader?.leader ?? -1,
    leaderEpoch: leader?.term ?? -1,
    replicaNodes,
    isrNodes,
    offlineReplicas: replicaNodes.filter((replica) => !live.has(replica)),
  };
}
