/** Of Node 20; later versions have larger ones. */
const POOL_BYTES = 8192;

/**
 * Small buffers are cut out of pools. How large those are differs between versions of Node, and how much of one is used up depends on what this process did before; caches count the pools that they keep alive. So every run
 * of a seed begins with a new pool of one size.
 */
export function freshBufferPool(): void {
  Buffer.poolSize = POOL_BYTES;
  for (;;) {
    const { byteOffset, buffer } = Buffer.allocUnsafe(1);
    if (byteOffset === 0 && buffer.byteLength === POOL_BYTES) return;
  }
}
