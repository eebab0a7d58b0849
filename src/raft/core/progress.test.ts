import fc from 'fast-check';
import { expect, test } from 'vitest';
import { logIndex, replicaId } from '../../std/brands.ts';
import { REPLICATION_LIMITS } from './options.ts';
import { Progress } from './progress.ts';

const LIMITS = { ...REPLICATION_LIMITS, appendsInFlightMax: 3, appendRetryMs: 100 };
const at = logIndex;
const fresh = (lastIndex = 10): Progress => new Progress(replicaId(2), at(lastIndex), 0, LIMITS);

function replicating(matchIndex: number): Progress {
  const progress = fresh(matchIndex);
  progress.sent(at(matchIndex), at(0), 0);
  progress.accepted(at(matchIndex), at(matchIndex), 0);
  return progress;
}

test('probes one at a time, then follows without waiting', () => {
  const progress = fresh(10);
  expect([progress.state, progress.nextIndex, progress.canSend(0)]).toEqual(['probe', 11, true]);
  progress.sent(at(11), at(5), 0);
  expect(progress.canSend(0)).toBe(false);
  expect(progress.accepted(at(10), at(11), 1)).toBe(true);
  // The entry that the probe carried is under way and is not sent again.
  expect([progress.state, progress.nextIndex, progress.appendsInFlight]).toEqual(['replicate', 12, 1]);
  progress.sent(at(12), at(5), 1);
  progress.sent(at(13), at(5), 1);
  expect(progress.canSend(1)).toBe(false);
  progress.accepted(at(12), at(13), 2);
  expect([progress.appendsInFlight, progress.canSend(2)]).toEqual([1, true]);
});

test('an acknowledgement below the probe does not end it', () => {
  const progress = fresh(10);
  progress.sent(at(10), at(0), 0);
  progress.accepted(at(7), at(10), 1);
  expect([progress.state, progress.matchIndex, progress.canSend(1)]).toEqual(['probe', 7, false]);
});

test('a rejection that does not answer the probe under way is stale (bug R11)', () => {
  const progress = fresh(10);
  progress.sent(at(10), at(0), 0);
  expect(progress.rejected(at(8), at(3))).toBe(false);
  expect(progress.rejected(at(10), at(3))).toBe(true);
  expect(progress.nextIndex).toBe(4);
  progress.sent(at(5), at(0), 0);
  expect(progress.rejected(at(10), at(1))).toBe(false);
  expect(progress.nextIndex).toBe(4);
});

test('while replicating, a rejection at or below what is confirmed is stale, above it all in flight is lost', () => {
  const progress = replicating(10);
  progress.sent(at(12), at(0), 0);
  expect(progress.rejected(at(9), at(3))).toBe(false);
  expect(progress.state).toBe('replicate');
  expect(progress.rejected(at(12), at(3))).toBe(true);
  expect([progress.state, progress.nextIndex, progress.appendsInFlight]).toEqual(['probe', 11, 0]);
});

test('a replica whose disk was cut may deny what it confirmed', () => {
  const progress = replicating(10);
  progress.becomeProbe();
  progress.sent(at(10), at(0), 0);
  expect(progress.rejected(at(10), at(4))).toBe(true);
  expect([progress.matchIndex, progress.nextIndex]).toEqual([4, 5]);
});

test('a link that comes back before anything was acknowledged does not send the probe back to the beginning', () => {
  const progress = fresh(10);
  progress.sent(at(10), at(0), 0);
  progress.probeAgain();
  expect([progress.state, progress.nextIndex, progress.canSend(0)]).toEqual(['probe', 11, true]);
  const confirmed = replicating(10);
  confirmed.sent(at(12), at(0), 0);
  confirmed.probeAgain();
  expect([confirmed.state, confirmed.nextIndex]).toEqual(['probe', 11]);
});

