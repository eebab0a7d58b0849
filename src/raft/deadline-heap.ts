/**
 * The driver's one place for deadlines (DECISIONS L2): a binary heap whose items know their place, so that moving a deadline costs no garbage and an idle
 * item costs nothing. Items with deadline Infinity are not in the heap.
 */
import { assert } from '../std/assert.ts';

/** Something with a deadline. `heapIndex` belongs to the heap; start with −1. */
export interface Deadline {
  deadlineMs: number;
  heapIndex: number;
  /** Called once the deadline passed; the item is out of the heap then. */
  due(nowMs: number): void;
}

export class DeadlineHeap {
  readonly #items: Deadline[] = [];
  /** Ties are broken by the order in the heap, which depends on nothing but the calls made. */
  get size(): number {
    return this.#items.length;
  }

  /** Earliest deadline, Infinity if there is none. */
  get nextMs(): number {
    return this.#items[0]?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** Sets, moves or (Infinity) removes the deadline of `item`. */
  schedule(item: Deadline, deadlineMs: number): void {
    assert(!Number.isNaN(deadlineMs), 'A deadline must be a number');
    if (item.heapIndex < 0) {
      item.deadlineMs = deadlineMs;
      if (deadlineMs === Number.POSITIVE_INFINITY) return;
      item.heapIndex = this.#items.length;
      this.#items.push(item);
      this.#up(item);
      return;
    }
    const earlier = deadlineMs < item.deadlineMs;
    item.deadlineMs = deadlineMs;
    if (deadlineMs === Number.POSITIVE_INFINITY) this.#remove(item);
    else if (earlier) this.#up(item);
    else this.#down(item);
  }

  cancel(item: Deadline): void {
    this.schedule(item, Number.POSITIVE_INFINITY);
  }

  /** Calls everything that is due at `nowMs`, earliest first. */
  fire(nowMs: number): void {
    for (;;) {
      const first = this.#items[0];
      if (first === undefined || first.deadlineMs > nowMs) return;
      this.#remove(first);
      first.deadlineMs = Number.POSITIVE_INFINITY;
      first.due(nowMs);
    }
  }

  #remove(item: Deadline): void {
    const items = this.#items;
    const index = item.heapIndex;
    assert(items[index] === item, 'An item does not know its place in the heap');
    item.heapIndex = -1;
    const last = items.pop()!;
    if (last === item) return;
    items[index] = last;
    last.heapIndex = index;
    this.#up(last);
    this.#down(last);
  }

  #up(item: Deadline): void {
    const items = this.#items;
    let child = item.heapIndex;
    while (child > 0) {
      const above = (child - 1) >> 1;
      const other = items[above]!;
      if (other.deadlineMs <= item.deadlineMs) break;
      items[child] = other;
      other.heapIndex = child;
      child = above;
    }
    items[child] = item;
    item.heapIndex = child;
  }

  #down(item: Deadline): void {
    const items = this.#items;
    let above = item.heapIndex;
    for (;;) {
      let child = 2 * above + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1]!.deadlineMs < items[child]!.deadlineMs) child++;
      const other = items[child]!;
      if (other.deadlineMs >= item.deadlineMs) break;
      items[above] = other;
      other.heapIndex = above;
      above = child;
    }
    items[above] = item;
    item.heapIndex = above;
  }
}

/** A callback with a deadline in driver time. */
export class DeadlineTimer implements Deadline {
  deadlineMs = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  readonly #callback: (nowMs: number) => void;

  constructor(callback: (nowMs: number) => void) {
    this.#callback = callback;
  }

  due(nowMs: number): void {
    this.#callback(nowMs);
  }
}
