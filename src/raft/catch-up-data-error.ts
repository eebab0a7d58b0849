/**
 * What a state machine rejects a catch-up with whose content does not hold: a piece that fails its checksum, a gap, an early end. Nothing of it was believed and the state from before goes on; the
 * leader tries again after a pause.
 */
export class CatchUpDataError extends Error {
  override name = 'CatchUpDataError';
}
