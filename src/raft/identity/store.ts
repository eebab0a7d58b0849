/**
 * Owns `meta.properties` in the data directory: whose the store is, which cluster it belongs to, how often it was started
 * (DECISIONS I1). Names are Kafka's where Kafka has one; `directory.id` is the store id.
 *
 * Promises: the store id is made once, at format; each start has a session number of its own, durable before the store is
 * given out, so nothing is ever sent under a number that could be given again.
 */
import type { BrokerId } from '../../std/brands.ts';
import type { Disk } from '../../std/disk.ts';
import type { Random } from '../../std/environment.ts';
import { toHex } from '../../std/hex.ts';
import {
  type ClusterIdentity,
  deriveClusterId,
  formatInitialVoters,
  parseInitialVoters,
  sortVoters,
} from './cluster-identity.ts';
import { IdentityError } from './identity-error.ts';
import { readProperties, writeProperties } from './properties-file.ts';

export const META_FILE = 'meta.properties';
/** No copy from before the last start helps: peers refuse a store whose start counter went back. */
const REMEDY =
  'Correct that line if it can be told (node.id is that of the configuration). Otherwise give an empty directory; the broker then gets its data from its peers';
const FORMAT_VERSION = '1';
const STORE_ID_BYTES = 16;
const INCARNATION_BYTES = 8;
const SESSION_MAX = 2 ** 32 - 1;

const KEY = {
  version: 'version',
  nodeId: 'node.id',
  clusterId: 'cluster.id',
  directoryId: 'directory.id',
  session: 'session',
  initialVoters: 'initial.voters',
  refused: 'refused.reason',
} as const;

/** Files that say nothing about whether the directory holds data of a broker. */
const IGNORED = /^\.|^lost\+found$|^lock$|\.lock$|\.tmp$/;

export class Store {
  readonly brokerId: BrokerId;
  /** Hex of 16 bytes. */
  readonly storeId: string;
  /** Number of this start; grows with each. */
  readonly session: number;
  /** Hex of 8 random bytes, new for each start. */
  readonly incarnation: string;
  readonly #disk: Disk;
  #cluster: ClusterIdentity | undefined;

  private constructor(
    disk: Disk,
    identity: { brokerId: BrokerId; storeId: string; session: number; incarnation: string },
    cluster: ClusterIdentity | undefined,
  ) {
    this.#disk = disk;
    this.brokerId = identity.brokerId;
    this.storeId = identity.storeId;
    this.session = identity.session;
    this.incarnation = identity.incarnation;
    this.#cluster = cluster;
  }

  /** Opens the store of the data directory, or formats an empty one, and begins a session. Throws an {@link IdentityError} if this broker must not use the directory. */
  static async open(disk: Disk, random: Random, brokerId: BrokerId): Promise<Store> {
    const properties = await readProperties(disk, META_FILE, REMEDY);
    if (properties === undefined) await refuseForeignData(disk);
    else refuseOther(properties, brokerId);
    const identity = {
      brokerId,
      storeId: properties === undefined ? toHex(random.bytes(STORE_ID_BYTES)) : storeIdIn(properties),
      session: properties === undefined ? 1 : sessionIn(properties) + 1,
      incarnation: toHex(random.bytes(INCARNATION_BYTES)),
    };
    if (identity.session > SESSION_MAX) throw new IdentityError(`${META_FILE} has no session numbers left`);
    const store = new Store(disk, identity, properties === undefined ? undefined : clusterIn(properties));
    await store.#write();
    return store;
  }

  /** The cluster that the store belongs to; undefined until it is formed or joined. */
  get cluster(): ClusterIdentity | undefined {
    return this.#cluster;
  }

  /** Binds the store to a cluster, once and for all. Resolves when that is durable. */
  async bind(cluster: ClusterIdentity): Promise<void> {
    if (this.#cluster !== undefined && this.#cluster.clusterId !== cluster.clusterId) {
      throw new IdentityError(
        `The store belongs to cluster ${this.#cluster.clusterId} and cannot become part of cluster ${cluster.clusterId}`,
      );
    }
    this.#cluster = { clusterId: cluster.clusterId, initialVoters: sortVoters(cluster.initialVoters) };
    await this.#write();
  }

