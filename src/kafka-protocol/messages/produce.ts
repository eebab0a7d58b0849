/**
 * Produce (key 0): appends one record batch to each of some partitions.
 *
 * Version notes:
 *  - 0-2 carry older message formats and are not served; they are advertised all the same, as Kafka 4 does, because
 *    older librdkafka asks for version 0 before it compresses.
 *  - 3 requires record batches of format 2; 5 returns the log start offset; 7 allows zstd; 8 reports single records;
 *    10 may name the new leader; 11 is the same on the wire.
 *  - A request with acks 0 has no response.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { array, int16, int32, int64, records, string, struct, text } from '../schema.ts';

export const produceApi = defineApi({
  key: 0,
  name: 'Produce',
  versions: '3-11',
  advertised: '0-11',
  flexible: '9+',
  request: {
    transactionalId: string('3+', { nullable: '3+', default: null }),
    acks: int16('0+'),
    timeoutMs: int32('0+'),
    topicData: array('0+', {
      name: string('0+'),
      partitionData: array('0+', {
        index: int32('0+'),
        records: records('0+', { nullable: '0+' }),
      }),
    }),
  },
  response: {
    responses: array('0+', {
      name: string('0+'),
      partitionResponses: array('0+', {
        index: int32('0+'),
        errorCode: int16('0+'),
        baseOffset: int64('0+'),
        logAppendTimeMs: int64('2+', { default: -1, ignorable: true }),
        logStartOffset: int64('5+', { default: -1, ignorable: true }),
        recordErrors: array(
          '8+',
          {
            batchIndex: int32('8+'),
            batchIndexErrorMessage: text('8+', { nullable: '8+', default: null }),
          },
          { ignorable: true },
        ),
        errorMessage: text('8+', { nullable: '8+', default: null, ignorable: true }),
        currentLeader: struct(
          '10+',
          {
            leaderId: int32('10+', { default: -1 }),
            leaderEpoch: int32('10+', { default: -1 }),
          },
          { tag: 0 },
        ),
      }),
    }),
    throttleTimeMs: int32('1+', { default: 0, ignorable: true }),
    nodeEndpoints: array(
      '10+',
      {
        nodeId: int32('10+'),
        host: string('10+'),
        port: int32('10+'),
        rack: string('10+', { nullable: '10+', default: null }),
      },
      { tag: 0 },
    ),
  },
});

export type ProduceRequest = RequestOf<typeof produceApi>;
export type ProduceResponse = ResponseOf<typeof produceApi>;
