/**
 * Runs a golden transcript: a text file of commands, each followed by what happened.
 *
 *     # comment
 *     command
 *     command
 *     ----
 *     output of both, up to the next empty line
 *
 * | command | |
 * |---|---|
 * | `cluster [narrow]` | start again with nothing; narrow: one entry in a message, two messages under way |
 * | `replicas 1 2 3 [learners 4]` | a group of new replicas |
 * | `replica 1 voters 1 2 3 [learners 4] [term T] [log 1 1 2]` | one replica with a log of these terms |
 * | `campaign 1`, `resign 1`, `lost 1 [ms]`, `barred 1 true`, `announce 1`, `active 1 2 3`, `reset 1 2` | events; announce: leader 1 to all; active: CheckQuorum of 1; reset: peerReset of 2 at 1 |
 * | `propose 1 a b`, `membership 1 voters 2 3 [outgoing 1 2] [learners 4]`, `transfer 1 2`, `read 1 id round`, `confirm 1 2 round` | |
 * | `refuse 2 1` | the driver of 2 throws the next append of 1 away |
 * | `persist 1 [writes]`, `apply 1`, `compact 1 index` | flush all (or so many) writes under way; apply all that may be; checkpoint |
 * | `deliver [1->2 [count]]`, `drop …`, `hold …`, `release 1->2`, `duplicate 1->2` | all messages (or the oldest) that are under way now, of all or of one pair |
 * | `fail 1->3` | the catch-up from 1 to 3 fails |
 * | `advance ms` | time passes; whoever has a deadline is told |
 * | `crash 1 [all]`, `restart 1 [barred]` | what is not flushed is lost, or all of it happens to survive |
 * | `settle` | flush, deliver and apply until nothing moves, without output |
 * | `status [1 …]`, `network` | |
 */

import type { Membership, RaftEvent, ReplicationLimits } from '../../src/raft/core/types.ts';
import { assert } from '../../src/std/assert.ts';
import { logIndex, type ReplicaId, replicaId } from '../../src/std/brands.ts';
import { ENTRY_KIND } from '../../src/wal/replica-storage.ts';
import { CoreCluster, type CoreReplica, type NetworkMessage } from './core-cluster.ts';
import { members } from './core-disk.ts';
import { formatMessage, formatStatus, formatStep } from './transcript-format.ts';

const SETTLE_ROUNDS = 100;
const NARROW: Partial<ReplicationLimits> = { probeEntriesMax: 1, appendEntriesMax: 1, appendsInFlightMax: 2 };

/** The transcript with its outputs as they are now. */
export function runTranscript(text: string): string {
  const transcript = new Transcript();
  const output: string[] = [];
  const lines = text.split('\n');
  let commands: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (line === '----') {
      const results = commands.flatMap((command) => transcript.run(command));
      output.push('----', ...(results.length > 0 ? results : ['ok']));
      while (i + 1 < lines.length && lines[i + 1] !== '') i++;
      commands = [];
      continue;
    }
    if (line !== '' && !line.startsWith('#')) commands.push(line);
    output.push(line);
  }
  assert(commands.length === 0, `Commands without ---- at the end: ${commands.join('; ')}`);
  return output.join('\n');
}

class Transcript {
  #cluster = this.#newCluster();
  #held: NetworkMessage[] = [];
  #output: string[] = [];
  #quiet = false;
  #commits = new Map<ReplicaId, number>();
  #networkBefore = 0;

  #newCluster(limits: Partial<ReplicationLimits> = {}): CoreCluster {
    return new CoreCluster({
      random: () => 0,
      limits,
      onStep: (replica, event, effects) => {
        const { network } = this.#cluster;
        const before = this.#commits.get(replica.core.replicaId) ?? 0;
        if (!this.#quiet)
          this.#output.push(...formatStep(replica, event, effects, before, network.slice(this.#networkBefore)));
        this.#commits.set(replica.core.replicaId, effects.commitIndex);
        this.#networkBefore = network.length;
      },
    });
  }

  run(command: string): string[] {
    this.#output = [];
    const [name, ...words] = command.trim().split(/\s+/);
    this.#execute(name!, words, command);
    return this.#output;
  }

