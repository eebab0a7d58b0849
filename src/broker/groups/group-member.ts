/** One member of a classic group, as the coordinator's leader keeps it. */
import type { DurableMember } from './group-command.ts';
import type { JoinRequest, JoinResult, SyncResult } from './group-requests.ts';
import { type Protocol, sameProtocols } from './select-protocol.ts';

export class GroupMember {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  clientId: string;
  clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  protocols: readonly Protocol[];
  assignment: Uint8Array = new Uint8Array(0);
  /** Parked JoinGroup and SyncGroup: at most one of each; answered exactly once. */
  awaitingJoin: ((result: JoinResult) => void) | undefined;
  awaitingSync: ((result: SyncResult) => void) | undefined;
  /** Monotonic; silence until then ends the membership. A parked member is alive whatever this says. */
  sessionDeadlineMs = 0;
  /** Sent its SyncGroup of the generation that is being completed. */
  hasSynced = false;

  constructor(
    identity: { memberId: string; groupInstanceId: string | null },
    facts: Pick<JoinRequest, 'clientId' | 'clientHost' | 'sessionTimeoutMs' | 'rebalanceTimeoutMs' | 'protocols'>,
  ) {
    this.memberId = identity.memberId;
    this.groupInstanceId = identity.groupInstanceId;
    this.clientId = facts.clientId;
    this.clientHost = facts.clientHost;
    this.sessionTimeoutMs = facts.sessionTimeoutMs;
    this.rebalanceTimeoutMs = facts.rebalanceTimeoutMs;
    this.protocols = facts.protocols;
  }

  /** A member of a generation that was durable before this broker became coordinator. It is known with the one protocol that was chosen. */
  static fromDurable(member: DurableMember, protocol: string): GroupMember {
    const restored = new GroupMember(member, {
      ...member,
      protocols: [{ name: protocol, metadata: member.subscription }],
    });
    restored.assignment = member.assignment;
    restored.hasSynced = true;
    return restored;
  }

  get isParked(): boolean {
    return this.awaitingJoin !== undefined || this.awaitingSync !== undefined;
  }

  /** Takes over what a rejoin says; true if it differs in what an assignment depends on. */
  update(request: JoinRequest): boolean {
    const changed = !sameProtocols(this.protocols, request.protocols);
    this.protocols = request.protocols;
    this.sessionTimeoutMs = request.sessionTimeoutMs;
    this.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
    this.clientId = request.clientId;
    this.clientHost = request.clientHost;
    return changed;
  }

  metadataFor(protocolName: string | undefined): Uint8Array {
    return this.protocols.find(({ name }) => name === protocolName)?.metadata ?? new Uint8Array(0);
  }

  toDurable(protocolName: string | undefined, assignment: Uint8Array): DurableMember {
    return {
      memberId: this.memberId,
      groupInstanceId: this.groupInstanceId,
      clientId: this.clientId,
      clientHost: this.clientHost,
      rebalanceTimeoutMs: this.rebalanceTimeoutMs,
      sessionTimeoutMs: this.sessionTimeoutMs,
      subscription: this.metadataFor(protocolName),
      assignment,
    };
  }

  answerJoin(result: JoinResult): void {
    const answer = this.awaitingJoin;
    this.awaitingJoin = undefined;
    answer?.(result);
  }

  answerSync(result: SyncResult): void {
    const answer = this.awaitingSync;
    this.awaitingSync = undefined;
    answer?.(result);
  }
}
