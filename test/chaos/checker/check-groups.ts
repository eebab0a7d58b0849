/** What must hold for consumer groups: a committed offset is a register that only grows (all committers of the workloads commit growing positions), and no record is left out. */
import type { ClientEvent } from '../history/history.ts';
import { type Operation, polled } from '../history/operation.ts';
import { KnownMaximum } from './check-order.ts';
import type { Observations, TopicLives } from './observations.ts';
import type { Findings } from './violation.ts';

const NONE = -1;

export function checkGroups(
  operations: readonly Operation[],
  observations: Observations,
  findings: Findings,
  lives: TopicLives,
): void {
  const registers = readRegisters(operations);
  checkRegisters(operations, registers, findings, lives);
  checkRewinds(operations, registers, findings);
  checkSkips(operations, observations, findings);
}

interface Register {
  /** Known to be committed: from acknowledged commits and from reads. */
  readonly known: KnownMaximum;
  /** Offset → index of the first invocation that tried to commit it. */
  readonly tried: Map<number, number>;
  /** Offsets of commits with an unknown outcome: each may take effect at any later time, and take the register back. */
  readonly unknown: Set<number>;
}

function readRegisters(operations: readonly Operation[]): Map<string, Register> {
  const registers = new Map<string, Register>();
  for (const operation of operations) {
    if (operation.f !== 'commit' && operation.f !== 'committed') continue;
    const { group } = operation.invoke.value;
    for (const [key, offset] of Object.entries((operation.completion ?? operation.invoke).value.offsets)) {
      const id = `${group}/${key}`;
      let register = registers.get(id);
      if (register === undefined) {
        register = { known: new KnownMaximum(), tried: new Map(), unknown: new Set() };
        registers.set(id, register);
      }
      if (operation.f === 'commit' && operation.type !== 'fail' && !register.tried.has(offset)) {
        register.tried.set(offset, operation.invoke.index);
      }
      if (operation.f === 'commit' && operation.type === 'info') register.unknown.add(offset);
      if (operation.type === 'ok') register.known.add(operation.completion!, offset);
    }
  }
  for (const { known } of registers.values()) known.seal();
  return registers;
}

function checkRegisters(
  operations: readonly Operation[],
  registers: Map<string, Register>,
  findings: Findings,
  { before: predecessor, deletedAt }: TopicLives,
): void {
  /** A commit names a topic by its name: one with an unknown outcome may be done for the topic that was made anew. */
  const isLeftOver = (group: string, key: number, offset: number): boolean => {
    for (let old = predecessor.get(key); old !== undefined; old = predecessor.get(old)) {
      if (registers.get(`${group}/${old}`)?.unknown.has(offset) === true) return true;
    }
    return false;
  };
  for (const operation of operations) {
    if (operation.f !== 'committed' || operation.type !== 'ok') continue;
    const { group, offsets } = operation.completion!.value;
    for (const [key, offset] of Object.entries(offsets)) {
      const { known, tried, unknown } = registers.get(`${group}/${key}`)!;
      const before = known.before(operation.invoke);
      const isGone =
        offset === NONE && (deletedAt.get(Number(key)) ?? Number.POSITIVE_INFINITY) < operation.completion!.index;
      if (offset < before && !unknown.has(offset) && !isGone) {
        findings.add(
          'committed-offset-back',
          operation.completion!,
          `Group ${group} has ${offset} committed for key ${key}, but ${before} was known before`,
        );
      }
      const isTried = (tried.get(offset) ?? Number.POSITIVE_INFINITY) < operation.completion!.index;
      if (offset !== NONE && !isTried && !isLeftOver(group, Number(key), offset)) {
        findings.add(
          'committed-offset-phantom',
          operation.completion!,
          `Group ${group} has ${offset} committed for key ${key}, which nobody had tried`,
        );
      }
    }
  }
}

/** The first poll after an assignment begins at or above what was committed before the assignment. */
function checkRewinds(operations: readonly Operation[], registers: Map<string, Register>, findings: Findings): void {
  const assigned = new Map<number, { at: ClientEvent; keys: Set<number> }>();
  for (const operation of operations) {
    if (operation.f === 'assign' && operation.invoke.group !== undefined) {
      assigned.set(operation.process, { at: operation.invoke, keys: new Set(operation.invoke.value) });
    }
    if (operation.f !== 'poll' || operation.invoke.group === undefined) continue;
    const assignment = assigned.get(operation.process);
    if (assignment === undefined) continue;
    for (const { key, records } of polled(operation)) {
      const first = records[0];
      if (first === undefined || !assignment.keys.delete(key)) continue;
      const register = registers.get(`${operation.invoke.group}/${key}`);
      const committed = register?.known.before(assignment.at) ?? NONE;
      if (first[0] < committed && register?.unknown.has(first[0]) !== true) {
        findings.add(
          'group-rewind',
          operation.completion!,
          `Group ${operation.invoke.group} began key ${key} again at ${first[0]}, but ${committed} had been committed`,
        );
      }
    }
  }
}

/** Below the highest offset that a group polled, it polled every record. */
function checkSkips(operations: readonly Operation[], observations: Observations, findings: Findings): void {
  const polledBy = new Map<string, { group: string; key: number; offsets: Set<number>; last: ClientEvent }>();
  for (const operation of operations) {
    if (operation.f !== 'poll' || operation.invoke.group === undefined || operation.completion === undefined) continue;
    const { group } = operation.invoke;
    for (const { key, records } of polled(operation)) {
      const id = `${group}/${key}`;
      let entry = polledBy.get(id);
      if (entry === undefined) {
        entry = { group, key, offsets: new Set(), last: operation.completion };
        polledBy.set(id, entry);
      }
      entry.last = operation.completion;
      for (const [offset] of records) entry.offsets.add(offset);
    }
  }
  for (const { group, key, offsets, last } of polledBy.values()) {
    let highest = -1;
    for (const offset of offsets) highest = Math.max(highest, offset);
    const { order, mayBeDeletedBelow } = observations.get(key)!;
    for (const offset of order) {
      if (offset >= highest) break;
      if (offsets.has(offset) || offset < mayBeDeletedBelow) continue;
      findings.add('group-skip', last, `Group ${group} polled key ${key} up to ${highest} without ${offset}`);
    }
  }
}
