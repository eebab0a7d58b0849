/** One line for each thing that a core does: what the golden transcripts are made of. Entries are written index/term, so `3/2` is the entry at index 3 of term 2. */

import type { Effects, Member, Membership, RaftEvent } from '../../src/raft/core/types.ts';
import { logIndex } from '../../src/std/brands.ts';
import { ENTRY_KIND, type Entry } from '../../src/wal/replica-storage.ts';
import type { CoreReplica, NetworkMessage } from './core-cluster.ts';

export function formatMessage(message: NetworkMessage): string {
  const head = `${message.from}->${message.to} term ${message.term}`;
  switch (message.kind) {
    case 'preVote':
    case 'requestVote':
      return `${message.kind} ${head} last ${message.lastIndex}/${message.lastTerm}${message.transfer ? ' transfer' : ''}`;
    case 'preVoteResponse':
    case 'requestVoteResponse':
      return `${message.kind} ${head} ${message.granted ? 'granted' : 'refused'}`;
    case 'appendEntries': {
      const entries = message.entries.map((entry) => ` ${formatEntry(entry)}`).join('');
      return `append ${head} prev ${message.prevIndex}/${message.prevTerm}${entries && ` entries${entries}`} commit ${message.commitIndex}${message.probe ? ' probe' : ''}`;
    }
    case 'appendEntriesResponse':
      if (message.accepted) return `ack ${head} match ${message.matchIndex}`;
      if (message.overloaded) return `reject ${head} overloaded`;
      return `reject ${head} at ${message.rejectedIndex} hint ${message.hintIndex}/${message.hintTerm}`;
    case 'timeoutNow':
      return `timeoutNow ${head}`;
    case 'snapshot':
      return `snapshot ${head} at ${message.index}/${message.indexTerm}`;
  }
}

export function formatEntry(entry: Entry): string {
  const text = entry.payload.map((piece) => Buffer.from(piece).toString()).join('');
  const what =
    entry.kind === ENTRY_KIND.noop
      ? ':noop'
      : entry.kind === ENTRY_KIND.configuration
        ? ':configuration'
        : text && `:${text}`;
  return `${entry.index}/${entry.term}${what}`;
}

const ids = (list: readonly Member[]): string => list.map((member) => member.replicaId).join(',');

export function formatMembership({ voters, votersOutgoing, learners }: Membership): string {
  return `voters ${ids(voters)}${votersOutgoing.length > 0 ? ` outgoing ${ids(votersOutgoing)}` : ''}${learners.length > 0 ? ` learners ${ids(learners)}` : ''}`;
}

function formatEvent(event: RaftEvent): string {
  switch (event.kind) {
    case 'message':
      return `receives ${formatMessage(event.message)}`;
    case 'persisted':
      return `persisted write ${event.write}`;
    case 'applied':
      return `applied ${event.index}`;
    case 'propose':
      return `propose ${event.entries.map((entry) => entry.payload.map((piece) => Buffer.from(piece).toString()).join('')).join(' ')}`;
    case 'leaderAnnounced':
      return `leaderAnnounced ${event.leader} term ${event.term}`;
    case 'leaderLost':
      return `leaderLost, election in ${event.delayMs} ms`;
    case 'quorumCheck':
      return `quorumCheck active ${[...event.active].join(',')}`;
    case 'peerReset':
      return `peerReset ${event.replica}`;
    case 'read':
      return `read ${event.requestId} round ${event.round}`;
    case 'readConfirmed':
      return `readConfirmed by ${event.replica} term ${event.term} round ${event.round}`;
    case 'transferLeadership':
      return `transferLeadership to ${event.target}`;
    case 'changeMembership':
      return `changeMembership ${formatMembership(event.membership)}`;
    case 'snapshotSent':
      return `snapshotSent to ${event.replica} ${event.index === undefined ? 'failed' : `at ${event.index}`}`;
    case 'snapshotInstalled':
      return `snapshotInstalled ${event.index}/${event.term} ${formatMembership(event.membership)}`;
    case 'compacted':
      return `compacted, first index ${event.firstIndex}`;
    case 'appendRefused':
      return `appendRefused of ${event.from} term ${event.term}`;
    case 'barred':
      return `barred ${event.barred}`;
    case 'time':
    case 'campaign':
    case 'resign':
      return event.kind;
  }
}

/** A step: the event, then what came of it, in the order in which a driver acts. */
export function formatStep(
  replica: CoreReplica,
  event: RaftEvent,
  effects: Effects,
  commitBefore: number,
  sent: readonly NetworkMessage[],
): string[] {
  const { core } = replica;
  const lines = [`${core.replicaId} ${formatEvent(event)}`];
  if (effects.refusal !== undefined) lines.push(`refused: ${effects.refusal}`);
  if (effects.leadershipChanged)
    lines.push(`${core.role}${core.isReady ? ' (ready)' : ''} term ${core.term} leader ${core.leaderId || 'none'}`);
  if (effects.membershipChanged) lines.push(`membership ${formatMembership(core.membership)}`);
  const writes: string[] = [];
  if (effects.hardState)
    writes.push(`term ${effects.hardState.currentTerm} vote ${effects.hardState.votedFor || 'none'}`);
  if (effects.truncateFrom !== undefined) writes.push(`truncate from ${effects.truncateFrom}`);
  if (effects.append.length > 0) writes.push(`append ${effects.append.map(formatEntry).join(' ')}`);
  if (writes.length > 0) lines.push(`write ${effects.write}: ${writes.join(', ')}`);
  if (effects.commitIndex > commitBefore) lines.push(`commit ${effects.commitIndex}`);
  for (const read of effects.reads)
    lines.push(`read ${read.requestId}: ${read.index === undefined ? 'not leader' : `confirmed at ${read.index}`}`);
  for (const message of sent) lines.push(`send ${formatMessage(message)}`);
  return lines.map((line, i) => (i === 0 ? line : `  ${line}`));
}

export function formatStatus(replica: CoreReplica): string[] {
  const { core, disk } = replica;
  if (!replica.alive) return [`${core.replicaId} dead`];
  const runs = disk.memory.termRuns();
  const terms = runs.map((run, i) => {
    const last = i + 1 < runs.length ? runs[i + 1]!.firstIndex - 1 : disk.memory.lastIndex;
    return run.firstIndex === last ? `${last}/${run.term}` : `${run.firstIndex}-${last}/${run.term}`;
  });
  const log =
    terms.length > 0
      ? terms.join(' ')
      : `empty behind ${disk.memory.baseIndex}/${core.termAt(logIndex(disk.memory.baseIndex)) ?? '?'}`;
  const lines = [
    `${core.replicaId} ${core.role}${core.isReady ? ' (ready)' : ''}${core.barred ? ' barred' : ''} term ${core.term} vote ${core.votedFor || 'none'} leader ${core.leaderId || 'none'} log ${log} commit ${core.commitIndex} persisted ${core.persistedIndex} ${formatMembership(core.membership)}`,
  ];
  for (const progress of core.progress())
    lines.push(
      `  ${progress.replicaId} ${progress.state} match ${progress.matchIndex} next ${progress.nextIndex} in flight ${progress.appendsInFlight}`,
    );
  return lines;
}
