/**
 * Knows what must be true across all replicas, restarts and stores of a simulated cluster, and says so the moment it is not: one history per group whoever applies it, one leader per term, one
 * vote per replica and term, nothing applied that a majority of disks does not hold, generations of a consumer group that go forward. Clients ask it whether what they are told is true.
 */

import { decodeGroupCommand, type GroupCommand } from '../../../src/broker/groups/group-command.ts';
import { decodePartitionCommand } from '../../../src/broker/partition/partition-command.ts';
import { type BatchResult, PartitionStateMachine } from '../../../src/broker/partition/partition-state-machine.ts';
import {
  readInt32,
  storedLastOffsetDelta,
  storedMaxTimestampMs,
  storedSizeBytes,
} from '../../../src/broker/partition/stored-batch.ts';
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import type { AppliedEntry, StateMachine } from '../../../src/raft/state-machine.ts';
import type { Channel } from '../../../src/raft/transport.ts';
import { crc32c } from '../../../src/std/crc32c.ts';
import { RaftOracle, Violation } from '../raft-oracle.ts';
import type { DurableTail } from './durable-tail.ts';

interface AppliedFact {
  readonly term: number;
  /** Of the payload; −1 for what Raft writes itself. */
  readonly checksum: number;
}

interface GroupFacts {
  /** By index. */
  readonly entries: AppliedFact[];
  /** Offset of its first record → the checksum that a batch carries itself. */
  readonly batches: Map<number, number>;
  endOffset: number;
}

interface Generation {
  readonly number: number;
  readonly members: ReadonlySet<string>;
}

export interface ClusterOracleOptions {
  readonly fail: (error: unknown) => void;
  /** What the disk of a broker flushed last. */
  readonly durableOf: (brokerId: number) => DurableTail | undefined;
  /** Difference between the clocks in batches and the time of {@link DurableTail}. */
  readonly wallOffsetMs: number;
}

const CRC_AT = 17;
/** Parts of a stored batch that are like no other's, far enough from each other that stamps of the WAL hide one of them at most. */
const MARKERS = [
  [CRC_AT, 27],
  [43, 57],
  [65, 81],
] as const;
/** Every so many applied entries with batches are looked up on the disks. */
const LOOK_UP_EVERY = 4;

export class ClusterOracle {
  readonly #raft = new RaftOracle();
  readonly #groups = new Map<number, GroupFacts>();
  readonly #options: ClusterOracleOptions;
  /** Offsets of consumer groups that were committed: `group/topic/partition/offset`. */
  readonly #commits = new Set<string>();
  readonly #generations = new Map<string, Generation>();
  #untilLookUp = 0;
  /** A leader is the first to apply an entry: it is committed, nobody else may know yet. */
  onCommitted: (brokerId: number, group: RaftGroup, isGeneration: boolean) => void = () => undefined;
  applied = 0;
  leaderships = 0;
  /** Entries of which the disks were asked for, and those where no disk remembered long enough. */
  lookedUp = 0;

  constructor(options: ClusterOracleOptions) {
    this.#options = options;
  }

  /** Watches over what a replica applies, from its first entry on. */
  watch(brokerId: number, group: RaftGroup, machine: StateMachine): void {
    const { apply, advance, leadershipChanged } = machine;
    const who = `Replica ${group.replicaId} of group ${group.groupId} on broker ${brokerId}`;
    machine.apply = (entry) => {
      const isFirst = this.#saw(group.groupId, who, entry.index, { term: entry.term, checksum: crc32c(entry.payload) });
      const result = apply.call(machine, entry);
      if (isFirst) this.#committed(brokerId, group, machine, entry, result);
      return result;
    };
    machine.advance = (index, term) => {
      this.#saw(group.groupId, who, index, { term, checksum: -1 });
      advance.call(machine, index, term);
    };
    machine.leadershipChanged = () => {
      if (group.role === 'leader') {
        this.leaderships++;
        this.#guard(() => this.#raft.leads(group.groupId, group.currentTerm, group.replicaId));
      }
      leadershipChanged?.call(machine);
    };
  }

  /** What leaves a broker. */
  sent(channel: Channel, bytes: Uint8Array): void {
    this.#guard(() => this.#raft.sent(channel, bytes));
  }

  // -------------------------------------------------------------- what clients are told

  /** A producer was told that this batch is at `baseOffset`. */
  acknowledged(groupId: number, baseOffset: number, batch: Uint8Array): void {
    this.#isThere(groupId, baseOffset, batch, 'is acknowledged');
  }

  /** A consumer was given this batch. */
  fetched(groupId: number, baseOffset: number, batch: Uint8Array): void {
    this.#isThere(groupId, baseOffset, batch, 'can be read');
  }

  /** A consumer was told that its offset is committed. */
  offsetCommitted(group: string, topic: string, partition: number, offset: number): void {
    if (this.#commits.has(`${group}/${topic}/${partition}/${offset}`)) return;
    this.#fail(`The commit of ${offset} for ${topic}/${partition} by ${group} is acknowledged, and nobody applied it`);
  }

  #isThere(groupId: number, baseOffset: number, batch: Uint8Array, what: string): void {
    const found = this.#groups.get(groupId)?.batches.get(baseOffset);
    if (found === readInt32(batch, CRC_AT)) return;
    const why = found === undefined ? 'nobody applied one there' : 'another one was applied there';
    this.#fail(`A batch ${what} at ${baseOffset} of group ${groupId}, but ${why}`);
  }

