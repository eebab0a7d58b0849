/** What must hold for idempotent producers with several requests in flight: their batches are in the log in the order of their sequences, and without holes. */
import { attempted, type Operation, type SendOperation } from '../history/operation.ts';
import type { Observations } from './observations.ts';
import type { Findings } from './violation.ts';

export function checkSequences(
  operations: readonly Operation[],
  observations: Observations,
  readToEnd: ReadonlySet<number>,
  findings: Findings,
): void {
  const producers = new Map<string, SendOperation[]>();
  for (const operation of operations) {
    if (operation.f !== 'send' || operation.invoke.sequence === undefined) continue;
    const [producer] = operation.invoke.sequence;
    const batches = producers.get(producer);
    if (batches === undefined) producers.set(producer, [operation]);
    else batches.push(operation);
  }
  for (const [producer, batches] of producers) {
    batches.sort((a, b) => a.invoke.sequence![1] - b.invoke.sequence![1]);
    let previousOffset = -1;
    let absent: number | undefined;
    for (const batch of batches) {
      const number = batch.invoke.sequence![1];
      const at = batch.completion ?? batch.invoke;
      let isPresent = false;
      let isJudged = true;
      for (const { key, value } of attempted(batch)) {
        isJudged &&= readToEnd.has(key);
        const { sent, mayBeDeletedBelow } = observations.get(key)!;
        const { offsets } = sent.get(value)!;
        for (const offset of offsets) {
          // What was before it may be gone.
          if (offset < mayBeDeletedBelow) absent = undefined;
          isPresent = true;
          if (offset < previousOffset) {
            findings.add(
              'sequence-reordered',
              at,
              `Batch ${number} of producer ${producer} is at offset ${offset} of key ${key}, an earlier one at ${previousOffset}`,
            );
          }
          previousOffset = Math.max(previousOffset, offset);
        }
      }
      if (!isPresent && isJudged) absent ??= number;
      if (isPresent && absent !== undefined) {
        findings.add(
          'sequence-hole',
          at,
          `Batch ${number} of producer ${producer} is in the log, but its batch ${absent} is not`,
        );
        absent = undefined;
      }
    }
  }
}
