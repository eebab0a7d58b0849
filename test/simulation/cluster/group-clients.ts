/** Clients of group coordinators: a register of committed offsets, and members that join, share partitions, poll and commit. */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { heartbeatApi } from '../../../src/kafka-protocol/messages/heartbeat.ts';
import { joinGroupApi } from '../../../src/kafka-protocol/messages/join-group.ts';
import { leaveGroupApi } from '../../../src/kafka-protocol/messages/leave-group.ts';
import { offsetCommitApi } from '../../../src/kafka-protocol/messages/offset-commit.ts';
import { offsetFetchApi } from '../../../src/kafka-protocol/messages/offset-fetch.ts';
import { syncGroupApi } from '../../../src/kafka-protocol/messages/sync-group.ts';
import { nameOfCode, outcomeOfCode } from '../../chaos/clients/outcome.ts';
import { Violation } from '../raft-oracle.ts';
import { Actor, type ActorContext } from './actor.ts';
import { Poller, QUESTIONS_MAX } from './partition-reader.ts';
import { type Key, ProcessPool } from './simulated-history.ts';
import { RoutedConnection } from './virtual-client.ts';

const OFFSET_COMMIT_VERSION = 6;
const STATIC_OFFSET_COMMIT_VERSION = 7;
const OFFSET_FETCH_VERSION = 5;
/** Of the writer of a register, now and then. */
const REST_MS = 1_500;

interface Membership {
  readonly generation: number;
  readonly memberId: string;
  /** Of a static member. */
  readonly groupInstanceId: string | null;
}
const NO_MEMBER: Membership = { generation: -1, memberId: '', groupInstanceId: null };

/** Commits and reads the offsets of one group, and records it. */
class GroupOffsets {
  readonly #context: ActorContext;
  readonly #group: string;
  readonly #coordinator: RoutedConnection;
  readonly #processes: ProcessPool;

  constructor(context: ActorContext, group: string) {
    this.#context = context;
    this.#group = group;
    this.#coordinator = RoutedConnection.toCoordinator(context.client, group);
    this.#processes = new ProcessPool(context.history);
  }

  /** The error code; undefined if unknown. */
  async commit(
    { key, topic, partition, topicId }: Key,
    offset: number,
    member = NO_MEMBER,
  ): Promise<number | undefined> {
    const { history, client } = this.#context;
    const connection = await this.#coordinator.get();
    if (connection === undefined) return undefined;
    const value = { group: this.#group, offsets: { [key]: offset } };
    const process = this.#processes.take();
    history.client(process, 'invoke', 'commit', value);
    let code: number | undefined;
    let reason = 'network';
    try {
      const { topics } = await connection.request(
        offsetCommitApi,
        member.groupInstanceId === null ? OFFSET_COMMIT_VERSION : STATIC_OFFSET_COMMIT_VERSION,
        {
          groupId: this.#group,
          generationIdOrMemberEpoch: member.generation,
          memberId: member.memberId,
          groupInstanceId: member.groupInstanceId,
          topics: [
            {
              name: topic,
              partitions: [
                { partitionIndex: partition, committedOffset: offset, committedMetadata: this.#noteOf(offset) },
              ],
            },
          ],
        },
        client.options.requestTimeoutMs,
      );
      code = topics[0]!.partitions[0]!.errorCode;
      reason = nameOfCode(code);
    } catch (error) {
      reason = (error as Error).message;
    }
    if (code === ErrorCode.NONE) {
      this.#context.truth.offsetCommitted(this.#group, { key, topic, partition, topicId }, offset);
      history.client(process, 'ok', 'commit', value);
      this.#processes.giveBack(process);
      return code;
    }
    // A commit whose leader stepped down may be done all the same.
    const type = code === undefined || code === ErrorCode.NOT_COORDINATOR ? 'info' : outcomeOfCode(code);
    history.client(process, type, 'commit', value, { error: [reason] });
    if (type !== 'info') this.#processes.giveBack(process);
    this.#coordinator.lose();
    return code;
  }

  /** The committed offset, -1 if there is none; undefined without an answer. */
  async read({ key, topic, partition }: Key): Promise<number | undefined> {
    const { history, client } = this.#context;
    const connection = await this.#coordinator.get();
    if (connection === undefined) return undefined;
    const group = this.#group;
    const process = this.#processes.take();
    history.client(process, 'invoke', 'committed', { group, offsets: {} });
    let reason = 'network';
    try {
      const answer = await connection.request(
        offsetFetchApi,
        OFFSET_FETCH_VERSION,
        { groupId: group, topics: [{ name: topic, partitionIndexes: [partition] }] },
        client.options.requestTimeoutMs,
      );
      const found = answer.topics[0]?.partitions[0];
      if (answer.errorCode === 0 && found?.errorCode === 0) {
        const note = found.committedOffset < 0 ? null : this.#noteOf(found.committedOffset);
        if ((found.metadata ?? '') !== (note ?? '')) {
          throw new Violation(`Offset ${found.committedOffset} of group ${group} has the note of another commit`);
        }
        history.client(process, 'ok', 'committed', { group, offsets: { [key]: found.committedOffset } });
        this.#processes.giveBack(process);
        return found.committedOffset;
      }
      reason = nameOfCode(answer.errorCode === 0 ? (found?.errorCode ?? -1) : answer.errorCode);
    } catch (error) {
      if (error instanceof Violation) throw error;
      reason = (error as Error).message;
    }
    history.client(process, 'fail', 'committed', { group, offsets: {} }, { error: [reason] });
    this.#processes.giveBack(process);
    this.#coordinator.lose();
    return undefined;
  }

  /** What is said beside an offset: tells whether both come from one commit. */
  #noteOf(offset: number): string | null {
    const { commitNoteBytes } = this.#context.plan;
    return commitNoteBytes === 0 ? null : `${offset} `.padEnd(commitNoteBytes, '.');
  }

  close(): void {
    this.#coordinator.close();
  }
}

/** The offset of a group as a register: one writer that only grows and rests now and then, and readers that do not wait for one answer before they ask again. */
export class OffsetRegister extends Actor {
  readonly #key: Key;
  readonly #offsets: GroupOffsets;
  readonly #isWriter: boolean;

