/**
 * Bytes that are not what the protocol says. They came from the other end of a connection, so the only answer is to close
 * that connection; nothing else of the broker is touched. `path` names the field, e.g. `topics[3].partitions[0].records`.
 */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
  readonly reason: string;
  readonly path: string;

  constructor(reason: string, path = '') {
    super(path === '' ? reason : `${reason} in ${path}`);
    this.reason = reason;
    this.path = path;
  }

  /** The same error seen from one level further out: `name` or `[index]` goes in front of the path. */
  within(segment: string): ProtocolError {
    const separator = this.path === '' || this.path.startsWith('[') ? '' : '.';
    return new ProtocolError(this.reason, `${segment}${separator}${this.path}`);
  }
}
