/**
 * Fetch (1): reads record batches, waiting for new ones.
 *
 * Behaviour:
 *  - Answered at once if any partition has an error or diverged, if min_bytes are there, or if nothing may be waited for; else when enough came into any of the partitions, or after
 *    max_wait. Waiting costs nothing per partition that does not change.
 *  - Partitions are served from a start that moves with each request, so that a full response does not always leave out the same ones. The first with records gives one whole batch
 *    at least, whatever the limits (KIP-74).
 *  - Records are views on pages or file reads and are never copied. Bytes of answers that are not sent yet count against a broker-wide limit; above it an answer has one batch.
 *  - Served by leaders only: followers answer 6. A leader that is not ready is waited for, up to 500 ms (DECISIONS L6). What is read is not confirmed by a quorum, but that an offset does
 *    not exist yet is (error 1): it makes consumers start over.
 *  - Sessions (KIP-227) are declined: the session id in answers is 0, which every client accepts.
 *
 * Version notes: 4 to 16. 9+ leader epoch of the reader; 12+ divergence; 13+ topic ids; 16 names the new leader. zstd is sent to readers below 10 too: they say so themselves.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type FetchRequest, type FetchResponse, fetchApi } from '../../kafka-protocol/messages/fetch.ts';
import { type AnyHandler, defineHandler, type RequestContext } from '../network/dispatch.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { type Divergence, divergenceOf, type FetchTarget, resolveFetchTargets } from './fetch-target.ts';
import { FetchWait } from './fetch-wait.ts';
import type { HandlerServices } from './handler-services.ts';
import { confirmed, endpointsOf, leaderHint } from './partition-access.ts';

type TopicResponse = FetchResponse['responses'][number];
type PartitionResponse = TopicResponse['partitions'][number];

const HINTED_FROM_VERSION = 16;
const READ_COMMITTED = 1;
const NO_RECORDS: readonly Uint8Array[] = [];

export function fetchHandler(services: HandlerServices): AnyHandler {
  let rotation = 0;
  return defineHandler({
    api: fetchApi,
    handle(request, context) {
      if (request.sessionEpoch > 0) {
        return { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND, sessionId: 0, responses: [] };
      }
      rotation = (rotation + 1) % 0x4000_0000;
      return fetch(services, request, context, rotation);
    },
  });
}

async function fetch(
  services: HandlerServices,
  request: FetchRequest,
  context: RequestContext,
  rotation: number,
): Promise<FetchResponse | undefined> {
  const targets = resolveFetchTargets(services.cluster, request, context.apiVersion);
  const minBytes = Math.min(request.minBytes, request.maxBytes);
  const wait = new FetchWait(targets, minBytes, request.maxWaitMs, services);
  if (!wait.isOver) await wait.untilOver(context);
  if (context.isClosed) return undefined;

  const { config, responseMemory } = services;
  const bytesMax = Math.min(Math.max(0, request.maxBytes), config['fetch.max.bytes'], responseMemory.availableBytes);
  // Held while files are read: many readers of old records at a time must share the limit before their answers exist.
  const reservedBytes = Math.min(bytesMax, wait.availableBytes);
  responseMemory.take(reservedBytes);
  try {
    const answers = await readTargets(services, targets, rotation, bytesMax);
    return toResponse(services, request, context, targets, answers);
  } finally {
    responseMemory.release(reservedBytes);
  }
}

/** One answer per target, in their order; served from the one that `rotation` points at on. */
async function readTargets(
  services: HandlerServices,
  targets: readonly FetchTarget[],
  rotation: number,
  bytesMax: number,
): Promise<PartitionResponse[]> {
  let bytesLeft = bytesMax;
  let isEmpty = true;
  const answers: PartitionResponse[] = new Array(targets.length);
  for (let step = 0; step < targets.length; step++) {
    const position = (step + rotation) % targets.length;
    const target = targets[position]!;
    let refusal = refusalOf(target);
    // A leader that was deposed and does not know it yet is behind its readers; its word would make them start over.
    if (refusal === ErrorCode.NONE && target.fetchOffset > target.log!.highWatermark) {
      if (!(await confirmed(target.log!))) refusal = ErrorCode.NOT_LEADER_OR_FOLLOWER;
    }
    if (refusal !== ErrorCode.NONE) {
      answers[position] = failedPartition(target, refusal);
      continue;
    }
    const log = target.log!;
    const maxBytes = Math.min(Math.max(0, target.maxBytes), bytesLeft);
    const divergingEpoch = divergenceOf(target);
    if (divergingEpoch !== undefined || (maxBytes === 0 && !isEmpty)) {
      answers[position] = emptyPartition(target, log, divergingEpoch);
      continue;
    }
    const pending = log.read(target.fetchOffset, maxBytes, isEmpty);
    const result = pending instanceof Promise ? await pending : pending;
    if (result.errorCode !== ErrorCode.NONE) {
      answers[position] = failedPartition(target, result.errorCode);
      continue;
    }
    bytesLeft = Math.max(0, bytesLeft - result.sizeBytes);
    services.records.recordBytesOut += result.sizeBytes;
    if (result.sizeBytes > 0) isEmpty = false;
    answers[position] = {
      partitionIndex: target.partition,
      errorCode: ErrorCode.NONE,
      highWatermark: result.highWatermark,
      lastStableOffset: result.highWatermark,
      logStartOffset: result.logStartOffset,
      abortedTransactions: null,
      records: result.records,
    };
  }
  return answers;
}

