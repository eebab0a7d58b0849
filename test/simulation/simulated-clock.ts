/**
 * Owns virtual time. Everything that happens in a simulation is an event in one queue, ordered by (time, order of
 * scheduling); one event runs at a time and all promise jobs it caused are drained before the next one (DECISIONS,
 * simulator seams). Nothing here waits for real time, so a simulated hour costs what its events cost.
 */
import { assert } from '../../src/std/assert.ts';
import type { Clock, TimerHandle, Timers } from '../../src/std/environment.ts';

/** Is its own handle, and knows the machine that it belongs to: millions of them are made. */
class ScheduledEvent implements TimerHandle {
  readonly atMs: number;
  readonly order: number;
  /** Undefined once canceled. */
  callback: (() => void) | undefined;
  readonly machine: SimulatedMachineTime | undefined;

  constructor(atMs: number, order: number, callback: () => void, machine: SimulatedMachineTime | undefined) {
    this.atMs = atMs;
    this.order = order;
    this.callback = callback;
    this.machine = machine;
  }

  cancel(): void {
    this.callback = undefined;
  }
}

/** How many events are queued in one go; Node drains promise jobs between two immediates, so a burst needs no loop turn per event. */
const BURST_EVENTS = 64;

export class SimulatedTime implements Clock, Timers {
  #nowMs = 0;
  #order = 0;
  readonly #heap: ScheduledEvent[] = [];
  #running = false;
  /** Events that ran so far; two runs of one seed must agree on it. */
  eventsRun = 0;
  readonly #wallStartMs: number;

  constructor(options: { wallStartMs?: number } = {}) {
    this.#wallStartMs = options.wallStartMs ?? 1_700_000_000_000;
  }

  get now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return Math.floor(this.#wallStartMs + this.#nowMs);
  }

  /** With a `machine`, as that sees it: later while it is paused, never once it is killed. */
  after(delayMs: number, callback: () => void, machine?: SimulatedMachineTime): TimerHandle {
    assert(delayMs >= 0, 'A timer cannot run in the past');
    const event = new ScheduledEvent(this.#nowMs + delayMs, this.#order++, callback, machine);
    this.#push(event);
    return event;
  }

  soon(callback: () => void): void {
    this.after(0, callback);
  }

  /** A process's view of this time, which can be paused and killed without touching the others. */
  machine(options: { wallOffsetMs?: number; monotonicOffsetMs?: number; rate?: number } = {}): SimulatedMachineTime {
    return new SimulatedMachineTime(this, options);
  }

  /** Runs all events up to and including `untilMs`; the clock then shows `untilMs`. */
  async runUntil(untilMs: number): Promise<void> {
    await this.#run(() => {
      const next = this.#peek();
      return next === undefined || next.atMs > untilMs;
    });
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  async runFor(durationMs: number): Promise<void> {
    await this.runUntil(this.#nowMs + durationMs);
  }

  /** Runs events until `condition` holds after one of them. Throws if the queue runs dry or virtual time passes `limitMs` first. */
  async runUntilTrue(condition: () => boolean, limitMs = 3_600_000): Promise<void> {
    const endMs = this.#nowMs + limitMs;
    await this.#run(() => {
      if (condition()) return true;
      const next = this.#peek();
      if (next === undefined) throw new Error('The simulation has no events left and its condition does not hold');
      if (next.atMs > endMs) throw new Error(`The condition of the simulation did not hold within ${limitMs} ms`);
      return false;
    });
  }

  /** Runs events until `promise` settles and gives its result. */
  async settle<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await this.runUntilTrue(() => settled, limitMs);
    return promise;
  }

  /** Runs until no event is left: only for things that do not rearm timers forever. */
  async drain(): Promise<void> {
    await this.#run(() => this.#peek() === undefined);
  }

  #run(finished: () => boolean): Promise<void> {
    assert(!this.#running, 'Virtual time is already running');
    this.#running = true;
    return new Promise<void>((resolve, reject) => {
      let ended = false;
      const end = (settle: () => void): void => {
        ended = true;
        this.#running = false;
        settle();
      };
      const burst = (): void => {
        for (let i = 0; i < BURST_EVENTS; i++) setImmediate(runOne);
        setImmediate(() => {
          if (!ended) burst();
        });
      };
      const runOne = (): void => {
        if (ended) return;
        try {
          if (finished()) end(resolve);
          else this.#runNext();
        } catch (error) {
          end(() => reject(error));
        }
      };
      burst();
    });
  }

  #runNext(): void {
    const event = this.#pop();
    if (event === undefined || event.callback === undefined) return;
    assert(event.atMs >= this.#nowMs, 'Virtual time must not go back');
    this.#nowMs = event.atMs;
    this.eventsRun++;
    if (event.machine === undefined) event.callback();
    else event.machine.run(event);
  }

  /** The next live event; canceled ones are dropped on the way. */
  #peek(): ScheduledEvent | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.callback !== undefined) return first;
      this.#pop();
    }
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap;
    let child = heap.length;
    heap.push(event);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[child] = heap[parent]!;
      child = parent;
    }
    heap[child] = event;
  }

  #pop(): ScheduledEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[parent] = heap[child]!;
      parent = child;
    }
    heap[parent] = last;
    return first;
  }
}

