/**
 * Writes the history of a run while it happens: one line an event, in the order in which they happened, with times of one monotonic clock; fsynced at the end. Hands out process numbers, so
 * that one with an unknown outcome is never used again.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import type { Attributes, EventType, HistoryEvent, OperationName, OperationValues } from './history.ts';

const FLUSH_LINES = 500;

export class Recorder {
  readonly events: HistoryEvent[] = [];
  readonly #file: number;
  readonly #beganNs = process.hrtime.bigint();
  #lines: string[] = [];
  #nextProcess = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
  }

  /** Nanoseconds since the run began. */
  now(): number {
    return Number(process.hrtime.bigint() - this.#beganNs);
  }

  newProcess(): number {
    return this.#nextProcess++;
  }

  client<F extends OperationName>(
    process: number,
    type: EventType,
    f: F,
    value: OperationValues[F],
    attributes: Attributes = {},
  ): void {
    this.#push({ index: this.events.length, time: this.now(), process, type, f, value, ...attributes } as HistoryEvent);
  }

  nemesis(f: string, value: unknown): void {
    this.#push({ index: this.events.length, time: this.now(), process: 'nemesis', type: 'info', f, value });
  }

  close(): void {
    this.#flush();
    fsyncSync(this.#file);
    closeSync(this.#file);
  }

  #push(event: HistoryEvent): void {
    this.events.push(event);
    this.#lines.push(JSON.stringify(event));
    if (this.#lines.length >= FLUSH_LINES) this.#flush();
  }

  #flush(): void {
    if (this.#lines.length > 0) writeSync(this.#file, `${this.#lines.join('\n')}\n`);
    this.#lines = [];
  }
}
