/**
 * Heartbeat (key 12): a member says that it lives and learns of a rebalance.
 *
 * Version notes:
 *  - 1 adds the throttle time; 3 static members; 4 is flexible.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { int16, int32, string } from '../schema.ts';

export const heartbeatApi = defineApi({
  key: 12,
  name: 'Heartbeat',
  versions: '0-4',
  flexible: '4+',
  request: {
    groupId: string('0+'),
    generationId: int32('0+'),
    memberId: string('0+'),
    groupInstanceId: string('3+', { nullable: '3+', default: null }),
  },
  response: {
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16('0+'),
  },
});

export type HeartbeatRequest = RequestOf<typeof heartbeatApi>;
export type HeartbeatResponse = ResponseOf<typeof heartbeatApi>;
