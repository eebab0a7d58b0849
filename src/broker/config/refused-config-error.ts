/** A configuration value that is not allowed; the message is a clause that says why. Expected: turned into INVALID_CONFIG or into the line that stops a starting broker. */
export class RefusedConfigError extends Error {
  override name = 'RefusedConfigError';
}
