/**
 * Bugs that others had, put back into a copy of our code one at a time: a harness that does not find them proves nothing. Each is a replacement of a piece of a source file that occurs exactly
 * once; when the code moves on and it does not, the canary says so and is adapted. Production code knows nothing of them.
 */

import type { StoryName } from '../simulation/stories/stories.ts';

interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Canary extends Edit {
  readonly name: string;
  /** What is wrong then, and where such a bug was seen. */
  readonly bug: string;
  /** core: pure Raft cores; raft: cores, driver and WAL with lists; partition: the same with production partitions; cluster: whole brokers and clients; story: one of test/simulation/stories. */
  readonly harness: 'core' | 'raft' | 'partition' | 'cluster' | 'story';
  /** Which story, of that harness. */
  readonly story?: StoryName;
  /** What else keeps the promise today, taken away as well. */
  readonly also?: readonly Edit[];
}

/**
 * A leader that hears nothing, or whose link comes back, probes from behind what is confirmed, as it did once. Alone it breaks no promise, it only costs entries and catch-ups that nobody needs; without it, a leader's
 * first accepted message meets each follower exactly where the logs part: a rejection's hint and the leader's search in its own terms never jump over a point at which both agree, the messages of a term's leader are the
 * only ones that move the follower meanwhile, and a catch-up begins behind all that the follower shares with the leader. So that first message overwrites whatever contradicts the leader, and what it needs to go wrong is gone.
 */
const PROBE_FROM_THE_BEGINNING: Edit = {
  file: 'src/raft/core/progress.ts',
  find: "this.becomeProbe(this.#state === 'probe' ? this.#nextIndex : logIndex(this.#matchIndex + 1));",
  replace: 'this.becomeProbe();',
};

/** Who is told to campaign forgets the leader that was announced to it, as it did once. Today it keeps it, so that it knows whose catch-up it takes. */
const LEAVES_ANNOUNCED_LEADER: Edit = {
  file: 'src/raft/core/raft-core.ts',
  find: "(replica.role.kind === 'follower' && !replica.role.held)",
  replace: "replica.role.kind === 'follower'",
};
const MAY_LEAVE_ANNOUNCED_LEADER: Edit = {
  file: 'src/raft/core/election.ts',
  find: "kind === 'candidate' || replica.role.kind !== 'follower' || !replica.role.held,",
  replace: 'true,',
};

