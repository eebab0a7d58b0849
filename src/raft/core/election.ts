/**
 * Elections: pre-vote (Raft thesis, section 9.6), vote, leader stickiness (4.2.3, 6.2) and the take-over of a transfer (3.10).
 *
 * A pre-candidate asks whether it would win, without touching a term; only then it raises the term, votes for itself and, once both are flushed, asks for votes. A replica that
 * has a leader grants nobody anything, unless that leader itself handed over.
 */

import { assert } from '../../std/assert.ts';
import { type Term, term as toTerm } from '../../std/brands.ts';
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
      (request.transfer || !sticksToLeader(replica));
    replica.respond({
      kind: 'preVoteResponse',
      from: replica.id,
      to: from,
      term: granted ? request.term : replica.currentTerm,
      granted,
    });
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
    }
  }
  replica.respond({ kind: 'requestVoteResponse', from: replica.id, to: from, term: replica.currentTerm, granted });
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
