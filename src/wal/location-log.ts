/**
 * Owns where the entries of one replica's log are: a dense sequence of (segment sequence, frame position, payload bytes)
 * by log index, in chunks of typed memory so that neither growth nor garbage collection depends on its length
 * (DECISIONS P9). A location with sequence 0 is a hole.
 */
import { assert } from '../std/assert.ts';

const CHUNK_ENTRIES = 512;
const FIRST_CHUNK_ENTRIES = 8;
const FIELDS = 3;

export class LocationLog {
  #chunks: Uint32Array[] = [];
  /** Index of the first slot of the first chunk. */
  #origin = 1;
  #first = 1;
  #next = 1;

  /** First index held; {@link next} if there are none. */
  get first(): number {
    return this.#first;
  }

  /** The index behind the last one held. */
  get next(): number {
    return this.#next;
  }

  /** Empties the log; the next index will be `next`. */
  reset(next: number): void {
    this.#chunks = [];
    this.#origin = next;
    this.#first = next;
    this.#next = next;
  }

  push(sequence: number, position: number, payloadBytes: number): void {
    const slot = this.#next - this.#origin;
    const chunkNumber = Math.floor(slot / CHUNK_ENTRIES);
    let chunk = this.#chunks[chunkNumber];
    const within = slot % CHUNK_ENTRIES;
    if (chunk === undefined || within * FIELDS === chunk.length) chunk = this.#grow(chunkNumber, chunk);
    const at = within * FIELDS;
    chunk[at] = sequence;
    chunk[at + 1] = position;
    chunk[at + 2] = payloadBytes;
    this.#next++;
  }

  sequenceAt(index: number): number {
    return this.#field(index, 0);
  }

  positionAt(index: number): number {
    return this.#field(index, 1);
  }

  payloadBytesAt(index: number): number {
    return this.#field(index, 2);
  }

  /** Gives an entry that is held another place. */
  move(index: number, sequence: number, position: number, payloadBytes: number): void {
    assert(index >= this.#first && index < this.#next, 'Only an entry that is held can move');
    const slot = index - this.#origin;
    const chunk = this.#chunks[Math.floor(slot / CHUNK_ENTRIES)]!;
    const at = (slot % CHUNK_ENTRIES) * FIELDS;
    chunk[at] = sequence;
    chunk[at + 1] = position;
    chunk[at + 2] = payloadBytes;
  }

  /** Drops all entries from `index` on. */
  truncate(index: number): void {
    assert(index >= this.#first && index <= this.#next, 'A log is cut inside itself');
    this.#next = index;
    this.#chunks.length = Math.ceil((index - this.#origin) / CHUNK_ENTRIES);
  }

  /** Drops all entries before `index`. */
  dropBefore(index: number): void {
    if (index <= this.#first) return;
    assert(index <= this.#next, 'Only entries that are held can be dropped');
    this.#first = index;
    const whole = Math.floor((index - this.#origin) / CHUNK_ENTRIES);
    if (whole === 0) return;
    this.#chunks.splice(0, whole);
    this.#origin += whole * CHUNK_ENTRIES;
  }

  #field(index: number, field: number): number {
    assert(index >= this.#first && index < this.#next, 'The index must be inside the log');
    const slot = index - this.#origin;
    return this.#chunks[Math.floor(slot / CHUNK_ENTRIES)]![(slot % CHUNK_ENTRIES) * FIELDS + field]!;
  }

  /** Small logs, of which there are thousands, begin with a small chunk that doubles until it is a whole one. */
  #grow(chunkNumber: number, chunk: Uint32Array | undefined): Uint32Array {
    let grown: Uint32Array;
    if (chunk === undefined)
      grown = new Uint32Array((chunkNumber === 0 ? FIRST_CHUNK_ENTRIES : CHUNK_ENTRIES) * FIELDS);
    else {
      grown = new Uint32Array(chunk.length * 2);
      grown.set(chunk);
    }
    this.#chunks[chunkNumber] = grown;
    return grown;
  }
}
