/**
 * Owns `peer-sessions.properties`: the latest start of each peer's store that this broker ever accepted ({@link PeerSessions}).
 * Grows by one line for each store that was ever admitted to the cluster.
 */
import { assert } from '../../std/assert.ts';
import type { Disk } from '../../std/disk.ts';
import { type PeerSessions, refuseStart, type StoreStart } from '../peer-sessions.ts';
import { IdentityError } from './identity-error.ts';
import { readProperties, writeProperties } from './properties-file.ts';

export const PEER_SESSION_FILE = 'peer-sessions.properties';

/** A later start than a peer ever had would make this broker refuse, and condemn, a healthy store. */
const REMEDY =
  'Delete it: links note the starts of all peers again. Until a peer has linked once, an old copy of its store would not be told from it, so do it only if no data directory of the cluster was restored from a copy';

export class PeerSessionFile implements PeerSessions {
  readonly #disk: Disk;
  readonly #starts: Map<string, StoreStart>;
  /** Starts noted in memory; those below {@link #written} are durable. */
  #noted = 0;
  #written = 0;
  #writing: Promise<void> | undefined;

  private constructor(disk: Disk, starts: Map<string, StoreStart>) {
    this.#disk = disk;
    this.#starts = starts;
  }

  static async open(disk: Disk): Promise<PeerSessionFile> {
    const starts = new Map<string, StoreStart>();
    for (const [storeId, text] of (await readProperties(disk, PEER_SESSION_FILE, REMEDY)) ?? []) {
      const match = /^(\d+) ([0-9a-f]{16})$/.exec(text);
      if (match === null) throw new IdentityError(`${PEER_SESSION_FILE} has ${storeId}=${text}, which is no start`);
      starts.set(storeId, { session: Number(match[1]), incarnation: match[2] as string });
    }
    return new PeerSessionFile(disk, starts);
  }

  highest(storeId: string): StoreStart | undefined {
    return this.#starts.get(storeId);
  }

  /** Starts noted while a write runs share the next one. A start that was overtaken by a later one resolves with it. */
  async record(storeId: string, start: StoreStart): Promise<void> {
    const highest = this.#starts.get(storeId);
    if (highest?.session !== start.session && refuseStart(start, highest) === undefined) {
      this.#starts.set(storeId, start);
      this.#noted++;
    }
    const target = this.#noted;
    while (this.#written < target) {
      this.#writing ??= this.#write();
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    const noted = this.#noted;
    const lines = [...this.#starts].map(
      ([storeId, start]) => [storeId, `${start.session} ${start.incarnation}`] as const,
    );
    await writeProperties(this.#disk, PEER_SESSION_FILE, new Map(lines));
    assert(noted > this.#written, 'A write makes something durable');
    this.#written = noted;
    this.#writing = undefined;
  }
}
