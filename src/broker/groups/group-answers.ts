/** Refusals of JoinGroup and SyncGroup, in the shape that every version can carry. */
import type { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { JoinResult, SyncResult } from './group-requests.ts';

export function joinError(errorCode: ErrorCode, memberId: string): JoinResult {
  return {
    errorCode,
    generation: -1,
    protocolType: null,
    protocolName: null,
    leader: '',
    skipAssignment: false,
    memberId,
    members: [],
  };
}

export function syncError(errorCode: ErrorCode): SyncResult {
  return { errorCode, protocolType: null, protocolName: null, assignment: new Uint8Array(0) };
}