  constructor(context: ActorContext, group: string, key: Key, isWriter: boolean) {
    super(context);
    this.#key = key;
    this.#offsets = new GroupOffsets(context, group);
    this.#isWriter = isWriter;
  }

  protected async run(): Promise<void> {
    const { client } = this.context;
    const asking = new Set<Promise<unknown>>();
    for (let next = 1; this.isRunning; ) {
      await this.pace();
      if (this.#isWriter) {
        await this.#offsets.commit(this.#key, next++);
        // What was acknowledged last is not hidden by the next one for a while.
        if (client.options.random.chance(0.05)) await client.sleep(client.options.random.next() * REST_MS);
      } else if (asking.size < QUESTIONS_MAX) {
        const asked: Promise<unknown> = this.#offsets.read(this.#key).then(() => asking.delete(asked));
        asking.add(asked);
      }
    }
    await Promise.all(asking);
    this.#offsets.close();
  }
}

/** Which member has which partition in which generation of a group; two for one partition is a violation. */
export class GroupAssignments {
  readonly #owners = new Map<string, string>();

  /** Why it is wrong; undefined if it is right. */
  take(group: string, generation: number, key: Key, memberId: string): string | undefined {
    const id = `${group} ${generation} ${key.key}`;
    const owner = this.#owners.get(id);
    this.#owners.set(id, memberId);
    if (owner === undefined || owner === memberId) return undefined;
    return `Generation ${generation} of group ${group} gives key ${key.key} to ${owner} and to ${memberId}`;
  }
}

export interface GroupMemberOptions {
  readonly group: string;
  /** Partitions that the group shares. */
  readonly keys: readonly Key[];
  readonly sessionTimeoutMs: number;
  readonly fetchVersion: number;
  /** Name of a static member, which outlives its process; null for a dynamic one. */
  readonly instanceId: string | null;
  readonly assignments: GroupAssignments;
  readonly violated: (what: string) => void;
}

export class GroupMember extends Actor {
  readonly #options: GroupMemberOptions;
  readonly #coordinator: RoutedConnection;
  readonly #offsets: GroupOffsets;
  #memberId = '';

  constructor(context: ActorContext, options: GroupMemberOptions) {
    super(context);
    this.#options = options;
    this.#coordinator = RoutedConnection.toCoordinator(context.client, options.group);
    this.#offsets = new GroupOffsets(context, options.group);
  }

  get instanceId(): string | null {
    return this.#options.instanceId;
  }

  protected async run(): Promise<void> {
    const { client } = this.context;
    while (this.isRunning) {
      try {
        const joined = await this.#join();
        if (joined === undefined) await client.rest(50);
        else await this.#consume(joined.member, joined.keys);
      } catch {
        // The connection ended or nobody answered: another coordinator may be there now.
        this.#coordinator.lose();
        await client.rest(50);
      }
    }
    await this.#leave().catch(() => undefined);
    this.#coordinator.close();
    this.#offsets.close();
  }

