/**
 * Owns the question "does anybody listen there?". A plain connection attempt answers it in well under a millisecond when the
 * peer's process is dead, which is what makes a dead broker known as dead at once (DECISIONS L4).
 */
import { connect } from 'node:net';
import type { TimerHandle, Timers } from '../../std/environment.ts';

/** unreachable: no answer in time, or an error that says nothing about the process. */
export type ProbeResult = 'listening' | 'refused' | 'unreachable';

/** Calls back once, never synchronously. The handle stops it: then it never calls back. */
export function probePort(
  address: { readonly host: string; readonly port: number },
  timers: Timers,
  timeoutMs: number,
  done: (result: ProbeResult) => void,
): TimerHandle {
  const socket = connect({ host: address.host, port: address.port });
  const timer = timers.after(timeoutMs, () => settle('unreachable'));
  let settled = false;
  const settle = (result: ProbeResult | undefined): void => {
    if (settled) return;
    settled = true;
    timer.cancel();
    socket.destroy();
    if (result !== undefined) done(result);
  };
  socket.on('connect', () => settle('listening'));
  socket.on('error', (error: NodeJS.ErrnoException) => settle(isRefusal(error) ? 'refused' : 'unreachable'));
  return { cancel: () => settle(undefined) };
}

/** A name with several addresses fails with the errors of all of them. */
function isRefusal(error: NodeJS.ErrnoException): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isRefusal);
  return error.code === 'ECONNREFUSED';
}
