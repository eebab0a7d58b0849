/**
 * Produce (0): appends one record batch to each of some partitions.
 *
 * Behaviour:
 *  - All partitions are handed to their logs in this call, synchronously: the order of requests of a connection is the order in the log, although requests are pipelined.
 *  - Answered when every partition has its result. acks 1 and -1 both wait for the quorum's flush. acks 0 is not answered, and a failure closes the connection, as in Kafka.
 *  - Never creates a topic.
 *
 * Version notes: 3 to 11 are served (11 is 10 on the wire), 0 to 2 only advertised. 10+ names the new leader with errors 6 and 74.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type ProduceRequest, type ProduceResponse, produceApi } from '../../kafka-protocol/messages/produce.ts';
import { RecordBatch } from '../../kafka-protocol/record-batch.ts';
import { assert } from '../../std/assert.ts';
import type { TopicImage } from '../cluster/metadata-image.ts';
import { type AnyHandler, defineHandler, type RequestContext } from '../network/dispatch.ts';
import type { ProduceOptions, ProduceResult } from '../partition/partition-log.ts';
import type { HandlerServices, RecordCounters } from './handler-services.ts';
import { endpointsOf, leaderHint, localPartition } from './partition-access.ts';

type TopicResponse = ProduceResponse['responses'][number];
type PartitionResponse = TopicResponse['partitionResponses'][number];

const HINTED_FROM_VERSION = 10;

export function produceHandler(services: HandlerServices): AnyHandler {
  return defineHandler({
    api: produceApi,
    isPipelined: true,
    handle: (request, context) => new Promise((resolve) => produce(services, request, context, resolve)),
  });
}

function produce(
  services: HandlerServices,
  request: ProduceRequest,
  context: RequestContext,
  resolve: (response: ProduceResponse | undefined) => void,
): void {
  const { cluster } = services;
  const { acks } = request;
  const refusal = refusalOf(request);
  const options: ProduceOptions | undefined =
    refusal === undefined && isAcks(acks)
      ? { acks, timeoutMs: request.timeoutMs, apiVersion: context.apiVersion }
      : undefined;
  const hinted = new Set<number>();
  const responses: { name: string; partitionResponses: PartitionResponse[] }[] = [];
  let failure: ProduceResult | undefined;
  // One more than there are partitions, so that nothing is finished before all were handed over.
  let unanswered = 1;
  const answered = (): void => {
    if (--unanswered > 0) return;
    if (acks !== 0) {
      resolve({ responses, nodeEndpoints: hinted.size === 0 ? [] : endpointsOf(cluster, hinted) });
      return;
    }
    resolve(undefined);
    if (failure !== undefined) context.closeConnection(`Produce with acks 0 failed with error ${failure.errorCode}`);
  };

  for (const { name, partitionData } of request.topicData) {
    const topic = cluster.image.topics.get(name);
    const partitionResponses: PartitionResponse[] = new Array(partitionData.length);
    responses.push({ name, partitionResponses });
    for (let position = 0; position < partitionData.length; position++) {
      const { index, records } = partitionData[position]!;
      unanswered++;
      const done = (result: ProduceResult): void => {
        assert(partitionResponses[position] === undefined, 'A partition answered a Produce twice');
        if (result.errorCode !== ErrorCode.NONE) failure = result;
        else count(services.records, records!);
        partitionResponses[position] = toResponse(services, topic, index, result, context.apiVersion, hinted);
        answered();
      };
      const access = localPartition(cluster, topic, index);
      if (options === undefined) done(refused(refusal?.errorCode ?? ErrorCode.INVALID_REQUIRED_ACKS, refusal?.message));
      else if (access.kind === 'error') done(refused(access.errorCode));
      else if (topic!.isInternal)
        done(refused(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic ${name} is written by brokers only`));
      else if (records === null) done(refused(ErrorCode.INVALID_RECORD, 'Records are missing'));
      else access.log.produce(records, options, done);
    }
  }
  answered();
}

function count(counters: RecordCounters, records: Uint8Array): void {
  counters.recordsIn += RecordBatch.at(records)?.recordCount ?? 0;
  counters.recordBytesIn += records.length;
}

function isAcks(acks: number): acks is -1 | 0 | 1 {
  return acks === -1 || acks === 0 || acks === 1;
}

function refusalOf(request: ProduceRequest): { errorCode: ErrorCode; message: string } | undefined {
  if (!isAcks(request.acks)) {
    return { errorCode: ErrorCode.INVALID_REQUIRED_ACKS, message: `Acks ${request.acks} is not -1, 0 or 1` };
  }
  if (request.transactionalId !== null) {
    return { errorCode: ErrorCode.INVALID_TXN_STATE, message: 'Transactions are not served by this broker' };
  }
  return undefined;
}

function refused(errorCode: ErrorCode, message: string | null = null): ProduceResult {
  return { errorCode, baseOffset: -1, logAppendTimeMs: -1, logStartOffset: -1, errorMessage: message };
}

function toResponse(
  services: HandlerServices,
  topic: TopicImage | undefined,
  index: number,
  result: ProduceResult,
  apiVersion: number,
  hinted: Set<number>,
): PartitionResponse {
  const { errorCode, baseOffset, logAppendTimeMs, logStartOffset, errorMessage } = result;
  const response = { index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, errorMessage };
  const isMoved = errorCode === ErrorCode.NOT_LEADER_OR_FOLLOWER || errorCode === ErrorCode.FENCED_LEADER_EPOCH;
  if (!isMoved || apiVersion < HINTED_FROM_VERSION) return response;
  const currentLeader = leaderHint(services.cluster, services.groups, topic, index);
  if (currentLeader === undefined || currentLeader.leaderId === services.cluster.brokerId) return response;
  hinted.add(currentLeader.leaderId);
  return { ...response, currentLeader };
}
