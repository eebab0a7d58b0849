/** The effects of one step while it runs. Reused by every step of one core; what it hands out is the receiver's, and empty lists are one shared constant. */
import type { LogIndex, ReplicaId, Term } from '../../std/brands.ts';
import type { Entry, HardState } from '../../wal/replica-storage.ts';
import type { ConfirmedRead, OutboundMessage } from './types.ts';

const NOTHING: readonly never[] = Object.freeze([]);

export class Outbox {
  hardState: HardState | undefined;
  truncateFrom: LogIndex | undefined;
  append: Entry[] | undefined;
  #send: OutboundMessage[] | undefined;
  #reads: ConfirmedRead[] | undefined;
  #needSnapshot: ReplicaId[] | undefined;
  membershipChanged = false;
  proposed: { firstIndex: LogIndex; term: Term; count: number } | undefined;
  refusal: string | undefined;

  get hasWrites(): boolean {
    return this.hardState !== undefined || this.truncateFrom !== undefined || this.append !== undefined;
  }

  send(message: OutboundMessage): void {
    if (this.#send === undefined) this.#send = [message];
    else this.#send.push(message);
  }

  addEntry(entry: Entry): void {
    if (this.append === undefined) this.append = [entry];
    else this.append.push(entry);
  }

  addRead(read: ConfirmedRead): void {
    if (this.#reads === undefined) this.#reads = [read];
    else this.#reads.push(read);
  }

  addNeedSnapshot(replica: ReplicaId): void {
    if (this.#needSnapshot === undefined) this.#needSnapshot = [replica];
    else this.#needSnapshot.push(replica);
  }

  get appendedEntries(): readonly Entry[] {
    return this.append ?? NOTHING;
  }

  get messages(): readonly OutboundMessage[] {
    return this.#send ?? NOTHING;
  }

  get reads(): readonly ConfirmedRead[] {
    return this.#reads ?? NOTHING;
  }

  get needSnapshot(): readonly ReplicaId[] {
    return this.#needSnapshot ?? NOTHING;
  }

  clear(): void {
    this.hardState = undefined;
    this.truncateFrom = undefined;
    this.append = undefined;
    this.#send = undefined;
    this.#reads = undefined;
    this.#needSnapshot = undefined;
    this.membershipChanged = false;
    this.proposed = undefined;
    this.refusal = undefined;
  }
}
