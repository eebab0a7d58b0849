/**
 * What a broker remembers durably of the starts of its peers' stores (DECISIONS I1). A store that comes back with a lower
 * start counter, or with the same one for another start, was restored from an old image: it may have forgotten a vote or
 * entries it acknowledged, so nobody may hear it.
 */

/** One start of a store. */
export interface StoreStart {
  /** Grows with each start. */
  readonly session: number;
  /** Hex of 8 random bytes, new for each start: tells two starts with the same counter apart. */
  readonly incarnation: string;
}

export interface PeerSessions {
  /** The latest start ever accepted of a store (hex). */
  highest(storeId: string): StoreStart | undefined;
  /** Resolves once `start`, or a later one, is remembered durably; at once if it is already. Rejects when the disk fails: then the broker must stop. */
  record(storeId: string, start: StoreStart): Promise<void>;
}

/** Why a start must be refused, given the latest one accepted; undefined if it is that one or a later one. */
export function refuseStart(start: StoreStart, highest: StoreStart | undefined): string | undefined {
  if (highest === undefined || start.session > highest.session) return undefined;
  if (start.session === highest.session && start.incarnation === highest.incarnation) return undefined;
  return `its start counter is ${start.session}, but start ${highest.session} of the same store was seen before: the store was restored from an old copy`;
}
