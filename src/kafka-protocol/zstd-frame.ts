/**
 * How much zstd data can decompress to, from its frame and block headers alone. Decoders trust a frame's declared size or
 * grow until they are done; this says before a byte is allocated whether the result stays within a limit.
 *
 *     frame: 28 B5 2F FD, descriptor, [window], [dictionary id], [content size], blocks, [checksum u32]
 *     block: u24 (bit 0 last, bits 1-2 type: 0 raw, 1 repeated byte, 2 compressed; bits 3-23 size), data; little-endian
 */
import { ProtocolError } from './protocol-error.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
/** No block decompresses to more than this. */
const BLOCK_BYTES_MAX = 128 * 1024;

/** An upper bound, at most one block per frame above the truth. Throws {@link ProtocolError} if it is not zstd. */
export function zstdOutputBytesMax(input: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  let at = 0;
  let bound = 0;
  const take = (length: number): number => {
    if (length > input.length - at) throw malformed('it ends early');
    at += length;
    return at - length;
  };

  while (at < input.length) {
    const magic = view.getUint32(take(4), true);
    if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE_MAGIC) {
      take(view.getUint32(take(4), true));
      continue;
    }
    if (magic !== MAGIC) throw malformed('no frame');
    const descriptor = view.getUint8(take(1));
    const isSingleSegment = (descriptor & 0x20) !== 0;
    if (!isSingleSegment) take(1);
    take([0, 1, 2, 4][descriptor & 3]!);
    const declared = contentSize(view, descriptor >>> 6, isSingleSegment, take);
    let blocks = 0;
    for (let isLast = false; !isLast; ) {
      const header = take(3);
      const word = view.getUint16(header, true) | (view.getUint8(header + 2) << 16);
      isLast = (word & 1) !== 0;
      const type = (word >>> 1) & 3;
      const size = word >>> 3;
      if (type === 3 || size > BLOCK_BYTES_MAX) throw malformed(`a block of type ${type} and ${size} bytes`);
      take(type === 1 ? 1 : size);
      blocks += type === 2 ? BLOCK_BYTES_MAX : size;
    }
    if ((descriptor & 0x04) !== 0) take(4);
    if (declared !== undefined && declared > blocks) throw malformed(`${declared} bytes declared, ${blocks} possible`);
    bound += declared ?? blocks;
  }
  return bound;
}

function contentSize(
  view: DataView,
  code: number,
  isSingleSegment: boolean,
  take: (length: number) => number,
): number | undefined {
  switch (code) {
    case 0:
      return isSingleSegment ? view.getUint8(take(1)) : undefined;
    case 1:
      return view.getUint16(take(2), true) + 256;
    case 2:
      return view.getUint32(take(4), true);
    default: {
      const at = take(8);
      return view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
    }
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(`Malformed zstd data: ${what}`);
}
