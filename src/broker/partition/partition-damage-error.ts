/**
 * Stored bytes of a partition that are not what was made durable: a missing or short file, a batch that fails its checksum, a state file that does not fit its checkpoint.
 *
 * Nothing is cut or skipped because of it: the replica is barred and repaired from its peers (DECISIONS W6), and nothing of the damaged range is ever served.
 */
import { StateDamageError } from '../../raft/state-damage-error.ts';

export class PartitionDamageError extends StateDamageError {
  override name = 'PartitionDamageError';
  /** File that is damaged, relative to the data directory. */
  readonly path: string;

  constructor(path: string, flaw: string) {
    super(`Damage in ${path}: ${flaw}`);
    this.path = path;
  }
}