  /** Marks the store as one that must never be used again, because a peer knows a later life of it. Later starts are refused with the reason. */
  async condemn(reason: string): Promise<void> {
    await this.#write(reason);
  }

  async #write(refusedReason?: string): Promise<void> {
    const properties = new Map<string, string>([
      [KEY.version, FORMAT_VERSION],
      [KEY.nodeId, `${this.brokerId}`],
      [KEY.directoryId, Buffer.from(this.storeId, 'hex').toString('base64url')],
      [KEY.session, `${this.session}`],
    ]);
    if (this.#cluster !== undefined) {
      properties.set(KEY.clusterId, this.#cluster.clusterId);
      properties.set(KEY.initialVoters, formatInitialVoters(this.#cluster.initialVoters));
    }
    if (refusedReason !== undefined) properties.set(KEY.refused, refusedReason);
    await writeProperties(this.#disk, META_FILE, properties);
  }
}

async function refuseForeignData(disk: Disk): Promise<void> {
  const found = (await disk.list('.')).filter((name) => !IGNORED.test(name));
  if (found.length === 0) return;
  const names = found.slice(0, 5).join(', ') + (found.length > 5 ? ', …' : '');
  throw new IdentityError(
    `The data directory (log.dirs) has no ${META_FILE} but holds ${names}: whose data this is cannot be known, and formatting it would abandon it. Restore ${META_FILE} or give an empty directory`,
  );
}

function refuseOther(properties: ReadonlyMap<string, string>, brokerId: BrokerId): void {
  const version = properties.get(KEY.version);
  if (version !== FORMAT_VERSION) {
    throw new IdentityError(
      `${META_FILE} has version=${version ?? ''}, but this broker reads version ${FORMAT_VERSION}`,
    );
  }
  const nodeId = properties.get(KEY.nodeId);
  if (nodeId !== `${brokerId}`) {
    throw new IdentityError(
      `The broker is configured as node.id=${brokerId}, but the data directory (log.dirs) belongs to node.id=${nodeId ?? ''} (${META_FILE})`,
    );
  }
  const reason = properties.get(KEY.refused);
  if (reason !== undefined) {
    throw new IdentityError(
      `The data directory (log.dirs) must not be used: ${reason}. Give an empty directory; the broker then gets its data from its peers`,
    );
  }
}

function storeIdIn(properties: ReadonlyMap<string, string>): string {
  const bytes = Buffer.from(properties.get(KEY.directoryId) ?? '', 'base64url');
  if (bytes.length !== STORE_ID_BYTES) {
    throw new IdentityError(
      `${META_FILE} has ${KEY.directoryId}=${properties.get(KEY.directoryId) ?? ''}, which is not a store id`,
    );
  }
  return bytes.toString('hex');
}

function sessionIn(properties: ReadonlyMap<string, string>): number {
  const session = Number(properties.get(KEY.session) ?? Number.NaN);
  if (!Number.isSafeInteger(session) || session < 1) {
    throw new IdentityError(`${META_FILE} has ${KEY.session}=${properties.get(KEY.session) ?? ''}, which is no number`);
  }
  return session;
}

function clusterIn(properties: ReadonlyMap<string, string>): ClusterIdentity | undefined {
  const clusterId = properties.get(KEY.clusterId);
  const voters = properties.get(KEY.initialVoters);
  if (clusterId === undefined && voters === undefined) return undefined;
  const initialVoters = parseInitialVoters(voters ?? '');
  if (deriveClusterId(initialVoters) !== clusterId) {
    throw new IdentityError(
      `${META_FILE} has ${KEY.clusterId}=${clusterId ?? ''}, which is not the cluster of its ${KEY.initialVoters}=${voters ?? ''}`,
    );
  }
  return { clusterId, initialVoters };
}
