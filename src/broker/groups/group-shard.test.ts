import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import { consumerProtocolSubscription, encodeVersioned } from '../../kafka-protocol/coordinator-records.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { ProposalOutcome } from '../../raft/raft-group.ts';
import { logIndex, term } from '../../std/brands.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import {
  decodeGroupCommand,
  decodeGroupSnapshot,
  encodeGroupCommand,
  encodeGroupSnapshot,
  type GroupCommand,
} from './group-command.ts';
import type { JoinRequest, JoinResult, SyncResult } from './group-requests.ts';
import { GroupShard } from './group-shard.ts';
import { GroupState } from './group-state.ts';

const CONFIG = {
  initialRebalanceDelayMs: 100,
  sessionTimeoutMinMs: 1_000,
  sessionTimeoutMaxMs: 60_000,
  membersMax: 5,
  offsetMetadataBytesMax: 4096,
  offsetsRetentionMs: 1_000_000,
  retentionCheckIntervalMs: 60_000,
};
const TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAg';
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
/** A consumer's metadata; what it owns changes with every restart and rebalance. */
const subscription = (topics: string[], owned: number[] = []) =>
  encodeVersioned(
    consumerProtocolSubscription,
    { topics, ownedPartitions: owned.map((partition) => ({ topic: topics[0]!, partitions: [partition] })) },
    1,
  );
const text = (value: Uint8Array | undefined) => Buffer.from(value ?? []).toString();

/** One shard on virtual time; proposals are applied when the test says so (or at once), to the state that a successor takes over. */
class Harness {
  readonly time = new SimulatedTime();
  readonly state = new GroupState();
  readonly queue: { command: Uint8Array; done: (outcome: ProposalOutcome) => void }[] = [];
  applyAtOnce = true;
  isLeader = true;
  isReady = true;
  topicId: string | undefined = TOPIC_ID;
  topicIdAfterRefresh: string | undefined;
  refreshes = true;
  clusterTimeMs: number | undefined;
  latestWallMs: number | undefined;
  shard = this.newShard();

  newShard(): GroupShard {
    const harness = this;
    return new GroupShard({
      log: {
        get isLeader() {
          return harness.isLeader;
        },
        get isReady() {
          return harness.isReady;
        },
        propose: (command, done) => {
          harness.queue.push({ command, done });
          if (harness.applyAtOnce) harness.time.soon(() => harness.applyNext());
        },
        readBarrier: (done) => harness.time.soon(() => done(harness.isLeader)),
      },
      state: this.state,
      environment: { clock: this.time, timers: this.time, random: new SeededRandom(7) },
      config: CONFIG,
      clusterTimeMs: () => this.clusterTimeMs,
      stampMs: () => this.clusterTimeMs ?? this.latestWallMs ?? this.time.wallMs(),
      topicIdOf: () => this.topicId,
      refreshTopics: () => {
        this.topicId = this.topicIdAfterRefresh ?? this.topicId;
        return Promise.resolve(this.refreshes);
      },
    });
  }

  applyNext(): void {
    const next = this.queue.shift();
    if (next === undefined) return;
    const { errorCode } = this.state.apply(decodeGroupCommand(next.command));
    next.done({ kind: 'applied', index: logIndex(1), term: term(1), result: errorCode });
  }

  loseNext(): void {
    this.queue.shift()?.done({ kind: 'unknown' });
  }

  /** The coordinator moves: this one is told, a new one starts from what was applied. */
  async takeOver(): Promise<void> {
    this.isReady = false;
    this.shard.leadershipChanged();
    this.isReady = true;
    this.shard = this.newShard();
    this.shard.leadershipChanged();
    await this.time.runFor(0);
  }