export const CANARIES: readonly Canary[] = [
  {
    name: 'commit-older-term',
    bug: 'A leader commits an entry of an older term by counting replicas (Raft, figure 8; LogCabin 44)',
    harness: 'core',
    file: 'src/raft/core/leader.ts',
    find: 'if (index <= replica.commitIndex || replica.log.termAt(index) !== replica.currentTerm) return;',
    replace: 'if (index <= replica.commitIndex) return;',
  },
  {
    name: 'vote-not-flushed',
    bug: 'A vote leaves before term and vote are flushed (PySyncObj 202, cornerstone 65)',
    harness: 'core',
    file: 'src/raft/core/replica.ts',
    find: `    if (this.hardStateFlushed) {
      this.outbox.send(response);`,
    replace: `    if (response.kind !== 'appendEntriesResponse' || this.hardStateFlushed) {
      this.outbox.send(response);`,
  },
  {
    name: 'own-vote-not-flushed',
    bug: 'A candidate asks for votes before its own is flushed (valkey 3887)',
    harness: 'core',
    file: 'src/raft/core/election.ts',
    find: `  role.voteWrite = replica.hardStateWrite;
}`,
    replace: `  role.votes.set(replica.id, true);
  if (!tally(replica, role)) askForVotes(replica, role);
}`,
  },
  {
    name: 'follower-acks-before-flush',
    bug: 'A follower acknowledges what it has only written (TiKV 994, Redpanda 503)',
    harness: 'core',
    file: 'src/raft/core/follower.ts',
    find: 'const matchIndex = logIndex(Math.min(role.verifiedIndex, replica.durability.persistedIndex));',
    replace: 'const matchIndex = role.verifiedIndex;',
  },
  {
    name: 'leader-counts-unflushed',
    bug: 'A leader counts its own log before it is flushed (etcd 14370)',
    harness: 'core',
    file: 'src/raft/core/leader.ts',
    find: 'if (replicaId === replica.id) return replica.durability.persistedIndex;',
    replace: 'if (replicaId === replica.id) return replica.log.lastIndex;',
  },
  {
    name: 'flush-without-sync',
    bug: 'A flush is a write without fdatasync',
    harness: 'raft',
    file: 'src/wal/flusher.ts',
    find: '      await file.sync();\n      stats.flushes++;',
    replace: '      stats.flushes++;',
  },
  {
    name: 'vote-for-shorter-log',
    bug: 'Votes are given to candidates whose log is behind (Raft, section 5.4.1)',
    harness: 'core',
    file: 'src/raft/core/raft-log.ts',
    find: 'return otherLastTerm > lastTerm || (otherLastTerm === lastTerm && otherLastIndex >= this.#lastIndex);',
    replace: 'return otherLastTerm > lastTerm || otherLastTerm === lastTerm;',
  },
  {
    name: 'two-votes-in-a-term',
    bug: 'A second candidate gets a vote in the same term (CCF 8094)',
    harness: 'core',
    file: 'src/raft/core/election.ts',
    find: 'if (replica.votedFor === from) granted = true;',
    replace: 'if (replica.votedFor !== 0) granted = true;',
  },
  {
    name: 'vote-forgotten-at-restart',
    bug: 'The vote of the current term is gone after a restart (thesis 3.8)',
    harness: 'core',
    file: 'src/raft/core/replica.ts',
    find: 'this.outbox.hardState = { currentTerm: this.#currentTerm, votedFor: this.#votedFor };',
    replace: 'this.outbox.hardState = { currentTerm: this.#currentTerm, votedFor: 0 };',
  },
  {
    name: 'no-log-matching',
    bug: 'Entries are taken without comparing the one before them (Raft, section 5.3)',
    harness: 'core',
    file: 'src/raft/core/follower.ts',
    find: 'if (prevIndex > replica.commitIndex && replica.log.termAt(prevIndex) !== message.prevTerm) {',
    replace: 'if (prevIndex > replica.log.lastIndex) {',
  },
  {
    name: 'commit-beyond-verified',
    bug: 'A follower commits up to its last entry, verified by this leader or not (ScyllaDB 9965, copycat 265)',
    harness: 'core',
    file: 'src/raft/core/follower.ts',
    find: 'replica.commitTo(logIndex(Math.min(message.commitIndex, role.verifiedIndex)));',
    replace: 'replica.commitTo(logIndex(Math.min(message.commitIndex, replica.log.lastIndex)));',
    // On its own it changes nothing: see there.
    also: [PROBE_FROM_THE_BEGINNING],
  },
  {
    name: 'stale-append-truncates',
    bug: 'An old AppendEntries cuts what follows it although nothing contradicts (Redpanda 17895, openraft 511)',
    harness: 'core',
    file: 'src/raft/core/follower.ts',
    find: '  if (known < entries.length) replica.appendFromLeader(entries, known);',
    replace: `  const end = prevIndex + entries.length;
  if (known === entries.length && entries.length > 0 && replica.log.lastIndex > end) replica.truncateFrom(logIndex(end + 1));
  if (known < entries.length) replica.appendFromLeader(entries, known);`,
  },
  {
    name: 'read-without-quorum',
    bug: 'A leader answers linearizable reads without asking anybody (etcd 20418, redisraft 19)',
    harness: 'story',
    story: 'staleCoordinator',
    file: 'src/raft/core/read-index.ts',
    find: 'id === replica.id ? Number.POSITIVE_INFINITY :',
    replace: 'id === replica.id || id > 0 ? Number.POSITIVE_INFINITY :',
  },
  {
    name: 'read-before-own-term',
    bug: 'A new leader reads at the commit index that it knows before an entry of its own term is committed (thesis 6.4)',
    harness: 'core',
    file: 'src/raft/core/read-index.ts',
    find: 'index: replica.ownTermCommitted ? replica.commitIndex : role.ownTermIndex, round });',
    replace: 'index: replica.commitIndex, round });',
  },
  {
    name: 'flush-survives-truncation',
    bug: 'A flush that was under way when the log was cut counts for what came after (Redpanda 2937, 16105)',
    harness: 'core',
    file: 'src/raft/core/durability.ts',
    find: '    for (let i = 0; i < indexes.length; i++) if (indexes[i]! > end) indexes[i] = end;\n',
    replace: '    void indexes;\n',
  },
  {
    name: 'persisted-survives-truncation',
    bug: 'What was flushed before a truncation counts for the entries that replace it (Redpanda 2937)',
    harness: 'core',
    file: 'src/raft/core/durability.ts',
    find: '    if (this.#persistedIndex > end) this.#persistedIndex = end;\n',
    replace: '',
  },
  {
    name: 'truncation-not-logged',
    bug: 'The WAL does not say that entries were cut, so a replay brings them back (etcd 22442)',
    harness: 'raft',
    file: 'src/raft/raft-driver.ts',
    find: 'if (effects.truncateFrom !== undefined) lsn = storage.truncate(replicaId, effects.truncateFrom);',
    replace:
      'if (effects.truncateFrom !== undefined && effects.append.length === 0) lsn = storage.truncate(replicaId, effects.truncateFrom);',
  },
  {
    name: 'unknown-called-refused',
    bug: 'A proposal in the log is called refused when the leadership ends (KAFKA-13574)',
    harness: 'raft',
    file: 'src/raft/pending-proposals.ts',
    find: "for (const { proposal } of logged) proposal.done({ kind: 'unknown' });",
    replace: "for (const { proposal } of logged) proposal.done({ kind: 'refused', reason: 'notLeader' });",
  },
  {
    name: 'catch-up-throws-log-away',
    bug: 'A checkpoint replaces a log that contains it, with acknowledged entries behind (openraft 1808)',
    harness: 'raft',
    file: 'src/raft/catch-up-receiver.ts',
    find: 'if (item.index <= commitIndex || this.#context.storage.termAt(replicaId, item.index) === item.term) {',
    replace: 'if (item.index <= commitIndex) {',
  },
  {
    name: 'checkpoint-before-files',
    bug: 'A checkpoint is current before the files it speaks of are synced (etcd 10219)',
    harness: 'partition',
    file: 'src/broker/partition/partition-state-machine.ts',
    find: 'const segments = await this.log.sync(cut);',
    replace: 'const segments = cut.segments.map(({ description }) => description);',
  },
  {
    name: 'names-not-synced',
    bug: 'A file is created and its directory is not synced (etcd 6368, ALICE)',
    harness: 'partition',
    file: 'src/broker/partition/partition-state-machine.ts',
    find: '    await files.syncNames();\n',
    replace: '',
  },
  {
    name: 'no-deduplication',
    bug: 'A repeated batch of an idempotent producer is appended again',
    harness: 'cluster',
    file: 'src/broker/partition/producer-states.ts',
    find: "        return { kind: 'duplicate', original };",
    replace: '        return APPEND;',
  },
  {
    name: 'remembers-one-batch',
    bug: 'Only the last batch of a producer is remembered, so a repeated one is called out of order (Redpanda 3039)',
    harness: 'cluster',
    file: 'src/broker/partition/producer-states.ts',
    find: 'if (state.batches.length === WINDOW_BATCHES) state.batches.shift();',
    replace: 'if (state.batches.length === 1) state.batches.shift();',
    also: [
      {
        file: 'src/broker/partition/producer-states.ts',
        find: 'return state.isFromStart && isBelow',
        replace: 'return !state.isFromStart && isBelow',
      },
    ],
  },
  {
    name: 'producers-not-in-checkpoint',
    bug: 'A checkpoint forgets the producers (Redpanda 29623, AutoMQ 437)',
    harness: 'cluster',
    file: 'src/broker/partition/partition-state-machine.ts',
    find: '    this.#producers = decodeProducers(state.producers);\n',
    replace: '    this.#producers = new ProducerStates();\n    void decodeProducers;\n',
  },
  {
    name: 'sequence-not-checked',
    bug: 'A batch is taken although the one before it is missing',
    harness: 'cluster',
    file: 'src/broker/partition/producer-states.ts',
    find: 'if (baseSequence === (previous === SEQUENCE_MAX ? 0 : previous + 1)) return APPEND;',
    replace: 'if (baseSequence >= previous) return APPEND;',
  },
  {
    name: 'ack-of-unknown',
    bug: 'A leader that steps down answers success for what it proposed (Redpanda 3003)',
    harness: 'cluster',
    file: 'src/broker/partition/produce-queue.ts',
    find: "outcome.kind === 'refused' ? refusal(outcome.reason) : UNKNOWN;",
    replace: "outcome.kind === 'refused' ? refusal(outcome.reason) : ([ErrorCode.NONE, UNKNOWN[1]] as const);",
  },
  {
    name: 'stale-list-offsets',
    bug: 'ListOffsets is answered without a confirmation of leadership (Redpanda 10921)',
    harness: 'cluster',
    file: 'src/broker/handlers/partition-access.ts',
    find: 'return new Promise((resolve) => log.group.readBarrier(resolve));',
    replace: 'return Promise.resolve(log.isLeader);',
  },
  {
    name: 'stale-offset-fetch',
    bug: 'OffsetFetch is answered without a confirmation of leadership (Redpanda 2597)',
    harness: 'story',
    story: 'staleCoordinator',
    file: 'src/broker/groups/group-shard.ts',
    find: 'this.#log.readBarrier((confirmed) => done(confirmed ? this.availability() : ErrorCode.NOT_COORDINATOR));',
    replace: 'done(this.availability());',
  },
  {
    name: 'commit-of-unknown',
    bug: 'A commit of offsets is acknowledged although leadership was lost before it was durable (KAFKA-20634)',
    harness: 'cluster',
    file: 'src/broker/groups/group-shard.ts',
    find: `          // May yet become durable; the client asks the next coordinator and learns there.
          return done(ErrorCode.NOT_COORDINATOR);`,
    replace: '          return done(ErrorCode.NONE);',
  },
  {
    name: 'replica-directory-by-name',
    bug: 'A recreated topic finds the files of the one before (KAFKA-14616, ra)',
    harness: 'story',
    story: 'recreatedTopic',
    file: 'src/broker/partition/log-files.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    find: '-${partition}.${replicaId}`;',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    replace: '-${partition}.${replicaId > 0 ? 1 : 0}`;',
  },
  {
    name: 'wiped-store-keeps-replicas',
    bug: 'A broker that lost its store comes back as the replicas that it had (dragonboat 256, ZooKeeper 2268)',
    harness: 'cluster',
    file: 'src/broker/cluster/apply-metadata-command.ts',
    find: `        replicaId: replicaId(nextReplicaId++),
        brokerId: broker,`,
    replace: `        replicaId: lost.replicaId,
        brokerId: broker,`,
  },
  {
    name: 'commit-by-one',
    bug: 'What one voter has flushed is committed',
    harness: 'cluster',
    file: 'src/raft/core/quorum.ts',
    find: 'const value = valueReachedBy(voters, majority(voters.length), valueFor);',
    replace: 'const value = valueReachedBy(voters, 1, valueFor);',
  },
  {
    name: 'election-by-fewer',
    bug: 'A candidate wins without a majority',
    harness: 'core',
    file: 'src/raft/core/quorum.ts',
    find: '  return count >= majority(members.length);',
    replace: '  return count >= members.length / 2;',
  },
  {
    name: 'old-voters-ignored',
    bug: 'In a joint configuration only the new voters count (dissertation, errata)',
    harness: 'core',
    file: 'src/raft/core/quorum.ts',
    find: '  return Math.min(value, valueReachedBy(votersOutgoing, majority(votersOutgoing.length), valueFor));',
    replace: '  return value;',
  },
  {
    name: 'change-before-own-term',
    bug: 'A leader changes the membership before an entry of its own term is committed (raft-dev, openraft 2051)',
    harness: 'core',
    file: 'src/raft/core/leader-requests.ts',
    find: "  if (!replica.ownTermCommitted) return 'No entry of this term is committed yet';\n",
    replace: '',
  },
  {
    name: 'catch-up-keeps-old-membership',
    bug: 'A catch-up leaves the configuration from before in force (openraft 1808)',
    harness: 'core',
    file: 'src/raft/core/replica.ts',
    find: '    this.configurations.reset({ index, membership });\n    this.outbox.membershipChanged = true;\n    this.#commitIndex = index;',
    replace: '    void membership;\n    this.#commitIndex = index;',
  },
  {
    name: 'torn-taken-for-damage',
    bug: 'A torn tail is taken for damage, so replicas are barred after a power loss (etcd 5230, 14098)',
    harness: 'cluster',
    file: 'src/wal/recovery.ts',
    find: "if (tail.verdict === 'torn') {",
    replace: "if (tail.verdict === 'torn') {\n    replay.lose('Torn');",
  },
  {
    name: 'applied-before-flushed',
    bug: 'A replica applies what it has not flushed itself',
    harness: 'core',
    file: 'src/raft/core/replica.ts',
    find: 'return this.#commitIndex < persistedIndex ? this.#commitIndex : persistedIndex;',
    replace: 'return persistedIndex >= 0 ? this.#commitIndex : persistedIndex;',
  },
  {
    name: 'leader-decides-early',
    bug: 'A leader is ready before what earlier leaders committed is applied (Redpanda 5025, 10921, 13614)',
    harness: 'story',
    story: 'earlyCoordinator',
    file: 'src/raft/core/replica.ts',
    find: "return this.role.kind === 'leader' && this.ownTermCommitted && this.appliedIndex >= this.role.ownTermIndex;",
    replace: "return this.role.kind === 'leader';",
  },
  {
    name: 'rejected-takes-offset',
    bug: 'A batch that was rejected by its sequence takes offsets all the same',
    harness: 'cluster',
    file: 'src/broker/partition/partition-state-machine.ts',
    find: "      case 'refused':\n        return",
    replace:
      "      case 'refused':\n        this.log.append(bytes, at, sizeBytes, term, this.#timeMs);\n        return",
  },
  {
    name: 'follower-ahead-stops-leader',
    bug: 'A leader stops when a follower applied more than it did yet (found by this simulation)',
    harness: 'story',
    story: 'followerAhead',
    file: 'src/broker/partition/partition-state-machine.ts',
    find: 'if (logEndOffset > cut.endOffset) return undefined;',
    replace: "if (logEndOffset > cut.endOffset) throw new Error('Not applied here');",
    // A leader asks a follower that lacks nothing for its position only if it probes from the beginning.
    also: [PROBE_FROM_THE_BEGINNING],
  },
  {
    name: 'catch-up-forgets-leader',
    bug: 'A follower that campaigned in vain refuses the catch-ups of its leader (found by this simulation)',
    harness: 'story',
    story: 'campaignBeforeCatchUp',
    file: 'src/raft/catch-up-receiver.ts',
    find: '    if (replica !== undefined) this.#followAgain(peer, replica, item);\n',
    replace: '    void this.#followAgain;\n',
    also: [LEAVES_ANNOUNCED_LEADER, MAY_LEAVE_ANNOUNCED_LEADER],
  },
  {
    name: 'catch-up-outlives-office',
    bug: 'A follower waits for the end of a catch-up whose leader lost its office, and takes nothing from the next one until then',
    harness: 'story',
    story: 'officeLost',
    file: 'src/raft/message-dispatch.ts',
    find: 'if (replica.frozen) this.#parts.catchUpReceiver.refusedEntries(replica);',
    replace: '',
  },
  {
    name: 'catch-up-never-given-up',
    bug: 'A catch-up whose end did not get through keeps its follower frozen (found by this simulation)',
    harness: 'story',
    story: 'leaderBeginsAgain',
    file: 'src/raft/catch-up-receiver.ts',
    find: "    if (before?.isFrom(peer) === true) before.fail('The leader began another one');\n",
    replace: '    void before;\n',
  },
  {
    name: 'removal-forgets-its-reason',
    bug: 'A removal is durable before the deletion that it follows from is known committed, so a restart creates the replica again, empty (found by this simulation)',
    harness: 'story',
    story: 'removedReplica',
    file: 'src/raft/replica-lifecycle.ts',
    find: '    if (metadata !== undefined) this.#context.storage.noteCommitted(metadata.replicaId, metadata.appliedIndex);\n',
    replace: '    void metadata;\n',
  },
  {
    name: 'campaign-leaves-leader',
    bug: 'The preferred replica of a new group leaves a leader that was just announced to it for a campaign that nobody supports (found by this simulation)',
    harness: 'core',
    ...LEAVES_ANNOUNCED_LEADER,
  },
  {
    name: 'silent-channel-unnoticed',
    bug: 'Heartbeats arrive, and the channel beside them that brings the entries does not: nobody makes the link anew (found by corrupt-network)',
    harness: 'cluster',
    file: 'src/raft/liveness.ts',
    find: ' else if (peer.link !== undefined) this.#checkChannels(peer);',
    replace: '\n      void this.#checkChannels;',
  },
  {
    name: 'request-memory-kept',
    bug: 'What a connection had sent of a request when it broke counts against the memory for requests for ever',
    harness: 'cluster',
    file: 'src/broker/network/connection.ts',
    find: '    requestMemory.release(this.#unservedBytes);\n',
    replace: '',
  },
  {
    name: 'proposed-bytes-kept',
    bug: 'What a leader had proposed when it lost its office counts against the limit for ever',
    harness: 'cluster',
    file: 'src/raft/pending-proposals.ts',
    find: '    for (const { proposal } of logged) this.#release(proposal);\n',
    replace: '',
  },
  {
    name: 'tail-keeps-everything',
    bug: 'Pages of the newest records stay in memory when they are in files',
    harness: 'cluster',
    file: 'src/broker/partition/tail-cache.ts',
    find: 'if (this.#usedBytes <= this.budgetBytes || chunk.usedBytes === 0) break;',
    replace: 'if (this.#usedBytes <= 64 * this.budgetBytes || chunk.usedBytes === 0) break;',
  },
];
