/**
 * How fast things are done in a run. Most seeds are short and dense; some have a calm stretch of many minutes, in which clients do little and faults are rare but last: only then do the limits take
 * effect that are longer than a dense run (time-outs of sessions, stalls of catch-ups, checkpoints by age, retention). A calm minute costs little more than the heartbeats in it.
 */
export class Tempo {
  /** Multiplies the pauses of clients and the time between faults. */
  scale = 1;

  /** Multiplies how long faults last, and the pauses before another attempt at what did not work. */
  get faultScale(): number {
    return Math.min(this.scale, 8);
  }
}
