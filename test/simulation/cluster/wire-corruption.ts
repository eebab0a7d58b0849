/** A bit flips behind TCP's back. The checksum of the message must tell; the link then ends, as the transport's does. */
import { seal, unseal } from '../../../src/raft/grpc/message-checksum.ts';
import type { BrokerId } from '../../../src/std/brands.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedTime } from '../simulated-clock.ts';
import type { SimulatedNetwork } from '../simulated-network.ts';

export interface WireCorruptionOptions {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
}

export class WireCorruption {
  readonly #options: WireCorruptionOptions;
  readonly #found: () => void;
  /** The next message of this broker is changed on its way. */
  #next: BrokerId | undefined;

  /** `found`: the checksum of a message told. */
  constructor(options: WireCorruptionOptions, found: () => void) {
    this.#options = options;
    this.#found = found;
    options.network.onWire = (from, to, _channel, bytes) => this.#onWire(from, to, bytes);
  }

  corruptNext(from: BrokerId): void {
    this.#next = from;
  }

  stop(): void {
    this.#next = undefined;
  }

  #onWire(from: BrokerId, to: BrokerId, bytes: Uint8Array): void {
    if (from !== this.#next) return;
    const { random, network, time } = this.#options;
    this.#next = undefined;
    const sealed = seal(bytes);
    const at = random.below(sealed.length);
    sealed[at] = sealed[at]! ^ (1 << random.below(8));
    try {
      bytes.set(unseal(sealed));
    } catch {
      this.#found();
      time.soon(() => network.breakLink(from, to));
    }
  }
}