  #execute(name: string, words: string[], command: string): void {
    const cluster = this.#cluster;
    const nowMs = cluster.nowMs;
    const numbers = words.map(Number);
    const one = (): CoreReplica => cluster.get(numbers[0]!);
    const step = (event: RaftEvent): void => {
      cluster.step(one(), event);
    };
    switch (name) {
      case 'cluster':
        this.#cluster = this.#newCluster(words[0] === 'narrow' ? NARROW : {});
        this.#held = [];
        this.#commits = new Map();
        this.#networkBefore = 0;
        return;
      case 'replicas': {
        const membership = membershipOf(['voters', ...words]);
        for (const member of [...membership.voters, ...membership.learners])
          this.#add(member.replicaId, membership, {});
        return;
      }
      case 'replica': {
        const terms = section(words, 'log');
        const currentTerm = section(words, 'term')[0];
        this.#add(numbers[0]!, membershipOf(words), { terms, ...(currentTerm !== undefined && { currentTerm }) });
        return;
      }
      case 'campaign':
      case 'resign':
        return step({ kind: name, nowMs });
      case 'lost':
        return step({ kind: 'leaderLost', nowMs, delayMs: numbers[1] ?? 0 });
      case 'barred':
        return step({ kind: 'barred', nowMs, barred: words[1] === 'true' });
      case 'announce':
        for (const replica of cluster.alive())
          if (replica !== one())
            cluster.step(replica, {
              kind: 'leaderAnnounced',
              nowMs,
              leader: one().core.replicaId,
              term: one().core.term,
            });
        return;
      case 'active':
        return step({ kind: 'quorumCheck', nowMs, active: new Set(numbers.map(replicaId)) });
      case 'reset':
        return step({ kind: 'peerReset', nowMs, replica: replicaId(numbers[1]!) });
      case 'propose':
        return step({
          kind: 'propose',
          nowMs,
          entries: words.slice(1).map((word) => ({ kind: ENTRY_KIND.command, payload: [Buffer.from(word)] })),
        });
      case 'membership':
        return step({ kind: 'changeMembership', nowMs, membership: membershipOf(words) });
      case 'transfer':
        return step({ kind: 'transferLeadership', nowMs, target: replicaId(numbers[1]!) });
      case 'read':
        return step({ kind: 'read', nowMs, requestId: numbers[1]!, round: numbers[2]! });
      case 'confirm':
        return step({
          kind: 'readConfirmed',
          nowMs,
          replica: replicaId(numbers[1]!),
          term: one().core.term,
          round: numbers[2]!,
        });
      case 'refuse': {
        const [message] = this.#take(`${numbers[1]}->${numbers[0]}`);
        assert(message !== undefined, 'There is nothing to refuse');
        return step({ kind: 'appendRefused', nowMs, from: message.from, term: message.term });
      }
      case 'persist':
        return cluster.flush(one(), numbers[1]);
      case 'apply':
        return cluster.apply(one());
      case 'compact':
        return cluster.compact(one(), logIndex(numbers[1]!));
      case 'deliver':
        for (const message of this.#take(words[0], numbers[1])) this.#deliver(message);
        return;
      case 'drop':
        this.#take(words[0], numbers[1]);
        return;
      case 'hold':
        this.#held.push(...this.#take(words[0], numbers[1]));
        return;
      case 'fail':
        for (const message of this.#take(words[0])) if (message.kind === 'snapshot') cluster.failSnapshot(message);
        return;
      case 'release': {
        const chosen = this.#held.filter((message) => isPair(message, words[0]));
        this.#held = this.#held.filter((message) => !isPair(message, words[0]));
        cluster.network.push(...chosen);
        this.#networkBefore = cluster.network.length;
        return;
      }
      case 'duplicate':
        cluster.network.push(
          ...cluster.network.filter((message) => isPair(message, words[0])).map((message) => ({ ...message })),
        );
        this.#networkBefore = cluster.network.length;
        return;
      case 'advance':
        cluster.nowMs += numbers[0]!;
        for (const replica of cluster.alive())
          if (replica.core.deadlineMs <= cluster.nowMs) cluster.step(replica, { kind: 'time', nowMs: cluster.nowMs });
        return;
      case 'crash':
        return cluster.crash(one(), words[1] === 'all' ? 1 : 0);
      case 'restart':
        cluster.restart(one(), words[1] === 'barred');
        this.#commits.set(one().core.replicaId, one().core.commitIndex);
        return;
      case 'settle':
        return this.#settle();
      case 'status': {
        const replicas = numbers.length > 0 ? numbers.map((id) => cluster.get(id)) : [...cluster.replicas.values()];
        for (const replica of replicas) this.#output.push(...formatStatus(replica));
        return;
      }
      case 'network':
        this.#output.push(...cluster.network.map(formatMessage));
        return;
      default:
        assert(false, `Unknown command: ${command}`);
    }
  }

  #add(id: number, membership: Membership, image: { terms?: readonly number[]; currentTerm?: number }): void {
    this.#cluster.add(id, membership, image);
  }

  /** The oldest messages of a pair, or of all. */
  #take(pair: string | undefined, count = Number.POSITIVE_INFINITY): NetworkMessage[] {
    const chosen = this.#cluster.network.filter((message) => isPair(message, pair)).slice(0, count);
    this.#cluster.network = this.#cluster.network.filter((message) => !chosen.includes(message));
    this.#networkBefore = this.#cluster.network.length;
    return chosen;
  }

  #deliver(message: NetworkMessage): void {
    const replica = this.#cluster.replicas.get(message.to);
    if (!replica?.alive) {
      if (!this.#quiet) this.#output.push(`lost: ${formatMessage(message)}`);
      return;
    }
    if (message.kind === 'snapshot' && !this.#quiet)
      this.#output.push(`${message.to} receives ${formatMessage(message)}`);
    this.#cluster.deliver(message);
  }

  #settle(): void {
    this.#quiet = true;
    for (let round = 0; round < SETTLE_ROUNDS; round++) {
      for (const replica of this.#cluster.alive()) this.#cluster.flush(replica);
      for (const replica of this.#cluster.alive()) this.#cluster.apply(replica);
      if (this.#cluster.network.length === 0 && this.#cluster.alive().every((replica) => !replica.disk.hasPending))
        break;
      for (const message of this.#take(undefined)) this.#deliver(message);
    }
    this.#quiet = false;
  }
}

function isPair(message: NetworkMessage, pair: string | undefined): boolean {
  return pair === undefined || pair === `${message.from}->${message.to}`;
}

/** Numbers behind a keyword, up to the next keyword. */
function section(words: readonly string[], keyword: string): number[] {
  const start = words.indexOf(keyword);
  if (start < 0) return [];
  const numbers: number[] = [];
  for (let i = start + 1; i < words.length && /^\d+$/.test(words[i]!); i++) numbers.push(Number(words[i]));
  return numbers;
}

function membershipOf(words: readonly string[]): Membership {
  return {
    voters: members(section(words, 'voters')),
    votersOutgoing: members(section(words, 'outgoing')),
    learners: members(section(words, 'learners')),
  };
}