test('silence is probed, less and less often; an idle peer has no deadline', () => {
  const progress = replicating(10);
  expect(progress.deadlineMs).toBe(Number.POSITIVE_INFINITY);
  progress.sent(at(11), at(0), 50);
  expect(progress.deadlineMs).toBe(150);
  expect(progress.takeTimeout(149)).toBe(false);
  expect(progress.takeTimeout(150)).toBe(true);
  expect([progress.state, progress.nextIndex]).toEqual(['probe', 11]);
  progress.sent(at(11), at(0), 150);
  expect(progress.deadlineMs).toBe(350);
  expect(progress.takeTimeout(350)).toBe(true);
  progress.sent(at(11), at(0), 350);
  expect(progress.deadlineMs).toBe(750);
  progress.accepted(at(11), at(11), 400);
  expect(progress.deadlineMs).toBe(Number.POSITIVE_INFINITY);
  progress.sent(at(12), at(0), 400);
  expect(progress.deadlineMs).toBe(500);
});

test('a pause is over when its time is', () => {
  const progress = fresh();
  progress.pauseUntil(30);
  expect([progress.canSend(29), progress.deadlineMs, progress.canSend(30)]).toEqual([false, 30, true]);
});

test('during a catch-up nothing is sent and rejections mean nothing', () => {
  const progress = fresh();
  progress.becomeSnapshot();
  expect([progress.canSend(0), progress.deadlineMs, progress.rejected(at(10), at(0))]).toEqual([
    false,
    Number.POSITIVE_INFINITY,
    false,
  ]);
});

test('caughtUpMs is the latest time at which it had all the leader had then', () => {
  const progress = fresh(10);
  expect(progress.caughtUpMs(at(10), 5)).toBe(Number.NEGATIVE_INFINITY);
  progress.sent(at(10), at(0), 0);
  progress.accepted(at(10), at(20), 100);
  expect(progress.caughtUpMs(at(20), 150)).toBe(0);
  progress.accepted(at(20), at(30), 200);
  expect(progress.caughtUpMs(at(30), 250)).toBe(100);
  progress.accepted(at(30), at(30), 300);
  expect(progress.caughtUpMs(at(30), 999)).toBe(999);
});

test('whatever comes in whatever order, what is confirmed lies before what is next, and the window holds', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('send' as const), value: fc.nat(5) }),
    fc.record({ kind: fc.constant('accept' as const), value: fc.nat(60) }),
    fc.record({ kind: fc.constant('reject' as const), value: fc.nat(60), hint: fc.nat(60) }),
    fc.record({ kind: fc.constantFrom('reset' as const, 'time' as const), value: fc.nat(500) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
      const progress = fresh(10);
      let lastIndex = 10;
      let nowMs = 0;
      let matchBefore = 0;
      for (const next of actions) {
        if (next.kind === 'send') {
          lastIndex += next.value;
          if (progress.canSend(nowMs))
            progress.sent(at(Math.min(progress.nextIndex - 1 + next.value, lastIndex)), at(0), nowMs);
        } else if (next.kind === 'accept') progress.accepted(at(Math.min(next.value, lastIndex)), at(lastIndex), nowMs);
        else if (next.kind === 'reject') progress.rejected(at(next.value), at(next.hint));
        else if (next.kind === 'reset') progress.becomeProbe();
        else {
          nowMs += next.value;
          progress.takeTimeout(nowMs);
        }
        expect(progress.nextIndex).toBeGreaterThan(progress.matchIndex);
        expect(progress.nextIndex).toBeLessThanOrEqual(lastIndex + 1);
        expect(progress.appendsInFlight).toBeLessThanOrEqual(LIMITS.appendsInFlightMax);
        if (next.kind !== 'reject') expect(progress.matchIndex).toBeGreaterThanOrEqual(matchBefore);
        matchBefore = progress.matchIndex;
        if (progress.appendsInFlight > 0) expect(progress.deadlineMs).toBeLessThan(Number.POSITIVE_INFINITY);
      }
    }),
  );
});
