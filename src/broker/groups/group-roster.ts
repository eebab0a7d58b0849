/**
 * Who is in a classic group, and whether they live: members by id and by instance, ids that were promised, sessions.
 *
 * Promise: a member expires only after its session time-out in silence, never while one of its requests is parked, and never because the broker itself stood still.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { TimerHandle } from '../../std/environment.ts';
import { joinError, syncError } from './group-answers.ts';
import type { GroupMember } from './group-member.ts';
import type { MemberIdentity } from './group-requests.ts';

/** A session timer that fires this late says that the broker stood still, not that members are gone (DECISIONS L2). */
const LATE_TIMER_MS = 1000;

export interface RosterHost {
  nowMs(): number;
  after(delayMs: number, callback: () => void): TimerHandle;
}

export class GroupRoster {
  readonly #host: RosterHost;
  /** Sessions ended, or a promised id was not used in time: the roster is smaller than before. */
  readonly #shrunk: (membersLeft: boolean) => void;
  readonly #members = new Map<string, GroupMember>();
  /** group.instance.id → member id. */
  readonly #staticMembers = new Map<string, string>();
  /** Ids given out by MEMBER_ID_REQUIRED whose owners have not come back. */
  readonly #pending = new Map<string, TimerHandle>();
  #sessionTimer: TimerHandle | undefined;
  #sessionTimerAtMs = Number.POSITIVE_INFINITY;

  constructor(host: RosterHost, shrunk: (membersLeft: boolean) => void) {
    this.#host = host;
    this.#shrunk = shrunk;
  }

  get size(): number {
    return this.#members.size;
  }

  /** Ids that were promised and not used yet. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Oldest first. */
  members(): GroupMember[] {
    return [...this.#members.values()];
  }

  get(memberId: string): GroupMember | undefined {
    return this.#members.get(memberId);
  }

  byInstance(groupInstanceId: string): GroupMember | undefined {
    return this.#members.get(this.#staticMembers.get(groupInstanceId) ?? '');
  }

  /** The oldest member: leader in the absence of one. */
  get first(): string | undefined {
    return this.#members.keys().next().value;
  }

  /** The member that an identity names, or why it names none. A static identity with another member id was replaced: fenced. */
  identify({ memberId, groupInstanceId }: MemberIdentity): GroupMember | ErrorCode {
    if (groupInstanceId !== null) {
      const holder = this.#staticMembers.get(groupInstanceId);
      if (holder === undefined) return ErrorCode.UNKNOWN_MEMBER_ID;
      if (holder !== memberId) return ErrorCode.FENCED_INSTANCE_ID;
    }
    return this.#members.get(memberId) ?? ErrorCode.UNKNOWN_MEMBER_ID;
  }

  admit(member: GroupMember): void {
    this.#members.set(member.memberId, member);
    if (member.groupInstanceId !== null) this.#staticMembers.set(member.groupInstanceId, member.memberId);
  }

  /** Ends a membership; what the member has parked is answered with `errorCode`. */
  remove(member: GroupMember, errorCode: ErrorCode): void {
    this.#members.delete(member.memberId);
    if (member.groupInstanceId !== null && this.#staticMembers.get(member.groupInstanceId) === member.memberId) {
      this.#staticMembers.delete(member.groupInstanceId);
    }
    member.answerJoin(joinError(errorCode, member.memberId));
    member.answerSync(syncError(errorCode));
  }

  /** Promises an id to whoever comes back with it within `timeoutMs`. */
  expect(memberId: string, timeoutMs: number): void {
    this.#pending.set(
      memberId,
      this.#host.after(timeoutMs, () => {
        this.#pending.delete(memberId);
        this.#shrunk(false);
      }),
    );
  }

  isExpected(memberId: string): boolean {
    return this.#pending.has(memberId);
  }

  /** Takes a promise back; false if there was none. */
  stopExpecting(memberId: string): boolean {
    this.#pending.get(memberId)?.cancel();
    return this.#pending.delete(memberId);
  }

  renewSession(member: GroupMember): void {
    member.sessionDeadlineMs = this.#host.nowMs() + member.sessionTimeoutMs;
    this.#armSessionTimer(member.sessionDeadlineMs);
  }

  /** Everything parked is answered with `errorCode`; timers stop. */
  close(errorCode: ErrorCode): void {
    this.#sessionTimer?.cancel();
    for (const timer of this.#pending.values()) timer.cancel();
    this.#pending.clear();
    for (const member of this.#members.values()) {
      member.answerJoin(joinError(errorCode, member.memberId));
      member.answerSync(syncError(errorCode));
    }
  }

  /** One timer a group, for the earliest deadline it knew when it was set; deadlines that moved on are found when it fires. */
  #armSessionTimer(atMs: number): void {
    if (atMs >= this.#sessionTimerAtMs) return;
    this.#sessionTimer?.cancel();
    this.#sessionTimerAtMs = atMs;
    this.#sessionTimer = this.#host.after(Math.max(0, atMs - this.#host.nowMs()), () => this.#expireSessions());
  }

  #expireSessions(): void {
    const nowMs = this.#host.nowMs();
    // The broker itself was paused or stalled: heartbeats may wait unread, so silence proves nothing yet.
    const stalled = nowMs - this.#sessionTimerAtMs > LATE_TIMER_MS;
    this.#sessionTimer = undefined;
    this.#sessionTimerAtMs = Number.POSITIVE_INFINITY;
    let removed = false;
    for (const member of this.members()) {
      if (member.isParked || stalled) {
        member.sessionDeadlineMs = Math.max(member.sessionDeadlineMs, nowMs + member.sessionTimeoutMs);
      }
      if (member.sessionDeadlineMs > nowMs) continue;
      this.remove(member, ErrorCode.UNKNOWN_MEMBER_ID);
      removed = true;
    }
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const { sessionDeadlineMs } of this.#members.values()) earliestMs = Math.min(earliestMs, sessionDeadlineMs);
    if (earliestMs !== Number.POSITIVE_INFINITY) this.#armSessionTimer(earliestMs);
    if (removed) this.#shrunk(true);
  }
}
