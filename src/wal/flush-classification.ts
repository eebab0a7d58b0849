/**
 * Owns one decision: is an unfinished flush torn (never acknowledged, may be cut) or damaged (may have been
 * acknowledged, must never be cut silently)? RELIABILITY: torn is proved, never guessed. The proof rests on three facts
 * about the writer: one flush is in flight at a time, a flush is acknowledged only after its sync, and a synced sector
 * does not become unwritten again.
 */

export interface FlushEvidence {
  /**
   * The first sector of the extent: `valid` (its checksum holds), `broken` (written by this flush, checksum fails),
   * `unwritten`, or `damaged` (its stamp is neither).
   */
  readonly header: 'valid' | 'broken' | 'unwritten' | 'damaged';
  /** Are there sectors behind the header that this flush wrote, that it did not write, whose stamp is damaged? */
  readonly fresh: boolean;
  readonly unwritten: boolean;
  readonly damaged: boolean;
  /** Was something written behind this flush, in its segment or a later one? The writer does so only after this one was synced. */
  readonly followed: 'no' | 'here' | 'later';
}

export type FlushVerdict = 'nothing' | 'torn' | 'damage';

/** Decides on an extent whose checksums do not hold. With a header that is not valid, `unwritten` and `damaged` speak of the sectors up to the last fresh one. */
export function classifyUnfinished(evidence: FlushEvidence): FlushVerdict {
  const { header, fresh, unwritten, damaged, followed } = evidence;
  // The ordinary end of a segment looks like this. A synced flush that lost all its sectors does too: the next one's LSN
  // shows the gap.
  if ((header === 'unwritten' || header === 'damaged') && !fresh) return followed === 'here' ? 'damage' : 'nothing';
  if (followed !== 'no') return 'damage';
  if (header === 'broken' || header === 'damaged' || damaged) return 'damage';
  if (header === 'unwritten') return 'torn';
  return unwritten ? 'torn' : 'damage';
}
