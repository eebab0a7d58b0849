/**
 * Decompression of what producers send, bounded in output: a megabyte from a client must not become gigabytes here.
 *
 * Promises: {@link decompress} throws {@link ProtocolError} and nothing else for bytes that are damaged, hostile or would
 * give more than the limit, and never allocates more than the limit. Brokers store batches as they come and only look
 * inside where they must, so there is no compression here.
 */
import { createRequire } from 'node:module';
import * as zlib from 'node:zlib';
import { decompressLz4 } from './lz4.ts';
import { ProtocolError } from './protocol-error.ts';
import { decompressSnappy } from './snappy.ts';
import { zstdOutputBytesMax } from './zstd-frame.ts';

/** Kafka's numbers of the compression codecs. */
export const Codec = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;
export type Codec = (typeof Codec)[keyof typeof Codec];

type Decompress = (input: Uint8Array, outputBytesMax: number) => Uint8Array;

const zstd = loadZstd();

/** Whether this process can look inside of batches with codec `codec`. */
export function canDecompress(codec: number): boolean {
  return codec === Codec.zstd ? zstd !== undefined : codec >= Codec.none && codec <= Codec.lz4;
}

/** The uncompressed form of `input`, at most `outputBytesMax` bytes. */
export function decompress(codec: number, input: Uint8Array, outputBytesMax: number): Uint8Array {
  switch (codec) {
    case Codec.none:
      if (input.length > outputBytesMax) throw new ProtocolError(`More than ${outputBytesMax} bytes of records`);
      return input;
    case Codec.gzip:
      return guarded(() => zlib.gunzipSync(input, { maxOutputLength: outputBytesMax }));
    case Codec.snappy:
      return decompressSnappy(input, outputBytesMax);
    case Codec.lz4:
      return decompressLz4(input, outputBytesMax);
    case Codec.zstd:
      return decompressZstd(input, outputBytesMax);
    default:
      throw new ProtocolError(`Unknown compression codec ${codec}`);
  }
}

function decompressZstd(input: Uint8Array, outputBytesMax: number): Uint8Array {
  if (zstd === undefined) throw new ProtocolError('Compression codec zstd is not available on this machine');
  const decompressFrame = zstd;
  const bound = zstdOutputBytesMax(input);
  if (bound > outputBytesMax)
    throw new ProtocolError(`Decompression may give ${bound} bytes, allowed are ${outputBytesMax}`);
  return guarded(() => decompressFrame(input, outputBytesMax));
}

/** Turns the errors of a library that was given foreign bytes into ours. */
function guarded(action: () => Uint8Array): Uint8Array {
  try {
    return action();
  } catch (error) {
    throw new ProtocolError(`Decompression failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Node has zstd from 22.15 on; before that it comes from an optional package with binaries for the usual platforms. */
function loadZstd(): Decompress | undefined {
  const builtIn = (zlib as { zstdDecompressSync?: (input: Uint8Array, options: zlib.ZlibOptions) => Uint8Array })
    .zstdDecompressSync;
  if (builtIn !== undefined) return (input, outputBytesMax) => builtIn(input, { maxOutputLength: outputBytesMax });
  try {
    const module: typeof import('@cloudpss/zstd/napi') = createRequire(import.meta.url)('@cloudpss/zstd/napi');
    return (input) => module.decompress(input);
  } catch {
    return undefined;
  }
}
