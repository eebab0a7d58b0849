/**
 * Owns memory fit for O_DIRECT. JavaScript cannot ask where a buffer lies, but the memory of a WebAssembly instance always
 * begins on a page, so pieces of it that begin at multiples of 4096 are aligned. Large pieces have memory of their own, which is
 * free again once nobody holds them. Small ones share it, and it is free only with all of them: their users keep them for the life
 * of the broker, or borrow them.
 */
import { assert } from '../std/assert.ts';

const ALIGNMENT_BYTES = 4096;
const WASM_PAGE_BYTES = 65_536;
/** Untouched pages of an arena cost no memory. */
const ARENA_BYTES = 1024 * 1024;
/** A piece of this size is large. */
const LARGE_BYTES = 256 * 1024;
/** Large pieces kept for borrowing, of each size. */
const LARGE_KEPT_MAX = 4;

/** What is used of WebAssembly: the compiler's libraries know its values in browsers only. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (limits: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer } };
};

export class AlignedMemory {
  #arena: ArrayBuffer = new ArrayBuffer(0);
  #used = 0;
  /** Pieces for borrowing, by size (powers of two). */
  readonly #lent = new Map<number, Uint8Array[]>();
  readonly #arenas = new WeakSet<ArrayBufferLike>();

  /** `length` bytes, zeroed; a multiple of 4096. */
  allocate(length: number): Uint8Array {
    assert(length % ALIGNMENT_BYTES === 0, 'Aligned memory comes in multiples of 4096 bytes');
    if (length >= LARGE_BYTES) return new Uint8Array(this.#newArena(length), 0, length);
    if (this.#used + length > this.#arena.byteLength) {
      this.#arena = this.#newArena(ARENA_BYTES);
      this.#used = 0;
    }
    const bytes = new Uint8Array(this.#arena, this.#used, length);
    this.#used += length;
    return bytes;
  }

  /** At least `length` bytes for a short while; {@link giveBack} makes them available again. */
  borrow(length: number): Uint8Array {
    let size = ALIGNMENT_BYTES;
    while (size < length) size *= 2;
    return this.#lent.get(size)?.pop() ?? this.allocate(size);
  }

  giveBack(bytes: Uint8Array): void {
    const list = this.#lent.get(bytes.length);
    if (list === undefined) this.#lent.set(bytes.length, [bytes]);
    else if (bytes.length < LARGE_BYTES || list.length < LARGE_KEPT_MAX) list.push(bytes);
  }

  /** May these bytes be given to a direct file? */
  isAligned(bytes: Uint8Array): boolean {
    return (
      bytes.byteOffset % ALIGNMENT_BYTES === 0 && bytes.length % ALIGNMENT_BYTES === 0 && this.#arenas.has(bytes.buffer)
    );
  }

  #newArena(length: number): ArrayBuffer {
    const pages = Math.ceil(length / WASM_PAGE_BYTES);
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#arenas.add(buffer);
    return buffer;
  }
}
