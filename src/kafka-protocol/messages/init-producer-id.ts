/**
 * InitProducerId (key 22): gives a producer its id and epoch.
 *
 * Version notes:
 *  - 3 carries the id and epoch it has; 4 may answer PRODUCER_FENCED; 5 is the same on the wire.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { int16, int32, int64, string } from '../schema.ts';

export const initProducerIdApi = defineApi({
  key: 22,
  name: 'InitProducerId',
  versions: '0-5',
  flexible: '2+',
  request: {
    transactionalId: string('0+', { nullable: '0+' }),
    transactionTimeoutMs: int32('0+'),
    producerId: int64('3+', { default: -1 }),
    producerEpoch: int16('3+', { default: -1 }),
  },
  response: {
    throttleTimeMs: int32('0+', { ignorable: true }),
    errorCode: int16('0+'),
    producerId: int64('0+', { default: -1 }),
    producerEpoch: int16('0+'),
  },
});

export type InitProducerIdRequest = RequestOf<typeof initProducerIdApi>;
export type InitProducerIdResponse = ResponseOf<typeof initProducerIdApi>;