function refusalOf({ log, errorCode }: FetchTarget): ErrorCode {
  if (log === undefined || errorCode !== ErrorCode.NONE) return errorCode;
  return log.isReady ? ErrorCode.NONE : ErrorCode.NOT_LEADER_OR_FOLLOWER;
}

function toResponse(
  services: HandlerServices,
  request: FetchRequest,
  context: RequestContext,
  targets: readonly FetchTarget[],
  answers: PartitionResponse[],
): FetchResponse {
  const hinted = new Set<number>();
  if (context.apiVersion >= HINTED_FROM_VERSION) addLeaderHints(services, targets, answers, hinted);
  // Null tells a reader of uncommitted records that there is no such list; one of committed records needs it, if empty.
  const isReadCommitted = request.isolationLevel === READ_COMMITTED;
  const responses: TopicResponse[] = [];
  let position = 0;
  for (const { topic, topicId, partitions } of request.topics) {
    const own = answers.slice(position, position + partitions.length);
    position += partitions.length;
    responses.push({
      topic,
      topicId,
      partitions: isReadCommitted ? own.map(withAbortedTransactions) : own,
    });
  }
  return {
    errorCode: ErrorCode.NONE,
    sessionId: 0,
    responses,
    nodeEndpoints: hinted.size === 0 ? [] : endpointsOf(services.cluster, hinted),
  };
}

function withAbortedTransactions(answer: PartitionResponse): PartitionResponse {
  return answer.errorCode === ErrorCode.NONE ? { ...answer, abortedTransactions: [] } : answer;
}

function addLeaderHints(
  { cluster, groups }: HandlerServices,
  targets: readonly FetchTarget[],
  answers: PartitionResponse[],
  hinted: Set<number>,
): void {
  for (let position = 0; position < answers.length; position++) {
    const answer = answers[position]!;
    if (answer.errorCode !== ErrorCode.NOT_LEADER_OR_FOLLOWER && answer.errorCode !== ErrorCode.FENCED_LEADER_EPOCH) {
      continue;
    }
    const { topicImage, partition } = targets[position]!;
    const currentLeader = leaderHint(cluster, groups, topicImage, partition);
    if (currentLeader === undefined || currentLeader.leaderId === cluster.brokerId) continue;
    hinted.add(currentLeader.leaderId);
    answers[position] = { ...answer, currentLeader };
  }
}

function failedPartition(target: FetchTarget, errorCode: ErrorCode): PartitionResponse {
  return {
    partitionIndex: target.partition,
    errorCode,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    abortedTransactions: null,
    records: NO_RECORDS,
  };
}

function emptyPartition(
  { partition }: FetchTarget,
  log: PartitionLog,
  divergingEpoch: Divergence | undefined,
): PartitionResponse {
  return {
    partitionIndex: partition,
    errorCode: ErrorCode.NONE,
    highWatermark: log.highWatermark,
    lastStableOffset: log.highWatermark,
    logStartOffset: log.logStartOffset,
    ...(divergingEpoch === undefined ? {} : { divergingEpoch }),
    abortedTransactions: null,
    records: NO_RECORDS,
  };
}