function isBefore(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/**
 * Clock and timers of one simulated process. Killed, none of its callbacks ever runs again; paused (SIGSTOP), they wait
 * and run in order on resume, while its clocks go on, as they do on a real machine.
 */
export class SimulatedMachineTime implements Clock, Timers {
  readonly #time: SimulatedTime;
  readonly #monotonicOffsetMs: number;
  /** How fast its clocks run, and so how early its timers ring; 1 is right. */
  readonly #rate: number;
  /** Added to the wall clock; a test may make it jump at any time. */
  wallOffsetMs: number;
  #state: 'running' | 'paused' | 'killed' = 'running';
  /** What came while it was paused, and since then until all of that has run: a stream's bytes stay in order. */
  readonly #held: (() => void)[] = [];
  #catchingUp = false;

  constructor(time: SimulatedTime, options: { wallOffsetMs?: number; monotonicOffsetMs?: number; rate?: number }) {
    this.#time = time;
    this.wallOffsetMs = options.wallOffsetMs ?? 0;
    this.#monotonicOffsetMs = options.monotonicOffsetMs ?? 0;
    this.#rate = options.rate ?? 1;
  }

  get state(): 'running' | 'paused' | 'killed' {
    return this.#state;
  }

  monotonicMs(): number {
    return this.#time.monotonicMs() * this.#rate + this.#monotonicOffsetMs;
  }

  wallMs(): number {
    return this.#time.wallMs() + Math.floor((this.#rate - 1) * this.#time.now) + this.wallOffsetMs;
  }

  after(delayMs: number, callback: () => void): TimerHandle {
    return this.#time.after(delayMs / this.#rate, callback, this);
  }

  soon(callback: () => void): void {
    this.after(0, callback);
  }

  /** Runs something that came from outside (a disk completion, a message) as this process would see it: now, on resume, or never. */
  deliver(callback: () => void): void {
    if (this.#state === 'killed') return;
    if (this.#state === 'paused' || this.#catchingUp) this.#held.push(callback);
    else callback();
  }

  /** The time of an event of this process has come. One that is held can still be canceled. */
  run(event: ScheduledEvent): void {
    if (this.#state === 'running' && !this.#catchingUp) event.callback?.();
    else this.deliver(() => event.callback?.());
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    if (this.#catchingUp || this.#held.length === 0) return;
    this.#catchingUp = true;
    this.#time.soon(() => this.#runHeld());
  }

  /** One event each, so that promise jobs are drained between them. */
  #runHeld(): void {
    const next = this.#state === 'running' ? this.#held.shift() : undefined;
    if (next === undefined) {
      this.#catchingUp = false;
      return;
    }
    next();
    this.#time.soon(() => this.#runHeld());
  }

  kill(): void {
    this.#state = 'killed';
    this.#held.length = 0;
  }
}
