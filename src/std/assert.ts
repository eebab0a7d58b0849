/** A broken invariant. Nothing catches it on purpose: the broker stops rather than go on with a state it does not understand. */
export class InvariantError extends Error {
  override name = 'InvariantError';
}

/** States what must be true here, in production too. Throws {@link InvariantError} with `message` when it is not. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** Marks a branch that the types prove unreachable; reached anyway (bytes from elsewhere), it throws. */
export function unreachable(value: never, what: string): never {
  throw new InvariantError(`Unexpected ${what}: ${JSON.stringify(value)}`);
}
