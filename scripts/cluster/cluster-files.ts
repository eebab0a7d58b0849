/**
 * Owns where a cluster lives: its directory (FLOTILLA_DIR), its ports (FLOTILLA_PORT), what was decided at its first start
 * (cluster.json), and the properties of each broker.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'dot-properties';
import { ClusterError } from './cluster-error.ts';

/** dist/scripts/cluster/ → the repository. */
export const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));

const PORT_DEFAULT = 9092;
export const NODES_DEFAULT = 3;
/** Raft ports begin 100 above the Kafka ports. */
export const NODES_MAX = 100;
const HOST = '127.0.0.1';

/** What cluster.sh itself decides for each broker. */
const OWN_PROPERTIES = new Set([
  'node.id',
  'listeners',
  'advertised.listeners',
  'controller.quorum.voters',
  'raft.listener',
  'raft.advertised.listener',
  'http.listener',
  'log.dirs',
]);

/** cluster.json */
interface Manifest {
  readonly nodes: number;
  readonly port: number;
  /** KEY=VALUE of all starts so far. */
  readonly properties: Readonly<Record<string, string>>;
}

export interface BrokerPorts {
  readonly kafka: number;
  readonly raft: number;
  readonly http: number;
}

export class ClusterFiles {
  readonly directory: string;
  readonly nodes: number;
  readonly port: number;
  readonly properties: Readonly<Record<string, string>>;

  private constructor(directory: string, manifest: Manifest) {
    this.directory = directory;
    this.nodes = manifest.nodes;
    this.port = manifest.port;
    this.properties = manifest.properties;
  }

  static directoryOf(environment: NodeJS.ProcessEnv): string {
    const directory = environment.FLOTILLA_DIR;
    return directory === undefined || directory === '' ? join(REPOSITORY, '.flotilla') : resolve(directory);
  }

  /** The cluster that exists; undefined if there is none. */
  static find(environment: NodeJS.ProcessEnv): ClusterFiles | undefined {
    const directory = ClusterFiles.directoryOf(environment);
    const path = join(directory, 'cluster.json');
    if (!existsSync(path)) return undefined;
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
    const port = portIn(environment);
    if (port !== undefined && port !== manifest.port) {
      throw new ClusterError(
        `The cluster in ${directory} has its ports from ${manifest.port} on, but FLOTILLA_PORT is ${port}; for a second cluster set FLOTILLA_DIR too`,
      );
    }
    return new ClusterFiles(directory, manifest);
  }

  static open(environment: NodeJS.ProcessEnv): ClusterFiles {
    const files = ClusterFiles.find(environment);
    if (files !== undefined) return files;
    throw new ClusterError(
      `There is no cluster in ${ClusterFiles.directoryOf(environment)}; ./cluster.sh start makes one`,
    );
  }

  /** The cluster as it shall be from this start on; nothing is written yet. */
  static plan(
    environment: NodeJS.ProcessEnv,
    wish: { nodes: number | undefined; properties: Readonly<Record<string, string>> },
  ): ClusterFiles {
    const existing = ClusterFiles.find(environment);
    if (existing !== undefined && wish.nodes !== undefined && wish.nodes !== existing.nodes) {
      throw new ClusterError(
        `The cluster in ${existing.directory} has ${existing.nodes} brokers, not ${wish.nodes}; ./cluster.sh wipe deletes it with its data`,
      );
    }
    return new ClusterFiles(ClusterFiles.directoryOf(environment), {
      nodes: existing?.nodes ?? wish.nodes ?? NODES_DEFAULT,
      port: existing?.port ?? portIn(environment) ?? PORT_DEFAULT,
      properties: { ...existing?.properties, ...wish.properties },
    });
  }

  get ids(): number[] {
    return Array.from({ length: this.nodes }, (_, i) => i + 1);
  }

  /** Brokers that vote on metadata: the first 1, 3 or 5. */
  get voters(): number[] {
    return this.ids.slice(0, this.nodes >= 5 ? 5 : this.nodes >= 3 ? 3 : 1);
  }

