/** The history of a simulated run, in memory and on virtual time; judged by the same checker as that of real brokers. Keys stand for a partition of one incarnation of a topic. */
import type {
  Attributes,
  EventType,
  HistoryEvent,
  OperationName,
  OperationValues,
} from '../../chaos/history/history.ts';
import type { SimulatedTime } from '../simulated-clock.ts';

export interface Key {
  readonly key: number;
  readonly topic: string;
  readonly partition: number;
  /** Where a name may mean another topic tomorrow, this one is meant. */
  readonly topicId: string | undefined;
}

export class SimulatedHistory {
  readonly events: HistoryEvent[] = [];
  readonly #time: SimulatedTime;
  readonly #keys: Key[] = [];
  #nextProcess = 0;
  #nextValue = 0;

  constructor(time: SimulatedTime) {
    this.#time = time;
  }

  newKey(topic: string, partition: number, topicId?: string): Key {
    const key = { key: this.#keys.length, topic, partition, topicId };
    this.#keys.push(key);
    return key;
  }

  newProcess(): number {
    return this.#nextProcess++;
  }

  /** Never the same again, whatever the key. */
  newValue(): number {
    return this.#nextValue++;
  }

  client<F extends OperationName>(
    process: number,
    type: EventType,
    f: F,
    value: OperationValues[F],
    attributes: Attributes = {},
  ): void {
    this.events.push({
      index: this.events.length,
      time: Math.round(this.#time.now * 1e6),
      process,
      type,
      f,
      value,
      ...attributes,
    } as HistoryEvent);
  }

  nemesis(f: string, value: unknown): void {
    const time = Math.round(this.#time.now * 1e6);
    this.events.push({ index: this.events.length, time, process: 'nemesis', type: 'info', f, value });
  }
}

/** Processes for operations that overlap; one whose operation has an outcome is used again. */
export class ProcessPool {
  readonly #history: SimulatedHistory;
  readonly #idle: number[] = [];

  constructor(history: SimulatedHistory) {
    this.#history = history;
  }

  take(): number {
    return this.#idle.pop() ?? this.#history.newProcess();
  }

  /** Not after an unknown outcome. */
  giveBack(process: number): void {
    this.#idle.push(process);
  }
}