  join(request: Partial<JoinRequest> = {}): { result: JoinResult | undefined } {
    const answer: { result: JoinResult | undefined } = { result: undefined };
    this.shard.join(
      {
        groupId: 'g',
        memberId: '',
        groupInstanceId: null,
        clientId: 'client',
        clientHost: '/127.0.0.1',
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 5_000,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: bytes('topics') }],
        requiresKnownMemberId: false,
        supportsSkippingAssignment: false,
        ...request,
      },
      (result) => {
        if (answer.result !== undefined) throw new Error('Answered twice');
        answer.result = result;
      },
    );
    return answer;
  }

  sync(joined: JoinResult, assignments: Record<string, string> = {}, groupInstanceId: string | null = null) {
    const answer: { result: SyncResult | undefined } = { result: undefined };
    this.shard.sync(
      {
        groupId: 'g',
        generation: joined.generation,
        memberId: joined.memberId,
        groupInstanceId,
        protocolType: 'consumer',
        protocolName: 'range',
        assignments: Object.entries(assignments).map(([memberId, assignment]) => ({
          memberId,
          assignment: bytes(assignment),
        })),
      },
      (result) => {
        if (answer.result !== undefined) throw new Error('Answered twice');
        answer.result = result;
      },
    );
    return answer;
  }

  heartbeat(joined: JoinResult, groupInstanceId: string | null = null): ErrorCode {
    return this.shard.heartbeat('g', { memberId: joined.memberId, groupInstanceId }, joined.generation);
  }

  async commit(offset: number, joined?: JoinResult, unknownGroupError: ErrorCode = ErrorCode.ILLEGAL_GENERATION) {
    let code: ErrorCode | undefined;
    this.shard.commit(
      {
        groupId: 'g',
        generation: joined?.generation ?? -1,
        memberId: joined?.memberId ?? '',
        groupInstanceId: null,
        unknownGroupError,
        offsets: [{ topic: 't', topicId: TOPIC_ID, partition: 0, offset, leaderEpoch: 3, metadata: 'm' }],
      },
      (errorCode) => {
        code = errorCode;
      },
    );
    await this.time.runFor(0);
    return code;
  }

  async committed(): Promise<number | undefined> {
    let offset: number | undefined;
    this.shard.fetchOffsets('g', [{ topic: 't', partition: 0 }], (_code, [answer]) => {
      offset = answer?.value?.offset;
    });
    await this.time.runFor(0);
    return offset;
  }

  /** Two members of a stable generation. */
  async stablePair(): Promise<[JoinResult, JoinResult]> {
    const [a, b] = [this.join(), this.join()];
    await this.time.runFor(300);
    const [first, second] = [a.result!, b.result!];
    expect(first.generation).toBe(1);
    const leader = first.members.length > 0 ? first : second;
    const follower = leader === first ? second : first;
    this.sync(follower);
    this.sync(leader, { [leader.memberId]: 'p0', [follower.memberId]: 'p1' });
    await this.time.runFor(0);
    return [leader, follower];
  }

  describe(): Promise<{ state: string; members: number; protocol: string }> {
    return this.time.settle(
      new Promise((resolve) => {
        this.shard.describe('g', (_code, group) =>
          resolve({
            state: group?.state ?? 'Dead',
            members: group?.members.length ?? 0,
            protocol: group?.protocol ?? '',
          }),
        );
      }),
    );
  }
}

let h: Harness;
beforeEach(() => {
  h = new Harness();
  h.shard.leadershipChanged();
});

