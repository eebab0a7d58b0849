/**
 * A consumer group of the classic protocol on the broker that leads its `__consumer_offsets` partition: joins, syncs, heartbeats, sessions.
 *
 *     Empty ──join──► PreparingRebalance ──all joined──► CompletingRebalance ──assignment durable──► Stable
 *       ▲                  ▲    │ nobody left                  │ join, leave, expiry                   │ join, leave, expiry
 *       └──────────────────┼────┘                              │                                       │
 *                          └──────────────────────────────────┴───────────────────────────────────────┘
 *     any ──coordinator moved or group deleted──► Dead
 *
 * Promises: requests are taken synchronously and answered exactly once, through their callback; a generation is handed to members as assigned only after it is durable together with
 * its assignment (DECISIONS C4); a parked member never expires. All of it is the leader's own and starts afresh on takeover from what is durable.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { assert } from '../../std/assert.ts';
import type { TimerHandle } from '../../std/environment.ts';
import { CONSUMER_PROTOCOL_TYPE, isSameSubscription } from './consumer-subscription.ts';
import { joinError, syncError } from './group-answers.ts';
import type { DurableGroup } from './group-command.ts';
import type { GroupConfig } from './group-config.ts';
import { GroupMember } from './group-member.ts';
import type {
  GroupDescription,
  GroupStateName,
  JoinRequest,
  JoinResult,
  MemberIdentity,
  SyncRequest,
  SyncResult,
} from './group-requests.ts';
import { GroupRoster, type RosterHost } from './group-roster.ts';
import { commonProtocols, sameProtocols, selectProtocol } from './select-protocol.ts';

/** What a group needs from its coordinator. */
export interface GroupHost extends RosterHost {
  readonly config: GroupConfig;
  /** A member id never given before; Kafka's form `prefix-uuid`. */
  newMemberId(prefix: string): string;
  /** Leader-resolved time for what becomes durable. */
  timestampMs(): number;
  /** Makes a generation durable; `done` with NONE after it was applied, never before this returns. */
  persist(group: DurableGroup, done: (errorCode: ErrorCode) => void): void;
}

const NO_BYTES = new Uint8Array(0);
/** A client may give a rebalance time-out of 0: absent static members are not asked after more often than this. */
const ABSENCE_CHECK_MIN_MS = 1000;
const PERSIST_EMPTY_RETRY_MS = 1000;

export class ClassicGroup {
  readonly groupId: string;
  readonly #host: GroupHost;
  readonly #roster: GroupRoster;
  #state: GroupStateName = 'Empty';
  #generation: number;
  #protocolType: string;
  #protocolName: string | undefined;
  #leader: string | undefined;
  /** Ends the running phase: waiting for joins, or for syncs. */
  #phaseTimer: TimerHandle | undefined;
  /** Initial rebalance of an empty group: the wait is extended while members arrive, up to here. */
  #initialJoinUntilMs: number | undefined;
  #assignmentInFlight = false;
  /** Latest generation that is durable with its assignment: commits are checked against it when they are applied. */
  #assignedGeneration = -1;

