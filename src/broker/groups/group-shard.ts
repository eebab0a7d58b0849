/**
 * All groups of one `__consumer_offsets` partition: the durable state that every replica applies, and on the leader the running groups on top of it.
 *
 * Promises: nothing is answered before this broker is a leader whose own-term entry is applied (DECISIONS L6); what becomes durable is answered after apply; when leadership goes, all that is
 * parked is answered with NOT_COORDINATOR and the running groups are dropped.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { ProposalOutcome } from '../../raft/raft-group.ts';
import { assert } from '../../std/assert.ts';
import type { Environment } from '../../std/environment.ts';
import { ClassicGroup, type GroupHost } from './classic-group.ts';
import { CONSUMER_PROTOCOL_TYPE, subscribedTopics } from './consumer-subscription.ts';
import { joinError, syncError } from './group-answers.ts';
import { type CommittedOffset, encodeGroupCommand, type GroupCommand } from './group-command.ts';
import type { GroupConfig } from './group-config.ts';
import type {
  CommitRequest,
  GroupDescription,
  JoinRequest,
  JoinResult,
  MemberIdentity,
  SyncRequest,
  SyncResult,
} from './group-requests.ts';
import type { GroupState } from './group-state.ts';

/** The replicated log under a shard. */
export interface ShardLog {
  readonly isLeader: boolean;
  readonly isReady: boolean;
  propose(command: Uint8Array, done: (outcome: ProposalOutcome) => void): void;
  readBarrier(done: (confirmed: boolean) => void): void;
}

export interface ShardOptions {
  readonly log: ShardLog;
  readonly state: GroupState;
  readonly environment: Pick<Environment, 'clock' | 'timers' | 'random'>;
  readonly config: GroupConfig;
  /** Agreed cluster time; undefined while there is none: then nothing expires (DECISIONS P4). */
  readonly clusterTimeMs: () => number | undefined;
  /** What commits and members are stamped with: cluster time, until there is one the latest clock that is known. An integer. */
  readonly stampMs: () => number;
  /** Id of a topic now, undefined if it does not exist. */
  readonly topicIdOf: (topic: string) => string | undefined;
  /** Brings what {@link topicIdOf} answers up to date with the metadata leader; false if that could not be done in time. */
  readonly refreshTopics: () => Promise<boolean>;
}

export interface OffsetAnswer {
  readonly topic: string;
  readonly partition: number;
  readonly value: CommittedOffset | undefined;
}

const FORGET_IDLE_AT_SIZE_MIN = 64;
/** Of the client's name in a member id: a client id may be as long as a string can be, a member id is longer. */
const MEMBER_ID_PREFIX_MAX = 249;
const NO_TOPICS: ReadonlySet<string> = new Set();
const COMMITTED_ANY_TIME = Number.MAX_SAFE_INTEGER;

export class GroupShard {
  readonly #log: ShardLog;
  readonly #state: GroupState;
  readonly #options: ShardOptions;
  readonly #groups = new Map<string, ClassicGroup>();
  readonly #host: GroupHost;
  #forgetIdleAtSize = FORGET_IDLE_AT_SIZE_MIN;
  /** Loaded: durable groups with members run here and their sessions count. */
  #active = false;