  get bootstrapServers(): string {
    return this.ids.map((id) => `${HOST}:${this.ports(id).kafka}`).join(',');
  }

  ports(id: number): BrokerPorts {
    const kafka = this.port + id - 1;
    return { kafka, raft: kafka + 100, http: kafka + 200 };
  }

  url(id: number, path: string): string {
    return `http://${HOST}:${this.ports(id).http}${path}`;
  }

  brokerDirectory(id: number): string {
    return join(this.directory, `broker-${id}`);
  }

  propertiesFile(id: number): string {
    return join(this.brokerDirectory(id), 'broker.properties');
  }

  logFile(id: number): string {
    return join(this.brokerDirectory(id), 'broker.log');
  }

  pidFile(id: number): string {
    return join(this.brokerDirectory(id), 'broker.pid');
  }

  /** Throws unless `id` is one of this cluster's brokers. */
  checkId(id: number): void {
    if (id > this.nodes) {
      throw new ClusterError(
        `There is no broker ${id}: the cluster in ${this.directory} has brokers 1 to ${this.nodes}`,
      );
    }
  }

  /** Writes cluster.json and the properties of all brokers. */
  write(): void {
    mkdirSync(this.directory, { recursive: true });
    for (const id of this.ids) {
      mkdirSync(this.brokerDirectory(id), { recursive: true });
      writeFileSync(this.propertiesFile(id), `${stringify(this.#brokerProperties(id), { lineWidth: null })}\n`);
    }
    const manifest: Manifest = { nodes: this.nodes, port: this.port, properties: this.properties };
    const path = join(this.directory, 'cluster.json');
    writeFileSync(`${path}.tmp`, `${JSON.stringify(manifest, null, 2)}\n`);
    renameSync(`${path}.tmp`, path);
  }

  #brokerProperties(id: number): Record<string, string> {
    const { kafka, raft, http } = this.ports(id);
    const replicas = `${Math.min(3, this.nodes)}`;
    return {
      'node.id': `${id}`,
      listeners: `PLAINTEXT://${HOST}:${kafka}`,
      'advertised.listeners': `PLAINTEXT://${HOST}:${kafka}`,
      'raft.listener': `${HOST}:${raft}`,
      'http.listener': `${HOST}:${http}`,
      'controller.quorum.voters': this.voters.map((voter) => `${voter}@${HOST}:${this.ports(voter).raft}`).join(','),
      'log.dirs': join(this.brokerDirectory(id), 'data'),
      'default.replication.factor': replicas,
      'offsets.topic.replication.factor': replicas,
      ...this.properties,
    };
  }
}

/** KEY=VALUE arguments. */
export function parseProperties(args: readonly string[]): Record<string, string> {
  const properties: Record<string, string> = {};
  for (const arg of args) {
    const match = /^([A-Za-z0-9._-]+)=(.*)$/s.exec(arg);
    if (match === null) throw new ClusterError(`"${arg}" is not KEY=VALUE`);
    const [, key, value] = match as unknown as [string, string, string];
    if (OWN_PROPERTIES.has(key)) throw new ClusterError(`${key} is set by cluster.sh itself, for each broker`);
    properties[key] = value;
  }
  return properties;
}

export function parseNodes(text: string): number {
  const nodes = Number(text);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > NODES_MAX) {
    throw new ClusterError(`--nodes ${text} is not a number from 1 to ${NODES_MAX}`);
  }
  return nodes;
}

export function parseId(text: string): number {
  const id = Number(text);
  if (!Number.isInteger(id) || id < 1) throw new ClusterError(`"${text}" is not the number of a broker`);
  return id;
}

function portIn(environment: NodeJS.ProcessEnv): number | undefined {
  const text = environment.FLOTILLA_PORT;
  if (text === undefined || text === '') return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535 - 300) {
    throw new ClusterError(`FLOTILLA_PORT=${text} is not a port from 1 to ${65_535 - 300}`);
  }
  return port;
}
