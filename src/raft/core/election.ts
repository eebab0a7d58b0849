/**
 * Elections: pre-vote (Raft thesis, section 9.6), vote, leader stickiness (4.2.3, 6.2) and the take-over of a transfer (3.10).
 *
 * A pre-candidate asks whether it would win, without touching a term; only then it raises the term, votes for itself and, once both are flushed, asks for votes. A replica that
 * has a leader grants nobody anything, unless that leader itself handed over.
 *
 * Of a thousand groups that elect at once each shall need one attempt. So who granted a pre-vote or a vote is pledged to that candidate for a while: it neither helps another one nor campaigns itself,
 * unless the other one's log is newer than its own. Without that, the moment between a vote and the winner's first message, which grows with the number of groups, lets the next candidate depose the
 * winner. Refusing a pre-vote is always safe; votes are given by Raft's rules alone.
 */

import { assert } from '../../std/assert.ts';
import { type ReplicaId, type Term, term as toTerm } from '../../std/brands.ts';
import { becomeLeader } from './leader.ts';
import { allVoters } from './membership.ts';
import { voteResult } from './quorum.ts';
import type { Replica } from './replica.ts';
import type { CandidateState } from './roles.ts';
import type { VoteRequest, VoteResponse } from './types.ts';

/** Starts an election if this replica may lead at all. */
export function campaign(replica: Replica): void {
  if (replica.role.kind === 'leader' || !replica.isPromotable) return;
  const role = becomeCandidate(replica, 'preCandidate', false);
  pledge(replica, replica.id);
  role.votes.set(replica.id, true);
  if (tally(replica, role)) return;
  askForVotes(replica, role);
}

/** The leader asks this replica to take over: no pre-vote, and nobody shall stick to the leader. */
export function campaignByTransfer(replica: Replica): void {
  if (replica.role.kind === 'leader' || !replica.isPromotable) return;
  startVote(replica, true);
}

/** The term rises and the own vote is given; asking waits for the flush of both, and so of every entry that the request will boast of. */
function startVote(replica: Replica, transfer: boolean): void {
  replica.enterTerm(toTerm(replica.currentTerm + 1));
  replica.vote(replica.id);
  const role = becomeCandidate(replica, 'candidate', transfer);
  role.voteWrite = replica.hardStateWrite;
}

/** After a flush: the own vote counts from now on, and others are asked. */
export function candidatePersisted(replica: Replica): void {
  const role = replica.role;
  if (role.kind !== 'candidate' || role.voteWrite === 0 || !replica.durability.isFlushed(role.voteWrite)) return;
  role.voteWrite = 0;
  role.votes.set(replica.id, true);
  if (tally(replica, role)) return;
  askForVotes(replica, role);
}

function becomeCandidate(replica: Replica, kind: 'preCandidate' | 'candidate', transfer: boolean): CandidateState {
  assert(replica.role.kind !== 'leader', 'A leader does not campaign');
  assert(
    kind === 'candidate' || replica.role.kind !== 'follower' || !replica.role.held,
    'A replica does not leave a leader that was announced to it before it is lost',
  );
  const role: CandidateState = {
    kind,
    transfer,
    votes: new Map(),
    deadlineMs: replica.nowMs + replica.options.electionTimeoutMs * (1 + replica.options.random()),
    voteWrite: 0,
  };
  replica.role = role;
  return role;
}

function askForVotes(replica: Replica, role: CandidateState): void {
  for (const voter of allVoters(replica.membership)) {
    if (voter.replicaId === replica.id) continue;
    replica.outbox.send({
      kind: role.kind === 'candidate' ? 'requestVote' : 'preVote',
      from: replica.id,
      to: voter.replicaId,
      term: role.kind === 'candidate' ? replica.currentTerm : toTerm(replica.currentTerm + 1),
      lastIndex: replica.log.lastIndex,
      lastTerm: replica.log.lastTerm,
      transfer: role.transfer,
    });
  }
}

/** Acts on the votes so far; true if the election is decided. */
function tally(replica: Replica, role: CandidateState): boolean {
  switch (voteResult(replica.membership, role.votes)) {
    case 'pending':
      return false;
    case 'lost':
      loseCampaign(replica, replica.currentTerm);
      return true;
    case 'won':
      if (role.kind === 'preCandidate') startVote(replica, false);
      else becomeLeader(replica);
      return true;
  }
}

/**
 * Refused by a quorum, or in a term that is over. The next attempt comes soon, then later and later: a pre-vote that came before the others missed their leader costs little time then,
 * and one that will never be granted little traffic.
 */
export function loseCampaign(replica: Replica, term: Term): void {
  replica.campaignsFailed++;
  if (replica.pledge?.to === replica.id) replica.pledge = undefined;
  replica.becomeFollower(term, 0);
  const { role } = replica;
  if (role.kind === 'follower')
    role.deadlineMs = replica.nowMs + role.timeoutMs * Math.min(1, 2 ** replica.campaignsFailed / 16);
}

