/** What the group APIs ask of the coordinator and what it answers, free of any wire version. */
import type { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { Protocol } from './select-protocol.ts';

export interface JoinRequest {
  readonly groupId: string;
  /** Empty: the coordinator gives one. */
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  readonly protocols: readonly Protocol[];
  /** JoinGroup ≥ 4: a dynamic member must come back with the id that it was given (KIP-394). */
  readonly requiresKnownMemberId: boolean;
  /** JoinGroup ≥ 9: a returning static leader may be told to skip the assignment (KIP-814). */
  readonly supportsSkippingAssignment: boolean;
}

export interface JoinResult {
  readonly errorCode: ErrorCode;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string;
  readonly skipAssignment: boolean;
  readonly memberId: string;
  /** Filled for the leader only. */
  readonly members: readonly { memberId: string; groupInstanceId: string | null; metadata: Uint8Array }[];
}

export interface SyncRequest {
  readonly groupId: string;
  readonly generation: number;
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  /** Null below SyncGroup 5. */
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  /** Filled by the leader. */
  readonly assignments: readonly { memberId: string; assignment: Uint8Array }[];
}

export interface SyncResult {
  readonly errorCode: ErrorCode;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly assignment: Uint8Array;
}

/** Who speaks: checked against the group before anything else. */
export interface MemberIdentity {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
}

export interface CommitRequest extends MemberIdentity {
  readonly groupId: string;
  /** -1: not a member (an admin or a consumer that assigns partitions itself). */
  readonly generation: number;
  readonly offsets: readonly OffsetToCommit[];
  /** What an unknown group with a generation is told: GROUP_ID_NOT_FOUND from version 9 on, ILLEGAL_GENERATION before. */
  readonly unknownGroupError: ErrorCode;
}

export interface OffsetToCommit {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string;
}

/** State names as Kafka's tools print them. */
export type GroupStateName = 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead' | 'Empty';

export interface GroupDescription {
  readonly groupId: string;
  readonly state: GroupStateName;
  readonly protocolType: string;
  readonly protocol: string;
  readonly members: readonly {
    memberId: string;
    groupInstanceId: string | null;
    clientId: string;
    clientHost: string;
    metadata: Uint8Array;
    assignment: Uint8Array;
  }[];
}
