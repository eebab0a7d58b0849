/** Why a command did not do what it says; the message is the sentence to print. */
export class ClusterError extends Error {
  override name = 'ClusterError';
}
