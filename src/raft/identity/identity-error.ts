/** Why a broker must not start on this data directory, or with these settings. The message is the line to print. */
export class IdentityError extends Error {
  override name = 'IdentityError';
}
