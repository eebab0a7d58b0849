/** What a producer was told, against what a consumer reads: the whole of the promise in one comparison. */

export interface ReadRecord {
  readonly offset: number;
  readonly value: string;
}

export interface Verdict {
  readonly acknowledged: number;
  readonly readBack: number;
  /** Acknowledged values that are not there. */
  readonly lost: readonly string[];
  /** Values that are there more than once. */
  readonly doubled: readonly string[];
  /** Pairs that are there in another order than they were acknowledged in. */
  readonly reordered: number;
  /** Never acknowledged, yet present: allowed, as an unanswered request may have succeeded. */
  readonly unacknowledgedPresent: number;
  /** max − min + 1 = count. */
  readonly offsetsDense: boolean;
}

export class Ledger {
  /** In the order in which they were acknowledged. */
  readonly acknowledged: string[] = [];
  readonly attempted: string[] = [];

  verify(records: readonly ReadRecord[]): Verdict {
    const positions = new Map<string, number>();
    const doubled: string[] = [];
    records.forEach(({ value }, position) => {
      if (positions.has(value)) doubled.push(value);
      else positions.set(value, position);
    });
    const lost = this.acknowledged.filter((value) => !positions.has(value));
    let reordered = 0;
    let previous = -1;
    for (const value of this.acknowledged) {
      const position = positions.get(value);
      if (position === undefined) continue;
      if (position < previous) reordered += 1;
      previous = Math.max(previous, position);
    }
    const known = new Set(this.acknowledged);
    const offsets = records.map(({ offset }) => offset);
    return {
      acknowledged: this.acknowledged.length,
      readBack: this.acknowledged.length - lost.length,
      lost,
      doubled,
      reordered,
      unacknowledgedPresent: [...positions.keys()].filter((value) => !known.has(value)).length,
      offsetsDense: offsets.every((offset, i) => i === 0 || offset === offsets[i - 1]! + 1),
    };
  }
}

/** What is wrong with a verdict, in words; empty if it keeps the promise. */
export function violations(verdict: Verdict): string[] {
  const found: string[] = [];
  if (verdict.lost.length > 0) found.push(`${verdict.lost.length} acknowledged records lost`);
  if (verdict.doubled.length > 0) found.push(`${verdict.doubled.length} records doubled`);
  if (verdict.reordered > 0) found.push(`${verdict.reordered} records reordered`);
  if (!verdict.offsetsDense) found.push('offsets are not dense');
  return found;
}