describe('joining', () => {
  it('gathers members that arrive within the initial delay into one generation', async () => {
    const first = h.join();
    await h.time.runFor(90);
    const second = h.join();
    await h.time.runFor(90);
    expect(first.result).toBeUndefined();
    await h.time.runFor(20);
    expect(first.result).toMatchObject({ errorCode: 0, generation: 1, protocolName: 'range' });
    expect(second.result).toMatchObject({ errorCode: 0, generation: 1 });
    const leaders = [first, second].filter(({ result }) => result!.members.length > 0);
    expect(leaders).toHaveLength(1);
    expect(leaders[0]!.result!.members).toHaveLength(2);
  });

  it('gives a dynamic member an id first and admits it when it comes back with it', async () => {
    const refused = h.join({ requiresKnownMemberId: true });
    expect(refused.result?.errorCode).toBe(ErrorCode.MEMBER_ID_REQUIRED);
    const { memberId } = refused.result!;
    expect(memberId).toMatch(/^client-/);
    const joined = h.join({ requiresKnownMemberId: true, memberId });
    await h.time.runFor(200);
    expect(joined.result).toMatchObject({ errorCode: 0, memberId, generation: 1 });
  });

  it('refuses what cannot work, each with its code', async () => {
    expect(h.join({ memberId: 'nobody' }).result?.errorCode).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(h.join({ sessionTimeoutMs: 1 }).result?.errorCode).toBe(ErrorCode.INVALID_SESSION_TIMEOUT);
    expect(h.join({ protocols: [] }).result?.errorCode).toBe(ErrorCode.INCONSISTENT_GROUP_PROTOCOL);
    await h.stablePair();
    expect(h.join({ protocols: [{ name: 'other', metadata: bytes('') }] }).result?.errorCode).toBe(
      ErrorCode.INCONSISTENT_GROUP_PROTOCOL,
    );
    expect(h.join({ protocolType: 'connect' }).result?.errorCode).toBe(ErrorCode.INCONSISTENT_GROUP_PROTOCOL);
    h.join();
    h.join();
    h.join();
    expect(h.join().result?.errorCode).toBe(ErrorCode.GROUP_MAX_SIZE_REACHED);
  });

  it('keeps to ids that fit into an answer, however long the name of the client is', () => {
    const { memberId } = h.join({ clientId: 'é'.repeat(16_000), requiresKnownMemberId: true }).result!;
    expect(memberId).toMatch(/^é{249}-[0-9a-f-]{36}$/);
    const half = h.join({ clientId: `${'x'.repeat(248)}😀`, requiresKnownMemberId: true }).result!;
    expect(half.memberId).toMatch(/^x{248}-[0-9a-f-]{36}$/);
  });

  it('gives an id that it promised to a dynamic member to no static one', async () => {
    const first = h.join({ groupInstanceId: 'i1' });
    await h.time.runFor(200);
    h.sync(first.result!, {}, 'i1');
    await h.time.runFor(0);
    const { memberId } = h.join({ requiresKnownMemberId: true }).result!;
    const protocols = [{ name: 'other', metadata: bytes('') }];
    expect(h.join({ memberId, groupInstanceId: 'i1', protocols }).result?.errorCode).toBe(ErrorCode.FENCED_INSTANCE_ID);
    expect(h.join({ memberId, groupInstanceId: 'i2' }).result?.errorCode).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(await h.describe()).toMatchObject({ members: 1, protocol: 'range' });
  });

  it('drops dynamic members that do not rejoin within the rebalance time-out', async () => {
    const [leader, follower] = await h.stablePair();
    const third = h.join();
    expect(h.heartbeat(leader)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
    const rejoined = h.join({ memberId: leader.memberId });
    await h.time.runFor(4_900);
    expect(third.result).toBeUndefined();
    await h.time.runFor(200);
    expect(rejoined.result).toMatchObject({ errorCode: 0, generation: 2 });
    expect(third.result).toMatchObject({ errorCode: 0, generation: 2 });
    expect(h.heartbeat(follower)).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
  });

  it('lets a follower with unchanged metadata rejoin a stable group without a rebalance, a leader not', async () => {
    const [leader, follower] = await h.stablePair();
    expect(h.join({ memberId: follower.memberId }).result).toMatchObject({ errorCode: 0, generation: 1 });
    expect((await h.describe()).state).toBe('Stable');
    expect(h.join({ memberId: leader.memberId }).result).toBeUndefined();
    expect((await h.describe()).state).toBe('PreparingRebalance');
  });
});

describe('syncing', () => {
  it('hands out an assignment only after it is durable', async () => {
    const joined = h.join();
    await h.time.runFor(200);
    h.applyAtOnce = false;
    const synced = h.sync(joined.result!, { [joined.result!.memberId]: 'p0' });
    await h.time.runFor(1_000);
    expect(synced.result).toBeUndefined();
    h.applyNext();
    expect(text(synced.result?.assignment)).toBe('p0');
    expect(h.state.group('g')).toMatchObject({ generation: 1, protocolType: 'consumer' });
  });

  it('repeats the assignment of a stable generation and refuses another generation', async () => {
    const [leader, follower] = await h.stablePair();
    expect(text(h.sync(follower).result?.assignment)).toBe('p1');
    expect(h.sync({ ...leader, generation: 7 }).result?.errorCode).toBe(ErrorCode.ILLEGAL_GENERATION);
  });

  it('starts a rebalance when the assignment cannot be made durable, and tells all who wait', async () => {
    const joined = h.join();
    await h.time.runFor(200);
    h.applyAtOnce = false;
    const synced = h.sync(joined.result!, {});
    h.loseNext();
    expect(synced.result?.errorCode).toBe(ErrorCode.NOT_COORDINATOR);
    expect((await h.describe()).state).toBe('PreparingRebalance');
  });

  it('expels members that joined but never sync', async () => {
    const [a, b] = [h.join(), h.join()];
    await h.time.runFor(300);
    const leader = [a, b].find(({ result }) => result!.members.length > 0)!.result!;
    h.sync(leader, { [leader.memberId]: 'p0' });
    await h.time.runFor(4_000);
    expect(h.heartbeat(leader)).toBe(ErrorCode.NONE);
    await h.time.runFor(1_500);
    expect(h.heartbeat(leader)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
    expect(await h.describe()).toMatchObject({ members: 1 });
  });
});

describe('sessions', () => {
  it('expires a silent member and keeps one that sends heartbeats', async () => {
    const [leader, follower] = await h.stablePair();
    for (let i = 0; i < 4; i++) {
      await h.time.runFor(3_000);
      h.heartbeat(leader);
    }
    expect(h.heartbeat(follower)).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(h.heartbeat(leader)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
  });

  it('gives everybody another session when the broker itself stood still', async () => {
    const [leader] = await h.stablePair();
    // The timer fires late: the machine's events wait while time goes on.
    const machine = h.time;
    const realNow = machine.monotonicMs.bind(machine);
    machine.monotonicMs = () => realNow() + 60_000;
    await h.time.runFor(10_500);
    expect(h.heartbeat(leader)).toBe(ErrorCode.NONE);
  });

  it('becomes empty, durably, also when the first attempt fails', async () => {
    const [leader, follower] = await h.stablePair();
    h.applyAtOnce = false;
    h.shard.leave(
      'g',
      [leader, follower].map(({ memberId }) => ({ memberId, groupInstanceId: null })),
      () => {},
    );
    while (h.queue.length > 0) h.loseNext();
    h.applyAtOnce = true;
    expect(h.state.group('g')?.members).toHaveLength(2);
    await h.time.runFor(1_100);
    expect(h.state.group('g')).toMatchObject({ members: [], generation: 2 });
  });

  it('becomes empty, durably, when the last member leaves', async () => {
    const [leader, follower] = await h.stablePair();
    let left: readonly ErrorCode[] = [];
    h.shard.leave(
      'g',
      [leader, follower].map(({ memberId }) => ({ memberId, groupInstanceId: null })),
      (_code, members) => {
        left = members;
      },
    );
    await h.time.runFor(6_000);
    expect(left).toEqual([ErrorCode.NONE, ErrorCode.NONE]);
    expect(h.state.group('g')).toMatchObject({ members: [], generation: 2 });
    expect(await h.describe()).toMatchObject({ state: 'Empty' });
  });
});

describe('static members', () => {
  it('takes its place back without a rebalance and fences its predecessor', async () => {
    const first = h.join({ groupInstanceId: 'i1' });
    await h.time.runFor(200);
    const old = first.result!;
    h.sync(old, { [old.memberId]: 'p0' }, 'i1');
    await h.time.runFor(0);
    const second = h.join({ groupInstanceId: 'i1' });
    await h.time.runFor(0);
    expect(second.result).toMatchObject({ errorCode: 0, generation: 1, leader: old.memberId });
    expect(second.result!.memberId).not.toBe(old.memberId);
    expect(text(h.sync(second.result!, {}, 'i1').result?.assignment)).toBe('p0');
    expect(h.heartbeat(old, 'i1')).toBe(ErrorCode.FENCED_INSTANCE_ID);
    expect(h.state.group('g')?.members[0]?.memberId).toBe(second.result!.memberId);
  });

  it('tells a returning leader to skip the assignment when it can', async () => {
    const first = h.join({ groupInstanceId: 'i1' });
    await h.time.runFor(200);
    h.sync(first.result!, {}, 'i1');
    await h.time.runFor(0);
    const second = h.join({ groupInstanceId: 'i1', supportsSkippingAssignment: true });
    await h.time.runFor(0);
    expect(second.result).toMatchObject({ skipAssignment: true, leader: second.result!.memberId });
    expect(second.result!.members).toHaveLength(1);
  });

  it('rebalances when it comes back with another subscription, not with the same in other bytes', async () => {
    const protocols = (topics: string[], owned: number[]) => [{ name: 'range', metadata: subscription(topics, owned) }];
    const first = h.join({ groupInstanceId: 'i1', protocols: protocols(['a', 'b'], [0, 1]) });
    await h.time.runFor(200);
    h.sync(first.result!, {}, 'i1');
    await h.time.runFor(0);
    const restarted = h.join({ groupInstanceId: 'i1', protocols: protocols(['b', 'a'], []) });
    await h.time.runFor(0);
    expect(restarted.result).toMatchObject({ errorCode: 0, generation: 1 });
    const changed = h.join({ groupInstanceId: 'i1', protocols: protocols(['a', 'c'], []) });
    await h.time.runFor(0);
    expect(changed.result).toMatchObject({ errorCode: 0, generation: 2 });
  });

  it('is waited for without haste when nobody gives time for a rebalance', async () => {
    const [leaving, staying] = [h.join(), h.join({ groupInstanceId: 'i1', sessionTimeoutMs: 60_000 })];
    await h.time.runFor(300);
    h.sync(leaving.result!);
    h.sync(staying.result!, {}, 'i1');
    await h.time.runFor(0);
    const noTime = { memberId: staying.result!.memberId, groupInstanceId: 'i1', rebalanceTimeoutMs: 0 };
    expect(h.join({ ...noTime, sessionTimeoutMs: 60_000 }).result).toMatchObject({ generation: 1 });
    let timers = 0;
    const after = h.time.after.bind(h.time);
    h.time.after = (delayMs, callback) => {
      if (++timers > 100) throw new Error('It does nothing but wait');
      return after(delayMs, callback);
    };
    h.shard.leave('g', [{ memberId: leaving.result!.memberId, groupInstanceId: null }], () => {});
    await h.time.runFor(5_000);
    expect(timers).toBeLessThan(10);
    expect(h.join(noTime).result).toMatchObject({ errorCode: 0, generation: 2 });
  });

  it('is removed by an admin that names its instance', async () => {
    const first = h.join({ groupInstanceId: 'i1' });
    await h.time.runFor(200);
    h.sync(first.result!, {}, 'i1');
    await h.time.runFor(0);
    let codes: readonly ErrorCode[] = [];
    h.shard.leave('g', [{ memberId: '', groupInstanceId: 'i1' }], (_code, members) => {
      codes = members;
    });
    await h.time.runFor(0);
    expect(codes).toEqual([ErrorCode.NONE]);
    expect(h.state.group('g')?.members).toEqual([]);
  });
});

describe('offsets', () => {
  it('commits of members count in their generation only', async () => {
    const [leader] = await h.stablePair();
    expect(await h.commit(5, leader)).toBe(ErrorCode.NONE);
    expect(await h.commit(6, { ...leader, generation: 0 })).toBe(ErrorCode.ILLEGAL_GENERATION);
    expect(await h.commit(6, { ...leader, memberId: 'x' })).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(await h.commit(6)).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(await h.committed()).toBe(5);
  });

  it('lets nobody commit between a join and its assignment', async () => {
    const joined = h.join();
    await h.time.runFor(200);
    expect(await h.commit(1, joined.result)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
    // Nor when the next rebalance overtakes the assignment; the member is still one, and is told so.
    h.join();
    expect((await h.describe()).state).toBe('PreparingRebalance');
    expect(await h.commit(1, joined.result)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
  });

  it('takes commits of the last generation while the next one gathers', async () => {
    const [leader] = await h.stablePair();
    h.join();
    expect((await h.describe()).state).toBe('PreparingRebalance');
    expect(await h.commit(5, leader)).toBe(ErrorCode.NONE);
    expect(await h.committed()).toBe(5);
  });

  it('takes a commit without a generation from a named consumer that assigns partitions itself', async () => {
    const alone = { generation: -1, memberId: 'named' } as JoinResult;
    expect(await h.commit(5, alone)).toBe(ErrorCode.NONE);
    expect(await h.commit(6, alone)).toBe(ErrorCode.NONE);
    await h.stablePair();
    expect(await h.commit(7, alone)).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    expect(await h.committed()).toBe(6);
  });

  it('of topics that nobody in a living group subscribes to expire, the others do not', async () => {
    h.clusterTimeMs = 1_000;
    const joined = h.join({ protocols: [{ name: 'range', metadata: subscription(['t']) }] });
    await h.time.runFor(200);
    h.sync(joined.result!, {});
    await h.time.runFor(0);
    expect(await h.commit(5, joined.result)).toBe(ErrorCode.NONE);
    const other = { topic: 'gone', topicId: TOPIC_ID, partition: 0, offset: 1, leaderEpoch: 0, metadata: '' };
    h.state.apply({
      ...{ kind: 'commitOffsets', groupId: 'g', generation: 1, memberId: joined.result!.memberId },
      ...{ groupInstanceId: null, timestampMs: 1_000, offsets: [other] },
    });
    h.clusterTimeMs = 1_000_999;
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect([...h.state.offsets('g').keys()]).toEqual(['t', 'gone']);
    h.clusterTimeMs = 1_001_001;
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect([...h.state.offsets('g').keys()]).toEqual(['t']);
  });

  it('stores offsets of a group that has no members, and tells a stranger with a generation what its version knows', async () => {
    expect(await h.commit(9)).toBe(ErrorCode.NONE);
    expect(await h.committed()).toBe(9);
    expect(h.shard.list()).toMatchObject([{ groupId: 'g', state: 'Empty' }]);
    const stranger = { generation: 3, memberId: 'm' } as JoinResult;
    h.shard = h.newShard();
    h.shard.leadershipChanged();
    h.state.apply({ kind: 'deleteGroup', groupId: 'g' });
    expect(await h.commit(1, stranger, ErrorCode.GROUP_ID_NOT_FOUND)).toBe(ErrorCode.GROUP_ID_NOT_FOUND);
  });

  it('checks a commit again when it is applied: one that was overtaken by a removal is refused', async () => {
    const [leader, follower] = await h.stablePair();
    h.applyAtOnce = false;
    h.shard.leave('g', [{ memberId: leader.memberId, groupInstanceId: null }], () => {});
    let code: ErrorCode | undefined;
    h.shard.commit(
      {
        groupId: 'g',
        generation: 1,
        memberId: follower.memberId,
        groupInstanceId: null,
        unknownGroupError: ErrorCode.ILLEGAL_GENERATION,
        offsets: [],
      },
      (errorCode) => {
        code = errorCode;
      },
    );
    const [removal, commit] = h.queue;
    // A deposed coordinator's view: its commit of the removed leader lands behind the removal.
    const late = decodeGroupCommand(commit!.command) as Extract<GroupCommand, { kind: 'commitOffsets' }>;
    h.applyNext();
    expect(h.state.apply({ ...late, memberId: leader.memberId }).errorCode).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
    h.applyNext();
    expect(removal).toBeDefined();
    expect(code).toBe(ErrorCode.NONE);
  });

  it('are not denied because this broker has not heard of their topic yet', async () => {
    await h.commit(9);
    h.topicId = undefined;
    h.refreshes = false;
    const codes: ErrorCode[] = [];
    h.shard.fetchOffsets('g', [{ topic: 't', partition: 0 }], (errorCode) => codes.push(errorCode));
    await h.time.runFor(0);
    expect(codes).toEqual([ErrorCode.COORDINATOR_LOAD_IN_PROGRESS]);
    h.refreshes = true;
    h.topicIdAfterRefresh = TOPIC_ID;
    expect(await h.committed()).toBe(9);
  });

  it('does not give a recreated topic the offsets of its predecessor', async () => {
    await h.commit(9);
    h.topicId = 'BBBBBBBBBBBBBBBBBBBBBg';
    expect(await h.committed()).toBeUndefined();
  });

  it('of before the brokers agreed on a time outlive the agreement, although the clock of their coordinator is behind (seed 1152446)', async () => {
    h.latestWallMs = h.time.wallMs() + 2 * CONFIG.offsetsRetentionMs;
    await h.commit(9);
    h.clusterTimeMs = h.latestWallMs + 1;
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect(await h.committed()).toBe(9);
  });

  it('expires offsets of an empty group after the retention, by cluster time only', async () => {
    await h.commit(9);
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect(await h.committed()).toBe(9);
    h.clusterTimeMs = h.time.wallMs() + CONFIG.offsetsRetentionMs - 1;
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect(await h.committed()).toBe(9);
    h.clusterTimeMs += 1_000;
    h.shard.expireOffsets();
    await h.time.runFor(0);
    expect(await h.committed()).toBeUndefined();
    expect(h.state.group('g')).toBeUndefined();
  });

  it('deletes a group only when nobody is in it', async () => {
    const [leader, follower] = await h.stablePair();
    const remove = (): Promise<ErrorCode> => h.time.settle(new Promise((resolve) => h.shard.deleteGroup('g', resolve)));
    expect(await remove()).toBe(ErrorCode.NON_EMPTY_GROUP);
    h.shard.leave(
      'g',
      [leader, follower].map(({ memberId }) => ({ memberId, groupInstanceId: null })),
      () => {},
    );
    await h.time.runFor(6_000);
    expect(await remove()).toBe(ErrorCode.NONE);
    expect(await remove()).toBe(ErrorCode.GROUP_ID_NOT_FOUND);
    expect(await h.describe()).toMatchObject({ state: 'Dead' });
  });
});

describe('moving the coordinator', () => {
  it('goes on with the durable generation: members keep it, commits survive', async () => {
    const [leader, follower] = await h.stablePair();
    await h.commit(5, leader);
    await h.takeOver();
    expect(h.heartbeat(leader)).toBe(ErrorCode.NONE);
    expect(text(h.sync(follower).result?.assignment)).toBe('p1');
    expect(await h.committed()).toBe(5);
    expect(await h.commit(6, follower)).toBe(ErrorCode.NONE);
    await h.time.runFor(11_000);
    expect(h.heartbeat(leader)).toBe(ErrorCode.UNKNOWN_MEMBER_ID);
  });

  it('answers everything parked with NOT_COORDINATOR', async () => {
    const parked = h.join();
    await h.takeOver();
    expect(parked.result?.errorCode).toBe(ErrorCode.NOT_COORDINATOR);
  });

  it('rebalances a generation that a member left: its share belongs to nobody', async () => {
    const [leader, follower] = await h.stablePair();
    h.shard.leave('g', [{ memberId: leader.memberId, groupInstanceId: null }], () => {});
    await h.time.runFor(0);
    await h.takeOver();
    expect(h.heartbeat(follower)).toBe(ErrorCode.REBALANCE_IN_PROGRESS);
  });

  it('answers LOAD_IN_PROGRESS before it is ready and NOT_COORDINATOR when it does not lead', async () => {
    h.isReady = false;
    h.shard.leadershipChanged();
    expect(h.join().result?.errorCode).toBe(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS);
    h.isLeader = false;
    expect(h.join().result?.errorCode).toBe(ErrorCode.NOT_COORDINATOR);
  });
});

const arbitraryCommand: fc.Arbitrary<GroupCommand> = fc.oneof(
  fc.record({
    kind: fc.constant('writeGroup' as const),
    group: fc.record({
      groupId: fc.constantFrom('a', 'b'),
      protocolType: fc.constant('consumer'),
      generation: fc.nat(5),
      protocol: fc.option(fc.constant('range')),
      leader: fc.option(fc.constantFrom('m1', 'm2')),
      stateTimestampMs: fc.nat(100),
      members: fc.uniqueArray(
        fc.record({
          memberId: fc.constantFrom('m1', 'm2', 'm3'),
          groupInstanceId: fc.constant(null),
          clientId: fc.string(),
          clientHost: fc.string(),
          rebalanceTimeoutMs: fc.nat(),
          sessionTimeoutMs: fc.nat(),
          subscription: fc.uint8Array({ maxLength: 8 }),
          assignment: fc.uint8Array({ maxLength: 8 }),
        }),
        { selector: ({ memberId }) => memberId, maxLength: 3 },
      ),
    }),
  }),
  fc.record({
    kind: fc.constant('removeMembers' as const),
    groupId: fc.constantFrom('a', 'b'),
    memberIds: fc.array(fc.constantFrom('m1', 'm2', 'm3')),
    timestampMs: fc.nat(100),
  }),
  fc.record({
    kind: fc.constant('commitOffsets' as const),
    groupId: fc.constantFrom('a', 'b', 'c'),
    generation: fc.integer({ min: -1, max: 5 }),
    memberId: fc.constantFrom('', 'm1', 'm2'),
    groupInstanceId: fc.constant(null),
    timestampMs: fc.nat(100),
    offsets: fc.array(
      fc.record({
        topic: fc.constantFrom('t', 'u'),
        topicId: fc.constant(TOPIC_ID),
        partition: fc.nat(2),
        offset: fc.nat(),
        leaderEpoch: fc.nat(9),
        metadata: fc.string(),
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({ kind: fc.constant('deleteGroup' as const), groupId: fc.constantFrom('a', 'b', 'c') }),
  fc.record({
    kind: fc.constant('deleteOffsets' as const),
    groupId: fc.constantFrom('a', 'b', 'c'),
    partitions: fc.array(fc.record({ topic: fc.constantFrom('t', 'u'), partition: fc.nat(2) }), { maxLength: 3 }),
    committedBeforeMs: fc.nat(100),
    dropGroupIfEmpty: fc.boolean(),
  }),
);

describe('GroupState', () => {
  it('gives equal bytes on replicas that applied the same commands, whatever checkpoints they took', () => {
    fc.assert(
      fc.property(fc.array(arbitraryCommand, { maxLength: 30 }), fc.nat(30), (commands, restartAt) => {
        const straight = new GroupState();
        let restarted = new GroupState();
        commands.forEach((command, i) => {
          const decoded = decodeGroupCommand(encodeGroupCommand(command));
          expect(decoded).toEqual(command);
          if (i === restartAt) {
            const checkpoint = encodeGroupSnapshot(restarted.snapshot());
            restarted = new GroupState();
            restarted.restore(decodeGroupSnapshot(checkpoint));
          }
          expect(restarted.apply(decoded)).toEqual(straight.apply(decoded));
        });
        expect(encodeGroupSnapshot(restarted.snapshot())).toEqual(encodeGroupSnapshot(straight.snapshot()));
      }),
    );
  });

  it('deletes a group with the same records whether or not the replica restarted meanwhile', () => {
    const offset = { topic: 't', topicId: TOPIC_ID, offset: 0, leaderEpoch: 0, metadata: '' };
    const straight = new GroupState();
    straight.apply({
      kind: 'commitOffsets',
      groupId: 'b',
      generation: -1,
      memberId: '',
      groupInstanceId: null,
      timestampMs: 0,
      offsets: [
        { ...offset, partition: 1 },
        { ...offset, partition: 0 },
      ],
    });
    const restarted = new GroupState();
    restarted.restore(decodeGroupSnapshot(encodeGroupSnapshot(straight.snapshot())));
    const deletion = { kind: 'deleteGroup', groupId: 'b' } as const;
    expect(restarted.apply(deletion)).toEqual(straight.apply(deletion));
  });

  it('stops at a command that it does not know', () => {
    expect(() => decodeGroupCommand(new Uint8Array([0, 99]))).toThrow('Unknown kind 99');
    expect(() => decodeGroupCommand(new Uint8Array([1, 1]))).toThrow('Unknown version 1');
  });
});