  /** `durable`: the generation that a predecessor made durable, if any. */
  constructor(groupId: string, host: GroupHost, durable: DurableGroup | undefined) {
    this.groupId = groupId;
    this.#host = host;
    this.#roster = new GroupRoster(host, (membersLeft) => this.#shrunk(membersLeft));
    this.#generation = durable?.generation ?? 0;
    this.#protocolType = durable?.protocolType ?? '';
    if (durable === undefined || durable.members.length === 0) return;
    this.#protocolName = durable.protocol ?? undefined;
    this.#leader = durable.leader ?? undefined;
    for (const member of durable.members) this.#roster.admit(GroupMember.fromDurable(member, durable.protocol ?? ''));
    this.#state = 'Stable';
    this.#assignedGeneration = this.#generation;
    for (const member of this.#roster.members()) this.#roster.renewSession(member);
    // Without a leader a member left after the assignment was made: its share belongs to nobody until the group rebalances.
    if (this.#leader === undefined) this.#prepareRebalance();
  }

  get state(): GroupStateName {
    return this.#state;
  }
  get generation(): number {
    return this.#generation;
  }
  get protocolType(): string {
    return this.#protocolType;
  }
  /** No member, none expected, nothing in the making: may be forgotten, as what is durable says the same. */
  get isIdle(): boolean {
    return this.#state === 'Empty' && this.#roster.pendingCount === 0;
  }

  // ------------------------------------------------------------------ JoinGroup

  join(request: JoinRequest, done: (result: JoinResult) => void): void {
    const refusal = this.#refuseJoin(request);
    if (refusal !== undefined) return done(joinError(refusal, request.memberId));
    if (request.memberId === '') return this.#joinUnknown(request, done);
    this.#joinKnown(request, done);
  }

  #refuseJoin(request: JoinRequest): ErrorCode | undefined {
    if (this.#state === 'Dead') return ErrorCode.COORDINATOR_NOT_AVAILABLE;
    const { sessionTimeoutMinMs, sessionTimeoutMaxMs, membersMax } = this.#host.config;
    if (request.sessionTimeoutMs < sessionTimeoutMinMs || request.sessionTimeoutMs > sessionTimeoutMaxMs) {
      return ErrorCode.INVALID_SESSION_TIMEOUT;
    }
    if (!this.#supports(request)) return ErrorCode.INCONSISTENT_GROUP_PROTOCOL;
    const isNew = this.#roster.get(request.memberId) === undefined && !this.#roster.isExpected(request.memberId);
    const replaces = request.groupInstanceId !== null && this.#roster.byInstance(request.groupInstanceId) !== undefined;
    if (isNew && !replaces && this.#roster.size + this.#roster.pendingCount >= membersMax) {
      return ErrorCode.GROUP_MAX_SIZE_REACHED;
    }
    return undefined;
  }

  #supports(request: JoinRequest): boolean {
    if (request.protocolType === '' || request.protocols.length === 0) return false;
    const others = this.#roster
      .members()
      .filter(
        ({ memberId, groupInstanceId }) =>
          memberId !== request.memberId && (groupInstanceId === null || groupInstanceId !== request.groupInstanceId),
      );
    if (this.#roster.size === 0) return true;
    if (request.protocolType !== this.#protocolType) return false;
    return commonProtocols([request, ...others]).length > 0;
  }

  #joinUnknown(request: JoinRequest, done: (result: JoinResult) => void): void {
    const { groupInstanceId } = request;
    if (groupInstanceId !== null) {
      const replaced = this.#roster.byInstance(groupInstanceId);
      if (replaced !== undefined) return this.#replaceStatic(replaced, request, done);
      return this.#joinNew(this.#host.newMemberId(groupInstanceId), request, done);
    }
    const memberId = this.#host.newMemberId(request.clientId);
    if (!request.requiresKnownMemberId) return this.#joinNew(memberId, request, done);
    this.#roster.expect(memberId, request.sessionTimeoutMs);
    done(joinError(ErrorCode.MEMBER_ID_REQUIRED, memberId));
  }

  #joinKnown(request: JoinRequest, done: (result: JoinResult) => void): void {
    // Ids are promised to dynamic members only: with somebody's instance id two members would hold one instance.
    if (request.groupInstanceId === null && this.#roster.stopExpecting(request.memberId)) {
      return this.#joinNew(request.memberId, request, done);
    }
    const member = this.#identify(request);
    if (!(member instanceof GroupMember)) return done(joinError(member, request.memberId));
    const unchanged = sameProtocols(member.protocols, request.protocols);
    const mayStay =
      (this.#state === 'CompletingRebalance' && unchanged) ||
      (this.#state === 'Stable' && unchanged && member.memberId !== this.#leader);
    member.update(request);
    this.#roster.renewSession(member);
    if (mayStay) return done(this.#joinResult(member));
    this.#park(member, done);
    if (this.#state !== 'PreparingRebalance') this.#prepareRebalance();
    else this.#completeJoinIfAllJoined();
  }

  #joinNew(memberId: string, request: JoinRequest, done: (result: JoinResult) => void): void {
    if (this.#roster.size === 0) this.#protocolType = request.protocolType;
    const member = new GroupMember({ memberId, groupInstanceId: request.groupInstanceId }, request);
    this.#roster.admit(member);
    this.#leader ??= memberId;
    this.#park(member, done);
    if (this.#state !== 'PreparingRebalance') return this.#prepareRebalance();
    this.#extendInitialJoin();
    this.#completeJoinIfAllJoined();
  }

  /** A static member came back without its id (KIP-345): it takes the place of its predecessor, which is fenced. */
  #replaceStatic(old: GroupMember, request: JoinRequest, done: (result: JoinResult) => void): void {
    assert(old.groupInstanceId !== null, 'Replaced member is not static');
    this.#roster.remove(old, ErrorCode.FENCED_INSTANCE_ID);
    const memberId = this.#host.newMemberId(old.groupInstanceId);
    const member = new GroupMember({ memberId, groupInstanceId: old.groupInstanceId }, request);
    member.assignment = old.assignment;
    member.hasSynced = old.hasSynced;
    const wasLeader = this.#leader === old.memberId;
    this.#roster.admit(member);
    if (wasLeader) this.#leader = memberId;
    this.#roster.renewSession(member);
    const changesNothing =
      selectProtocol(this.#roster.members()) === this.#protocolName && !this.#isResubscribed(old, member);
    if (this.#state !== 'Stable' || !changesNothing) {
      this.#park(member, done);
      if (this.#state !== 'PreparingRebalance') return this.#prepareRebalance();
      return this.#completeJoinIfAllJoined();
    }
    // No rebalance: the same generation goes on with the new id, once that is durable.
    this.#host.persist(
      this.#durable((present) => present.assignment),
      (errorCode) => {
        if (this.#roster.get(memberId) !== member) return done(joinError(ErrorCode.UNKNOWN_MEMBER_ID, memberId));
        if (errorCode !== ErrorCode.NONE) return done(joinError(errorCode, memberId));
        if (this.#state !== 'Stable') return done(joinError(ErrorCode.REBALANCE_IN_PROGRESS, memberId));
        const skipAssignment = wasLeader && request.supportsSkippingAssignment;
        done({
          ...this.#joinResult(member),
          // Below JoinGroup 9 the old leader's id keeps a returning leader from assigning anew.
          leader: skipAssignment || !wasLeader ? (this.#leader ?? '') : old.memberId,
          skipAssignment,
          members: skipAssignment ? this.#memberMetadata() : [],
        });
      },
    );
  }

  /** Kafka leaves a static member's new subscription unnoticed until the next rebalance; here it starts one. */
  #isResubscribed(old: GroupMember, member: GroupMember): boolean {
    if (this.#protocolType !== CONSUMER_PROTOCOL_TYPE) return false;
    return !isSameSubscription(old.metadataFor(this.#protocolName), member.metadataFor(this.#protocolName));
  }

  #park(member: GroupMember, done: (result: JoinResult) => void): void {
    // A client that repeats a parked JoinGroup on a new connection has given up on the first.
    member.answerJoin(joinError(ErrorCode.REBALANCE_IN_PROGRESS, member.memberId));
    member.awaitingJoin = done;
  }

  // ------------------------------------------------------------------ rebalance

  #prepareRebalance(): void {
    assert(
      this.#state !== 'Dead' && this.#state !== 'PreparingRebalance',
      `Rebalance cannot start from ${this.#state}`,
    );
    if (this.#state === 'CompletingRebalance') {
      for (const member of this.#roster.members()) member.answerSync(syncError(ErrorCode.REBALANCE_IN_PROGRESS));
    }
    const fromEmpty = this.#state === 'Empty';
    this.#state = 'PreparingRebalance';
    this.#phaseTimer?.cancel();
    const timeoutMs = this.#rebalanceTimeoutMs();
    if (!fromEmpty) {
      this.#phaseTimer = this.#host.after(timeoutMs, () => this.#completeJoin());
      return this.#completeJoinIfAllJoined();
    }
    this.#initialJoinUntilMs = this.#host.nowMs() + timeoutMs;
    this.#extendInitialJoin();
  }

  /** An empty group waits for company before its first generation (group.initial.rebalance.delay.ms), again for each arrival, never beyond the rebalance time-out. */
  #extendInitialJoin(): void {
    if (this.#initialJoinUntilMs === undefined) return;
    const remainingMs = Math.max(0, this.#initialJoinUntilMs - this.#host.nowMs());
    this.#phaseTimer?.cancel();
    this.#phaseTimer = this.#host.after(Math.min(this.#host.config.initialRebalanceDelayMs, remainingMs), () => {
      this.#initialJoinUntilMs = undefined;
      this.#completeJoin();
    });
  }

  #completeJoinIfAllJoined(): void {
    if (this.#state !== 'PreparingRebalance' || this.#initialJoinUntilMs !== undefined) return;
    if (this.#roster.pendingCount > 0) return;
    for (const { awaitingJoin } of this.#roster.members()) if (awaitingJoin === undefined) return;
    this.#completeJoin();
  }

  #completeJoin(): void {
    assert(this.#state === 'PreparingRebalance', `Join cannot complete from ${this.#state}`);
    this.#phaseTimer?.cancel();
    this.#phaseTimer = undefined;
    for (const member of this.#roster.members()) {
      if (member.awaitingJoin === undefined && member.groupInstanceId === null) this.#expel(member);
    }
    const joined = this.#roster.members().filter(({ awaitingJoin }) => awaitingJoin !== undefined);
    if (this.#roster.size > 0 && joined.length === 0) {
      // Only static members are left and none came back in time: their sessions decide how long they are waited for.
      const delayMs = Math.max(ABSENCE_CHECK_MIN_MS, this.#rebalanceTimeoutMs());
      this.#phaseTimer = this.#host.after(delayMs, () => this.#completeJoin());
      return;
    }
    this.#generation += 1;
    if (this.#roster.size === 0) return this.#becomeEmpty();
    const leader = this.#roster.get(this.#leader ?? '');
    if (leader?.awaitingJoin === undefined) this.#leader = joined[0]!.memberId;
    this.#protocolName = selectProtocol(this.#roster.members());
    assert(this.#protocolName !== undefined, 'Members without a common protocol were admitted');
    this.#state = 'CompletingRebalance';
    this.#assignmentInFlight = false;
    for (const member of this.#roster.members()) member.hasSynced = false;
    this.#phaseTimer = this.#host.after(this.#rebalanceTimeoutMs(), () => this.#expelUnsynced());
    for (const member of joined) {
      this.#roster.renewSession(member);
      member.answerJoin(this.#joinResult(member));
    }
  }

  #becomeEmpty(): void {
    this.#state = 'Empty';
    this.#protocolName = undefined;
    this.#leader = undefined;
    this.#persistEmpty(this.#generation);
  }

  /** Until it is durable, the group's offsets never expire and it can not be deleted; a successor finds members that are gone, and lets them expire. */
  #persistEmpty(generation: number): void {
    if (this.#state !== 'Empty' || this.#generation !== generation) return;
    this.#host.persist(
      this.#durable(() => NO_BYTES),
      (errorCode) => {
        if (errorCode !== ErrorCode.NONE) {
          this.#host.after(PERSIST_EMPTY_RETRY_MS, () => this.#persistEmpty(generation));
        }
      },
    );
  }

  #rebalanceTimeoutMs(): number {
    let timeoutMs = 0;
    for (const member of this.#roster.members()) timeoutMs = Math.max(timeoutMs, member.rebalanceTimeoutMs);
    return timeoutMs;
  }

  // ------------------------------------------------------------------ SyncGroup

  sync(request: SyncRequest, done: (result: SyncResult) => void): void {
    const member = this.#identify(request);
    if (!(member instanceof GroupMember)) return done(syncError(member));
    if (request.generation !== this.#generation) return done(syncError(ErrorCode.ILLEGAL_GENERATION));
    const otherType = request.protocolType !== null && request.protocolType !== this.#protocolType;
    const otherName = request.protocolName !== null && request.protocolName !== this.#protocolName;
    if (this.#state === 'PreparingRebalance') return done(syncError(ErrorCode.REBALANCE_IN_PROGRESS));
    if (otherType || otherName) return done(syncError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL));
    member.hasSynced = true;
    this.#roster.renewSession(member);
    if (this.#state === 'Stable') return done(this.#syncResult(member));
    assert(this.#state === 'CompletingRebalance', `A member cannot sync in ${this.#state}`);
    member.answerSync(syncError(ErrorCode.REBALANCE_IN_PROGRESS));
    member.awaitingSync = done;
    if (member.memberId === this.#leader && !this.#assignmentInFlight) this.#assign(request);
  }

  #assign(request: SyncRequest): void {
    this.#assignmentInFlight = true;
    const generation = this.#generation;
    const assignments = new Map(
      request.assignments.map(({ memberId, assignment }) => [memberId, Uint8Array.from(assignment)] as const),
    );
    const assignmentOf = (member: GroupMember) => assignments.get(member.memberId) ?? NO_BYTES;
    this.#host.persist(this.#durable(assignmentOf), (errorCode) => {
      if (errorCode === ErrorCode.NONE) this.#assignedGeneration = generation;
      // A rebalance began meanwhile: those who waited were told so, and the next generation is another one.
      if (this.#state !== 'CompletingRebalance' || this.#generation !== generation) return;
      this.#assignmentInFlight = false;
      if (errorCode !== ErrorCode.NONE) {
        for (const member of this.#roster.members()) member.answerSync(syncError(errorCode));
        return this.#prepareRebalance();
      }
      this.#state = 'Stable';
      for (const member of this.#roster.members()) {
        member.assignment = assignmentOf(member);
        if (member.awaitingSync === undefined) continue;
        this.#roster.renewSession(member);
        member.answerSync(this.#syncResult(member));
      }
    });
  }

  /** Members that joined a generation but never asked for their assignment hold up nobody beyond the rebalance time-out. */
  #expelUnsynced(): void {
    this.#phaseTimer = undefined;
    const silent = this.#roster.members().filter(({ hasSynced }) => !hasSynced);
    if (silent.length === 0) return;
    for (const member of silent) this.#expel(member);
    if (this.#state === 'CompletingRebalance' || this.#state === 'Stable') this.#prepareRebalance();
  }

  // ------------------------------------------------------------------ Heartbeat, LeaveGroup, OffsetCommit

  heartbeat(identity: MemberIdentity, generation: number): ErrorCode {
    const member = this.#identify(identity);
    if (!(member instanceof GroupMember)) return member;
    if (generation !== this.#generation) return ErrorCode.ILLEGAL_GENERATION;
    this.#roster.renewSession(member);
    return this.#state === 'PreparingRebalance' ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE;
  }

  /** Ends memberships at once; the caller makes that durable and answers afterwards. An empty member id with an instance id is an admin removing a static member. */
  leave(identities: readonly MemberIdentity[]): { errorCode: ErrorCode; removedMemberId: string | undefined }[] {
    const results = identities.map((identity) => this.#leaveOne(identity));
    if (results.some(({ removedMemberId }) => removedMemberId !== undefined)) this.#afterRemoval();
    return results;
  }

  #leaveOne(identity: MemberIdentity): { errorCode: ErrorCode; removedMemberId: string | undefined } {
    if (this.#roster.stopExpecting(identity.memberId)) {
      this.#completeJoinIfAllJoined();
      return { errorCode: ErrorCode.NONE, removedMemberId: undefined };
    }
    const byInstance = identity.memberId === '' && identity.groupInstanceId !== null;
    const member = byInstance
      ? (this.#roster.byInstance(identity.groupInstanceId!) ?? ErrorCode.UNKNOWN_MEMBER_ID)
      : this.#identify(identity);
    if (!(member instanceof GroupMember)) return { errorCode: member, removedMemberId: undefined };
    this.#expel(member);
    return { errorCode: ErrorCode.NONE, removedMemberId: member.memberId };
  }

  /**
   * Whether a commit may be proposed; it is checked again when it is applied (group-state.ts). Counts as a sign of life.
   *
   * Without a generation it is an admin's or that of a consumer which assigns partitions itself, also if that one has an instance id.
   */
  checkCommit(identity: MemberIdentity, generation: number): ErrorCode {
    if (generation < 0 && this.#state === 'Empty') return ErrorCode.NONE;
    if (generation < 0 && identity.memberId === '' && identity.groupInstanceId === null) {
      return ErrorCode.UNKNOWN_MEMBER_ID;
    }
    const member = this.#identify(identity);
    if (!(member instanceof GroupMember)) return member;
    if (generation !== this.#generation) return ErrorCode.ILLEGAL_GENERATION;
    this.#roster.renewSession(member);
    // Also when the next rebalance began before this generation had its assignment: it never becomes durable then, and the member must not take that for having been thrown out.
    return generation === this.#assignedGeneration ? ErrorCode.NONE : ErrorCode.REBALANCE_IN_PROGRESS;
  }

  describe(): GroupDescription {
    const assigned = this.#state === 'Stable';
    return {
      groupId: this.groupId,
      state: this.#state,
      protocolType: this.#protocolType,
      protocol: assigned ? (this.#protocolName ?? '') : '',
      members: this.#roster.members().map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        metadata: assigned ? member.metadataFor(this.#protocolName) : NO_BYTES,
        assignment: assigned ? member.assignment : NO_BYTES,
      })),
    };
  }

  /** What each member says about itself under the chosen protocol, or its first one. */
  memberMetadata(): Uint8Array[] {
    return this.#roster.members().map((member) => member.metadataFor(this.#protocolName ?? member.protocols[0]?.name));
  }

  /** Ends the group on this broker: everything parked is answered with `errorCode`, timers stop. */
  close(errorCode: ErrorCode): void {
    this.#state = 'Dead';
    this.#phaseTimer?.cancel();
    this.#roster.close(errorCode);
  }

  // ------------------------------------------------------------------ members

  #expel(member: GroupMember): void {
    this.#roster.remove(member, ErrorCode.UNKNOWN_MEMBER_ID);
    this.#replaceLostLeader();
  }

  #replaceLostLeader(): void {
    if (this.#leader !== undefined && this.#roster.get(this.#leader) === undefined) this.#leader = this.#roster.first;
  }

  #shrunk(membersLeft: boolean): void {
    this.#replaceLostLeader();
    if (membersLeft) this.#afterRemoval();
    else this.#completeJoinIfAllJoined();
  }

  #afterRemoval(): void {
    if (this.#state === 'Stable' || this.#state === 'CompletingRebalance') this.#prepareRebalance();
    else this.#completeJoinIfAllJoined();
  }

  #identify(identity: MemberIdentity): GroupMember | ErrorCode {
    return this.#state === 'Dead' ? ErrorCode.COORDINATOR_NOT_AVAILABLE : this.#roster.identify(identity);
  }

  // ------------------------------------------------------------------ answers

  #joinResult(member: GroupMember): JoinResult {
    return {
      errorCode: ErrorCode.NONE,
      generation: this.#generation,
      protocolType: this.#protocolType,
      protocolName: this.#protocolName ?? null,
      leader: this.#leader ?? '',
      skipAssignment: false,
      memberId: member.memberId,
      members: member.memberId === this.#leader ? this.#memberMetadata() : [],
    };
  }

  #memberMetadata(): JoinResult['members'] {
    return this.#roster.members().map((member) => ({
      memberId: member.memberId,
      groupInstanceId: member.groupInstanceId,
      metadata: member.metadataFor(this.#protocolName),
    }));
  }

  #syncResult(member: GroupMember): SyncResult {
    return {
      errorCode: ErrorCode.NONE,
      protocolType: this.#protocolType,
      protocolName: this.#protocolName ?? null,
      assignment: member.assignment,
    };
  }

  #durable(assignmentOf: (member: GroupMember) => Uint8Array): DurableGroup {
    return {
      groupId: this.groupId,
      protocolType: this.#protocolType,
      generation: this.#generation,
      protocol: this.#protocolName ?? null,
      leader: this.#leader ?? null,
      stateTimestampMs: this.#host.timestampMs(),
      members: this.#roster.members().map((member) => member.toDurable(this.#protocolName, assignmentOf(member))),
    };
  }
}
