/**
 * Cuts a stream of bytes into frames: int32 size, then that many bytes. Knows no socket.
 *
 * Promises: a frame that lies in one chunk is a view on it, never a copy. A size that is negative or above the limit is
 * refused before a byte of the frame is kept (a TLS hello on a plaintext port looks like a size of 350 MB). Memory held for
 * an unfinished frame follows what has arrived, not what was announced, up to a first step of {@link RESERVE_BYTES_FIRST}.
 */
import { ProtocolError } from './protocol-error.ts';

/** Kafka's default of `socket.request.max.bytes`. */
export const FRAME_BYTES_MAX_DEFAULT = 100 * 1024 * 1024;
/** An allocation of this size costs address space until it is written to; most frames fit and are then copied once. */
const RESERVE_BYTES_FIRST = 1024 * 1024;
const SIZE_BYTES = 4;

export class FrameParser {
  readonly #frameBytesMax: number;
  /** Bytes of a size field that was cut by the end of a chunk. */
  readonly #sizeField = new Uint8Array(SIZE_BYTES);
  #sizeFieldLength = 0;
  /** Size of the frame that is being gathered; −1 between frames. */
  #frameSize = -1;
  #gathered: Buffer = Buffer.alloc(0);
  #gatheredLength = 0;

  constructor(frameBytesMax = FRAME_BYTES_MAX_DEFAULT) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** Bytes of an unfinished frame that are held until the rest arrives. */
  get pendingBytes(): number {
    return this.#sizeFieldLength + this.#gatheredLength;
  }

  /**
   * Takes the next bytes of the stream and calls `emit` with each frame that is complete by them, in order and without its
   * size field. Throws {@link ProtocolError} on an impossible size; the stream has to be closed then.
   */
  push(chunk: Uint8Array, emit: (frame: Uint8Array) => void): void {
    let at = 0;
    for (;;) {
      if (this.#frameSize === -1) {
        const next = this.#readSize(chunk, at);
        if (next === undefined) return;
        at = next;
      }
      const missing = this.#frameSize - this.#gatheredLength;
      if (chunk.length - at < missing) {
        this.#gather(chunk.subarray(at));
        return;
      }
      const part = chunk.subarray(at, at + missing);
      at += missing;
      const frame = this.#gatheredLength === 0 ? part : this.#gather(part);
      this.#frameSize = -1;
      this.#gathered = Buffer.alloc(0);
      this.#gatheredLength = 0;
      emit(frame);
    }
  }

  /** Reads the size field at `at`; gives the position behind it, or undefined when the chunk ends before. */
  #readSize(chunk: Uint8Array, at: number): number | undefined {
    while (this.#sizeFieldLength < SIZE_BYTES) {
      if (at === chunk.length) return undefined;
      this.#sizeField[this.#sizeFieldLength++] = chunk[at++]!;
    }
    this.#sizeFieldLength = 0;
    const [a, b, c, d] = this.#sizeField;
    const size = (a! << 24) | (b! << 16) | (c! << 8) | d!;
    if (size < 0 || size > this.#frameBytesMax) {
      throw new ProtocolError(`Frame of ${size} bytes, allowed are 0 to ${this.#frameBytesMax}`);
    }
    this.#frameSize = size;
    return at;
  }

  /** Copies `part` behind what is gathered; gives everything gathered. */
  #gather(part: Uint8Array): Uint8Array {
    const length = this.#gatheredLength + part.length;
    if (length > this.#gathered.length) {
      const capacity = Math.min(this.#frameSize, Math.max(length, this.#gathered.length * 2, RESERVE_BYTES_FIRST));
      const larger = Buffer.allocUnsafe(capacity);
      larger.set(this.#gathered.subarray(0, this.#gatheredLength));
      this.#gathered = larger;
    }
    this.#gathered.set(part, this.#gatheredLength);
    this.#gatheredLength = length;
    return this.#gathered.subarray(0, length);
  }
}
