/** What must hold for the contents of partitions, whoever read them: nothing acknowledged is missing, nothing is doubled or foreign, one value an offset, offsets dense. */
import type { ClientEvent } from '../history/history.ts';
import type { KeyObservations, Observations, SentValue } from './observations.ts';
import type { Findings } from './violation.ts';

/** `readToEnd`: keys that were read completely after everything was healed; without that nothing can be said to be missing. */
export function checkContents(observations: Observations, readToEnd: ReadonlySet<number>, findings: Findings): void {
  for (const known of observations.values()) {
    for (const { offset, value, at } of known.conflicts) {
      findings.add(
        'inconsistent-offsets',
        at,
        `Key ${known.key} has ${known.valueAt.get(offset)} and ${value} at offset ${offset}`,
      );
    }
    for (const { offset, value, at } of known.neverSent) {
      findings.add('never-sent', at, `Key ${known.key} has ${value} at offset ${offset}, which nobody sent`);
    }
    for (const { offset, value, at } of known.resurrected) {
      findings.add(
        'resurrected',
        at,
        `Key ${known.key} has ${value} of the deleted topic before it at offset ${offset}`,
      );
    }
    for (const sent of known.sent.values()) checkValue(known, sent, readToEnd.has(known.key), findings);
    if (readToEnd.has(known.key)) checkDense(known, findings);
  }
}

function checkValue(known: KeyObservations, sent: SentValue, complete: boolean, findings: Findings): void {
  const { key } = known;
  const { value, operation, offsets, acknowledgedOffset } = sent;
  const at: ClientEvent = operation.completion ?? operation.invoke;
  if (offsets.size > 1 && operation.invoke.mayDuplicate !== true) {
    findings.add('duplicate', at, `Value ${value} of key ${key} is at offsets ${[...offsets].join(', ')}`);
  }
  if (operation.type === 'fail' && sent.read) {
    findings.add(
      'G1a',
      at,
      `Value ${value} of key ${key} was read at ${[...offsets].join(', ')}, its send failed: ${operation.completion?.error?.join(' ') ?? ''}`,
    );
  }
  if (operation.type !== 'ok' || sent.read || !complete) return;
  if ((acknowledgedOffset ?? 0) < known.mayBeDeletedBelow) return;
  const where = acknowledgedOffset === undefined ? 'at an unknown offset' : `at offset ${acknowledgedOffset}`;
  if (acknowledgedOffset !== undefined && acknowledgedOffset <= known.highestRead) {
    findings.add(
      'lost-write',
      at,
      `Value ${value} of key ${key} was acknowledged ${where} and never read, the highest read is ${known.highestRead}`,
    );
  } else {
    findings.add(
      'unseen',
      at,
      `Value ${value} of key ${key} was acknowledged ${where} and never read, the log ended at ${known.highestRead}`,
    );
  }
}

function checkDense(known: KeyObservations, findings: Findings): void {
  let expected = 0;
  for (const offset of known.order) {
    if (offset > Math.max(expected, known.mayBeDeletedBelow)) {
      findings.add(
        'offset-gap',
        { index: -1, time: 0 },
        `Key ${known.key} has nothing at offsets ${Math.max(expected, known.mayBeDeletedBelow)} to ${offset - 1}`,
      );
    }
    expected = offset + 1;
  }
}
