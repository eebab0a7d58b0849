/**
 * How V8 collects garbage in a broker.
 *
 * A broker's garbage is nearly all record bytes: buffers outside of V8's heap, which is small (some 20 MB) and hardly changes. V8 counts those buffers as growth of the heap, so under load it
 * would mark and sweep the whole heap for every 20 MB that pass through; measured, that was two thirds of a broker's CPU time. The growth that is allowed before it does so is raised here; V8's own limit of
 * 64 MB of buffers between two collections stays, and bounds the memory.
 */
import { setFlagsFromString } from 'node:v8';

/** The heap may grow to six times its size after the last collection. */
const HEAP_GROWING_PERCENT = 500;

/** To be called once, before there is load. */
export function tuneGarbageCollector(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
}