  /** Undefined if it did not work out this time. */
  async #join(): Promise<{ member: Membership; keys: Key[] } | undefined> {
    const { group, keys, sessionTimeoutMs, instanceId, assignments, violated } = this.#options;
    const connection = await this.#coordinator.get();
    if (connection === undefined) return undefined;
    const patienceMs = 4 * sessionTimeoutMs;
    const joined = await connection.request(
      joinGroupApi,
      5,
      {
        groupId: group,
        sessionTimeoutMs,
        rebalanceTimeoutMs: 2 * sessionTimeoutMs,
        memberId: this.#memberId,
        groupInstanceId: instanceId,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from('any') }],
      },
      patienceMs,
    );
    if (joined.errorCode === ErrorCode.MEMBER_ID_REQUIRED) {
      this.#memberId = joined.memberId;
      return undefined;
    }
    if (joined.errorCode !== 0) {
      this.#refused(joined.errorCode);
      return undefined;
    }
    this.#memberId = joined.memberId;
    const member = { generation: joined.generationId, memberId: joined.memberId, groupInstanceId: instanceId };
    const isLeader = joined.leader === joined.memberId;
    const plan = joined.members.map(({ memberId }, at) => {
      const share = keys.flatMap(({ key }, index) => (index % joined.members.length === at ? [key] : []));
      return { memberId, assignment: Buffer.from(JSON.stringify(share)) };
    });
    const synced = await connection.request(
      syncGroupApi,
      3,
      {
        groupId: group,
        generationId: member.generation,
        memberId: member.memberId,
        groupInstanceId: instanceId,
        assignments: isLeader ? plan : [],
      },
      patienceMs,
    );
    if (synced.errorCode !== 0) {
      this.#refused(synced.errorCode);
      return undefined;
    }
    const given = new Set(JSON.parse(Buffer.from(synced.assignment).toString() || '[]') as number[]);
    // The leader may know of partitions that were added after this member was made.
    const mine = keys.filter(({ key }) => given.has(key));
    for (const key of mine) {
      const wrong = assignments.take(group, member.generation, key, instanceId ?? member.memberId);
      if (wrong !== undefined) violated(wrong);
    }
    return { member, keys: mine };
  }

  /** Until the generation ends for this member. */
  async #consume(member: Membership, keys: readonly Key[]): Promise<void> {
    const { group, fetchVersion, sessionTimeoutMs } = this.#options;
    const { history, client } = this.context;
    const { time, random } = client.options;
    const pollers: { key: Key; poller: Poller; committed: number }[] = [];
    const process = history.newProcess();
    history.client(
      process,
      'invoke',
      'assign',
      keys.map(({ key }) => key),
      { group },
    );
    for (const key of keys) {
      const committed = await this.#offsets.read(key);
      // Without an answer nobody knows where to begin.
      if (committed === undefined) {
        history.client(
          process,
          'fail',
          'assign',
          keys.map((each) => each.key),
          { group },
        );
        for (const { poller } of pollers) poller.close();
        await this.#heartbeat(member);
        return;
      }
      const position = Math.max(0, committed);
      const attributes = { group };
      const poller = new Poller(this.context, key, { process, version: fetchVersion, position, attributes });
      pollers.push({ key, poller, committed });
    }
    history.client(
      process,
      'ok',
      'assign',
      keys.map(({ key }) => key),
      { group },
    );
    let beatMs = time.now;
    let isMember = true;
    try {
      while (this.isRunning && isMember) {
        if (time.now - beatMs > sessionTimeoutMs / 4) {
          beatMs = time.now;
          if (!(await this.#heartbeat(member))) return;
        }
        for (const each of pollers) {
          await each.poller.poll(10);
          if (each.poller.position <= each.committed || !random.chance(0.5)) continue;
          const offset = each.poller.position;
          const code = await this.#offsets.commit(each.key, offset, member);
          if (code === ErrorCode.NONE) each.committed = offset;
          else if (code !== undefined && outcomeOfCode(code) === 'fail') isMember = false;
        }
        await this.pace();
      }
    } finally {
      for (const { poller } of pollers) poller.close();
    }
  }

  async #heartbeat({ generation, memberId, groupInstanceId }: Membership): Promise<boolean> {
    const connection = await this.#coordinator.get();
    if (connection === undefined) return false;
    const { errorCode } = await connection.request(
      heartbeatApi,
      3,
      { groupId: this.#options.group, generationId: generation, memberId, groupInstanceId },
      this.context.client.options.requestTimeoutMs,
    );
    if (errorCode !== 0) this.#refused(errorCode);
    return errorCode === 0;
  }

  async #leave(): Promise<void> {
    // A static member only stops: it, or another process under its name, comes back.
    if (this.#memberId === '' || this.#options.instanceId !== null) return;
    const connection = await this.#coordinator.get();
    const body = { groupId: this.#options.group, memberId: this.#memberId };
    await connection?.request(leaveGroupApi, 2, body, this.context.client.options.requestTimeoutMs);
  }

  #refused(code: number): void {
    if (code === ErrorCode.UNKNOWN_MEMBER_ID || code === ErrorCode.FENCED_INSTANCE_ID) this.#memberId = '';
    if (code !== ErrorCode.REBALANCE_IN_PROGRESS && code !== ErrorCode.UNKNOWN_MEMBER_ID) this.#coordinator.lose();
  }
}
