/** Which membership was in force at which applied index: a checkpoint names the one at its own index, not the latest. */
import { type LogIndex, logIndex } from '../std/brands.ts';
import type { Configuration, Membership } from './core/types.ts';

export class MembershipHistory {
  /** Ascending; the first is that of the last checkpoint, or the initial one. */
  #configurations: Configuration[];

  constructor(initial: Membership) {
    this.#configurations = [{ index: logIndex(0), membership: initial }];
  }

  /** Of the latest configuration that was applied. */
  get latest(): Membership {
    return this.#configurations[this.#configurations.length - 1]!.membership;
  }

  applied(index: LogIndex, membership: Membership): void {
    this.#configurations.push({ index, membership });
  }

  at(index: LogIndex): Membership {
    let found = this.#configurations[0]!;
    for (const configuration of this.#configurations) {
      if (configuration.index > index) break;
      found = configuration;
    }
    return found.membership;
  }

  /** A checkpoint at `index` is durable: what was in force before is no longer asked for. */
  checkpointed(index: LogIndex): void {
    while (this.#configurations.length > 1 && this.#configurations[1]!.index <= index) this.#configurations.shift();
  }

  /** A checkpoint was restored or installed: history starts at it. */
  reset(index: LogIndex, membership: Membership): void {
    this.#configurations = [{ index, membership }];
  }
}