  constructor(options: ShardOptions) {
    const { environment, config } = options;
    this.#options = options;
    this.#log = options.log;
    this.#state = options.state;
    this.#host = {
      config,
      nowMs: () => environment.clock.monotonicMs(),
      after: (delayMs, callback) => environment.timers.after(delayMs, callback),
      newMemberId: (prefix) => `${prefixOf(prefix)}-${uuidOf(environment.random.bytes(16))}`,
      timestampMs: () => this.#options.stampMs(),
      persist: (group, done) => this.#propose({ kind: 'writeGroup', group }, done),
    };
  }

  /** To be called on every change of leadership or readiness of the partition. */
  leadershipChanged(): void {
    if (this.#log.isReady === this.#active) return;
    this.#active = this.#log.isReady;
    if (this.#active) {
      for (const durable of this.#state.groups()) {
        if (durable.members.length > 0) this.#run(durable.groupId);
      }
      return;
    }
    const groups = [...this.#groups.values()];
    this.#groups.clear();
    for (const group of groups) group.close(ErrorCode.NOT_COORDINATOR);
  }

  /** NONE if this broker may answer for the shard's groups. */
  availability(): ErrorCode {
    if (!this.#log.isLeader) return ErrorCode.NOT_COORDINATOR;
    return this.#active && this.#log.isReady ? ErrorCode.NONE : ErrorCode.COORDINATOR_LOAD_IN_PROGRESS;
  }

  join(request: JoinRequest, done: (result: JoinResult) => void): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(joinError(unavailable, request.memberId));
    const group = this.#find(request.groupId);
    if (group !== undefined) return group.join(request, done);
    if (request.memberId !== '') return done(joinError(ErrorCode.UNKNOWN_MEMBER_ID, request.memberId));
    this.#run(request.groupId).join(request, done);
  }

  sync(request: SyncRequest, done: (result: SyncResult) => void): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(syncError(unavailable));
    const group = this.#find(request.groupId);
    if (group === undefined) return done(syncError(ErrorCode.UNKNOWN_MEMBER_ID));
    group.sync(request, done);
  }

  heartbeat(groupId: string, identity: MemberIdentity, generation: number): ErrorCode {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return unavailable;
    return this.#find(groupId)?.heartbeat(identity, generation) ?? ErrorCode.UNKNOWN_MEMBER_ID;
  }

  /** Answers one code per identity once the departures are durable; a request-level code if they could not be made so. */
  leave(
    groupId: string,
    identities: readonly MemberIdentity[],
    done: (errorCode: ErrorCode, members: readonly ErrorCode[]) => void,
  ): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(unavailable, []);
    const group = this.#find(groupId);
    if (group === undefined)
      return done(
        ErrorCode.NONE,
        identities.map(() => ErrorCode.UNKNOWN_MEMBER_ID),
      );
    const results = group.leave(identities);
    const codes = results.map(({ errorCode }) => errorCode);
    const memberIds = results.flatMap(({ removedMemberId }) =>
      removedMemberId === undefined ? [] : [removedMemberId],
    );
    if (memberIds.length === 0) return done(ErrorCode.NONE, codes);
    this.#propose({ kind: 'removeMembers', groupId, memberIds, timestampMs: this.#options.stampMs() }, (errorCode) =>
      done(errorCode, codes),
    );
  }

  commit(request: CommitRequest, done: (errorCode: ErrorCode) => void): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(unavailable);
    const group = this.#find(request.groupId);
    if (group === undefined) {
      if (request.generation >= 0) return done(request.unknownGroupError);
    } else {
      const refusal = group.checkCommit(request, request.generation);
      if (refusal !== ErrorCode.NONE) return done(refusal);
    }
    const { groupId, generation, memberId, groupInstanceId, offsets } = request;
    const timestampMs = this.#options.stampMs();
    this.#propose(
      { kind: 'commitOffsets', groupId, generation, memberId, groupInstanceId, timestampMs, offsets },
      done,
    );
  }

  /** Committed offsets as of now, confirmed by a quorum (DECISIONS L5). `wanted` undefined: all. An offset of a deleted topic's predecessor is none. */
  fetchOffsets(
    groupId: string,
    wanted: readonly { topic: string; partition: number }[] | undefined,
    done: (errorCode: ErrorCode, offsets: readonly OffsetAnswer[]) => void,
  ): void {
    this.#confirmed((unavailable) => {
      if (unavailable !== ErrorCode.NONE) return done(unavailable, []);
      const committed = this.#state.offsets(groupId);
      const keys =
        wanted ??
        [...committed].flatMap(([topic, partitions]) =>
          [...partitions.keys()].map((partition) => ({ topic, partition })),
        );
      const found = keys.map((key) => ({ ...key, value: committed.get(key.topic)?.get(key.partition) }));
      const isCurrent = ({ topic, value }: OffsetAnswer): boolean =>
        value === undefined || value.topicId === this.#options.topicIdOf(topic);
      const answer = (): void => {
        const answers = found.map((each) => (isCurrent(each) ? each : { ...each, value: undefined }));
        done(ErrorCode.NONE, wanted === undefined ? answers.filter(({ value }) => value !== undefined) : answers);
      };
      if (found.every(isCurrent)) return answer();
      // The topic was deleted since, or this broker has not heard yet of one that a predecessor took the commit for: "none" would make the consumer start over.
      void this.#options.refreshTopics().then((isFresh) => {
        if (isFresh) answer();
        else done(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, []);
      });
    });
  }

  describe(groupId: string, done: (errorCode: ErrorCode, group: GroupDescription | undefined) => void): void {
    this.#confirmed((unavailable) => {
      if (unavailable !== ErrorCode.NONE) return done(unavailable, undefined);
      const group = this.#find(groupId);
      done(ErrorCode.NONE, group?.describe());
    });
  }

  /** Everything committed here, whatever became of the topics. */
  *committedOffsets(): Generator<{ groupId: string; topic: string; partition: number; value: CommittedOffset }> {
    for (const { groupId } of this.#state.groups()) {
      for (const [topic, partitions] of this.#state.offsets(groupId)) {
        for (const [partition, value] of partitions) yield { groupId, topic, partition, value };
      }
    }
  }

  /** Groups that exist: running, or durable. */
  list(): GroupDescription[] {
    const groups = [...this.#groups.values()].filter((group) => !group.isIdle).map((group) => group.describe());
    const running = new Set(groups.map(({ groupId }) => groupId));
    for (const { groupId, protocolType } of this.#state.groups()) {
      if (running.has(groupId)) continue;
      groups.push({ groupId, state: 'Empty', protocolType, protocol: '', members: [] });
    }
    return groups;
  }

  deleteGroup(groupId: string, done: (errorCode: ErrorCode) => void): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(unavailable);
    const group = this.#groups.get(groupId);
    if (group !== undefined && !group.isIdle) return done(ErrorCode.NON_EMPTY_GROUP);
    this.#propose({ kind: 'deleteGroup', groupId }, (errorCode) => {
      if (errorCode === ErrorCode.NONE && group?.isIdle) this.#groups.delete(groupId);
      done(errorCode);
    });
  }

  /** Topics that the group's members subscribe to; `unknown` if a member's metadata cannot be read: then any may be. */
  subscribedTopics(groupId: string): ReadonlySet<string> | 'unknown' {
    const group = this.#groups.get(groupId);
    const topics = new Set<string>();
    for (const metadata of group?.memberMetadata() ?? []) {
      const subscribed = group!.protocolType === CONSUMER_PROTOCOL_TYPE ? subscribedTopics(metadata) : undefined;
      if (subscribed === undefined) return 'unknown';
      for (const topic of subscribed) topics.add(topic);
    }
    return topics;
  }

  deleteOffsets(
    groupId: string,
    partitions: readonly { topic: string; partition: number }[],
    done: (errorCode: ErrorCode) => void,
  ): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(unavailable);
    this.#propose(
      { kind: 'deleteOffsets', groupId, partitions, committedBeforeMs: COMMITTED_ANY_TIME, dropGroupIfEmpty: false },
      done,
    );
  }

  /**
   * Proposes the removal of what offsets.retention.minutes has outlived: of groups without members, counted from when they became empty or from the commit, whichever is later; of stable
   * consumer groups, for topics that no member subscribes to any more (deleted ones, for one), counted from the commit.
   */
  expireOffsets(): void {
    const nowMs = this.#options.clusterTimeMs();
    if (nowMs === undefined || this.availability() !== ErrorCode.NONE) return;
    const expiredBeforeMs = nowMs - this.#options.config.offsetsRetentionMs;
    for (const { groupId, members, stateTimestampMs } of [...this.#state.groups()]) {
      const running = this.#groups.get(groupId);
      const hasMembers = members.length > 0 || (running !== undefined && !running.isIdle);
      if (hasMembers ? running?.state !== 'Stable' : stateTimestampMs > expiredBeforeMs) continue;
      const inUse = hasMembers ? this.subscribedTopics(groupId) : NO_TOPICS;
      if (inUse === 'unknown') continue;
      const expired: { topic: string; partition: number }[] = [];
      let kept = 0;
      for (const [topic, partitions] of this.#state.offsets(groupId)) {
        for (const [partition, { commitTimestampMs }] of partitions) {
          if (commitTimestampMs <= expiredBeforeMs && !inUse.has(topic)) expired.push({ topic, partition });
          else kept += 1;
        }
      }
      if (expired.length === 0 && (kept > 0 || hasMembers)) continue;
      this.#propose(
        {
          kind: 'deleteOffsets',
          groupId,
          partitions: expired,
          committedBeforeMs: expiredBeforeMs,
          dropGroupIfEmpty: !hasMembers,
        },
        () => {
          // Not durable: the next round proposes it again.
        },
      );
    }
  }

  #find(groupId: string): ClassicGroup | undefined {
    const running = this.#groups.get(groupId);
    if (running !== undefined) return running;
    return this.#state.group(groupId) === undefined ? undefined : this.#run(groupId);
  }

  #run(groupId: string): ClassicGroup {
    assert(!this.#groups.has(groupId), `Group ${groupId} runs already`);
    if (this.#groups.size >= this.#forgetIdleAtSize) this.#forgetIdle();
    const group = new ClassicGroup(groupId, this.#host, this.#state.group(groupId));
    this.#groups.set(groupId, group);
    return group;
  }

  /** Running groups that say no more than their durable state cost nothing once forgotten; without this, JoinGroups of ever new names would fill the memory. */
  #forgetIdle(): void {
    for (const [groupId, group] of this.#groups) {
      if (!group.isIdle) continue;
      const durable = this.#state.group(groupId);
      if ((durable?.members.length ?? 0) > 0 || (durable?.generation ?? 0) < group.generation) continue;
      this.#groups.delete(groupId);
    }
    this.#forgetIdleAtSize = Math.max(FORGET_IDLE_AT_SIZE_MIN, 2 * this.#groups.size);
  }

  #propose(command: GroupCommand, done: (errorCode: ErrorCode) => void): void {
    this.#log.propose(encodeGroupCommand(command), (outcome) => {
      switch (outcome.kind) {
        case 'applied':
          return done(outcome.result as ErrorCode);
        case 'refused':
          // What can never be written is not asked for again.
          if (outcome.reason === 'tooLarge') return done(ErrorCode.INVALID_COMMIT_OFFSET_SIZE);
          return done(outcome.reason === 'notLeader' ? ErrorCode.NOT_COORDINATOR : ErrorCode.COORDINATOR_NOT_AVAILABLE);
        case 'unknown':
          // May yet become durable; the client asks the next coordinator and learns there.
          return done(ErrorCode.NOT_COORDINATOR);
      }
    });
  }

  #confirmed(done: (unavailable: ErrorCode) => void): void {
    const unavailable = this.availability();
    if (unavailable !== ErrorCode.NONE) return done(unavailable);
    this.#log.readBarrier((confirmed) => done(confirmed ? this.availability() : ErrorCode.NOT_COORDINATOR));
  }
}

function prefixOf(name: string): string {
  // The cut must not leave half of a character: the client would send back another id.
  return name.slice(0, MEMBER_ID_PREFIX_MAX).replace(/[\ud800-\udbff]$/, '');
}

function uuidOf(random: Uint8Array): string {
  const hex = Buffer.from(random).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