  // -------------------------------------------------------------- what replicas do

  #factsOf(groupId: number): GroupFacts {
    let facts = this.#groups.get(groupId);
    if (facts === undefined) {
      facts = { entries: [], batches: new Map(), endOffset: 0 };
      this.#groups.set(groupId, facts);
    }
    return facts;
  }

  /** True if nobody applied it before. */
  #saw(groupId: number, who: string, index: number, fact: AppliedFact): boolean {
    this.applied++;
    const { entries } = this.#factsOf(groupId);
    const known = entries[index];
    entries[index] ??= fact;
    if (known === undefined) return true;
    if (known.term === fact.term && known.checksum === fact.checksum) return false;
    const violation = new Violation(
      `${who} applies (term ${fact.term}, checksum ${fact.checksum}) at ${index}, another one applied (term ${known.term}, checksum ${known.checksum})`,
    );
    this.#options.fail(violation);
    throw violation;
  }

  #committed(brokerId: number, group: RaftGroup, machine: StateMachine, entry: AppliedEntry, result: unknown): void {
    if (!(machine instanceof PartitionStateMachine)) return;
    const command = decodePartitionCommand(entry.payload);
    let isGeneration = false;
    if (command.kind === 'batches') {
      this.#appended(group, command.batches, result as BatchResult[]);
      this.#mustBeFlushed(group, entry.index, command.batches);
    } else if (command.kind === 'extension') {
      isGeneration = this.#groupChanged(decodeGroupCommand(command.body), result as ErrorCode);
    }
    if (group.role === 'leader') this.onCommitted(brokerId, group, isGeneration);
  }

  /** Offsets are dense, and whoever applies a batch first decides where it is. */
  #appended(group: RaftGroup, bytes: Uint8Array, results: readonly BatchResult[]): void {
    const facts = this.#factsOf(group.groupId);
    let at = 0;
    for (const { errorCode, baseOffset, isDuplicate } of results) {
      if (errorCode === ErrorCode.NONE && !isDuplicate) {
        if (baseOffset !== facts.endOffset) {
          this.#fail(`A batch of group ${group.groupId} is put at ${baseOffset}, the log ended at ${facts.endOffset}`);
        }
        facts.batches.set(baseOffset, readInt32(bytes, at + CRC_AT));
        facts.endOffset = baseOffset + storedLastOffsetDelta(bytes, at) + 1;
      }
      at += storedSizeBytes(bytes, at);
    }
  }

  /** What is applied is committed, and what is committed is on the disks of a majority: asked of the disks, not of the brokers. */
  #mustBeFlushed(group: RaftGroup, index: number, batches: Uint8Array): void {
    if (this.#untilLookUp-- > 0) return;
    this.#untilLookUp = LOOK_UP_EVERY - 1;
    const bytes = Buffer.from(batches.buffer, batches.byteOffset, batches.byteLength);
    const markers = MARKERS.map(([from, to]) => bytes.subarray(from, to)).filter((marker) => marker.length > 0);
    const madeMs = storedMaxTimestampMs(batches, 0) - this.#options.wallOffsetMs;
    const { voters, votersOutgoing } = group.membership;
    for (const members of [voters, votersOutgoing]) {
      if (members.length === 0) continue;
      const quorum = Math.floor(members.length / 2) + 1;
      let holding = 0;
      for (const { brokerId } of members) {
        const durable = this.#options.durableOf(brokerId);
        // Flushed so long ago that it is forgotten, perhaps.
        if (durable === undefined || durable.sinceMs >= madeMs || durable.holds(markers, madeMs)) holding++;
        // To look for it where it is not yet costs most.
        if (holding === quorum) break;
      }
      if (holding < quorum) {
        this.#fail(
          `Entry ${index} of group ${group.groupId} is committed, and only ${holding} of ${members.length} voters have it on a disk`,
        );
      }
    }
    this.lookedUp++;
  }

  #groupChanged(command: GroupCommand, result: ErrorCode): boolean {
    if (result !== ErrorCode.NONE) return false;
    switch (command.kind) {
      case 'commitOffsets':
        for (const { topic, partition, offset } of command.offsets) {
          this.#commits.add(`${command.groupId}/${topic}/${partition}/${offset}`);
        }
        return false;
      case 'writeGroup': {
        const { groupId, generation, members } = command.group;
        const ids = members.map(({ memberId, groupInstanceId }) => groupInstanceId ?? memberId);
        const known = this.#generations.get(groupId);
        if (known !== undefined && generation < known.number) {
          this.#fail(`Group ${groupId} goes back from generation ${known.number} to ${generation}`);
        }
        const stranger = generation === known?.number ? ids.find((id) => !known.members.has(id)) : undefined;
        if (stranger !== undefined) this.#fail(`Generation ${generation} of ${groupId} has a new member ${stranger}`);
        this.#generations.set(groupId, { number: generation, members: new Set(ids) });
        return true;
      }
      case 'deleteGroup':
      case 'deleteOffsets':
        this.#generations.delete(command.groupId);
        return false;
      case 'removeMembers':
        return false;
    }
  }

  #fail(what: string): void {
    this.#options.fail(new Violation(what));
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#options.fail(error);
    }
  }
}