/** Candidates: nobody won in time. The next attempt begins with a pre-vote again. */
export function campaignTimedOut(replica: Replica): void {
  replica.campaignsFailed++;
  if (replica.isPromotable) campaign(replica);
  else replica.becomeFollower(replica.currentTerm, 0);
}

/** True if this replica has a leader that it must not help to depose. A leader sticks to itself; who is no candidate ever is bound no longer than others would be. */
export function sticksToLeader(replica: Replica): boolean {
  const role = replica.role;
  if (role.kind === 'leader') return true;
  return role.kind === 'follower' && role.leaderId !== 0 && (role.held || replica.nowMs < role.deadlineMs);
}

/** A request whose term is current (or, pre-vote: any). */
export function handleVoteRequest(replica: Replica, request: VoteRequest): void {
  const { from, lastIndex, lastTerm } = request;
  const upToDate = replica.log.isUpToDate(lastTerm, lastIndex);
  if (request.kind === 'preVote') {
    const granted =
      request.term > replica.currentTerm &&
      upToDate &&
      !replica.barred &&
      (request.transfer || !(sticksToLeader(replica) || prefersOther(replica, request)));
    if (granted) makePledge(replica, from);
    replica.respond({
      kind: 'preVoteResponse',
      from: replica.id,
      to: from,
      term: granted ? request.term : replica.currentTerm,
      granted,
    });
    if (!upToDate) askAgain(replica, from);
    return;
  }
  let granted = false;
  if (request.term === replica.currentTerm && upToDate && !replica.barred) {
    if (replica.votedFor === from) granted = true;
    else if (replica.votedFor === 0 && replica.leaderId === 0) {
      granted = true;
      replica.vote(from);
      // Gives up an own pre-vote, and a fresh deadline gives the candidate time to win.
      replica.becomeFollower(replica.currentTerm, 0);
      makePledge(replica, from);
    }
  }
  replica.respond({ kind: 'requestVoteResponse', from: replica.id, to: from, term: replica.currentTerm, granted });
}

/**
 * Whoever asks with an older log cannot win, but has no leader any more: if it refused this pre-candidate because it still had one, it grants now. Of three voters of which one is gone such a refusal
 * decides nothing, and both would wait for a timeout.
 */
function askAgain(replica: Replica, from: ReplicaId): void {
  const { role } = replica;
  if (role.kind === 'preCandidate' && role.votes.get(from) === false) campaign(replica);
}

/** Share of the election timeout that a pledge lasts. Driver time never outruns the messages that are there, so this is many round trips. */
const PLEDGE_SHARE = 0.5;

/** Until when this replica helps another candidate and does not campaign itself; in the past if it is free. */
export function pledgedUntilMs({ id, pledge }: Replica): number {
  return pledge === undefined || pledge.to === id ? Number.NEGATIVE_INFINITY : pledge.untilMs;
}

/** Pre-vote only: another candidate is about to win, perhaps this replica. Of two that ask each other the one with the lower id goes on. */
function prefersOther(replica: Replica, { from, lastIndex, lastTerm }: VoteRequest): boolean {
  const { log, pledge, role } = replica;
  if (lastTerm > log.lastTerm || lastIndex > log.lastIndex) return false;
  if (pledge === undefined || pledge.to === from || replica.nowMs >= pledge.untilMs) return false;
  if (pledge.to !== replica.id) return true;
  // Whoever refused cannot make this replica win, which can make it win.
  return role.kind === 'preCandidate' && from > replica.id && role.votes.get(from) !== false;
}

function pledge(replica: Replica, to: ReplicaId): void {
  replica.pledge = { to, untilMs: replica.nowMs + replica.options.electionTimeoutMs * PLEDGE_SHARE };
}

/** It does not campaign itself meanwhile; if nothing comes of it, the others that are pledged to the same candidate do not all campaign at once. */
function makePledge(replica: Replica, to: ReplicaId): void {
  const { nowMs } = replica;
  pledge(replica, to);
  if (replica.role.kind === 'preCandidate') replica.becomeFollower(replica.currentTerm, 0);
  const { role } = replica;
  if (role.kind === 'follower') role.deadlineMs = Math.max(role.deadlineMs, nowMs + role.timeoutMs * PLEDGE_SHARE);
}

/** An answer in the current term; of a granted pre-vote: in the term that this replica would campaign in. */
export function handleVoteResponse(replica: Replica, response: VoteResponse): void {
  const role = replica.role;
  if (response.kind === 'preVoteResponse') {
    if (role.kind !== 'preCandidate') return;
    if (response.granted && response.term !== replica.currentTerm + 1) return;
  } else if (role.kind !== 'candidate' || role.voteWrite !== 0 || response.term !== replica.currentTerm) return;
  // The first answer counts: a replica that granted cannot refuse later in the same election, a duplicate says nothing new.
  if (role.votes.has(response.from)) return;
  role.votes.set(response.from, response.granted);
  tally(replica, role);
}
