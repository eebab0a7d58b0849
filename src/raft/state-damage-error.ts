/**
 * What a state machine rejects with when stored bytes are not what it made durable: a missing or short file, a checksum that does not fit. Not a failure of the broker: the replica's state is given up
 * and comes back from its peers (DECISIONS W6).
 */
export class StateDamageError extends Error {
  override name = 'StateDamageError';
}
