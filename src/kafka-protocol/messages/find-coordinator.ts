/**
 * FindCoordinator (key 10): which broker coordinates a group or a transactional id.
 *
 * Version notes:
 *  - 1 adds the key type (0 group, 1 transaction); 4 asks for many keys at once and moves the answer into an array; 5
 *    and 6 are the same on the wire.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { array, int8, int16, int32, string, text } from '../schema.ts';

export const findCoordinatorApi = defineApi({
  key: 10,
  name: 'FindCoordinator',
  versions: '0-6',
  flexible: '3+',
  request: {
    key: string('0-3'),
    keyType: int8('1+', { default: 0 }),
    coordinatorKeys: array('4+', 'string'),
  },
  response: {
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16('0-3'),
    errorMessage: text('1-3', { nullable: '1-3', ignorable: true }),
    nodeId: int32('0-3'),
    host: string('0-3'),
    port: int32('0-3'),
    coordinators: array('4+', {
      key: string('4+'),
      nodeId: int32('4+'),
      host: string('4+'),
      port: int32('4+'),
      errorCode: int16('4+'),
      errorMessage: text('4+', { nullable: '4+', ignorable: true }),
    }),
  },
});

export type FindCoordinatorRequest = RequestOf<typeof findCoordinatorApi>;
export type FindCoordinatorResponse = ResponseOf<typeof findCoordinatorApi>;
