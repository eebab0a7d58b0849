/**
 * Brokers in this process for tests with real clients: real sockets, real disk, everything but processes of their own. Data lives in a temporary directory; {@link TestCluster.close} removes it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canListen } from '../../scripts/cluster/free-port.ts';
import { parseBrokerConfig } from '../../src/broker/config/broker-config.ts';
import { BrokerInstance } from '../../src/broker-instance.ts';
import { openNodeEnvironment } from '../../src/node/node-environment.ts';
import { NodeHttpServer } from '../../src/node/node-http.ts';
import { NodeNetwork } from '../../src/node/node-network.ts';
import { nodeProcessFacts } from '../../src/node/node-process.ts';
import { GrpcPeerNetwork } from '../../src/raft/grpc/grpc-peer-network.ts';
import type { Log } from '../../src/std/log.ts';

const PORT_FIRST = 23_300;
const PORT_LAST = 23_990;
/** One small WAL per broker is enough, and nothing waits for more members of a group than a test has. */
const PROPERTIES = {
  'wal.segment.bytes': 2 ** 22,
  'wal.max.bytes': 2 ** 25,
  'disk.reserve.bytes': 0,
  'disk.free.min.bytes': 0,
  'offsets.topic.num.partitions': 3,
  'group.initial.rebalance.delay.ms': 0,
  'raft.heartbeat.interval.ms': 50,
  'raft.liveness.timeout.ms': 3000,
  'raft.election.timeout.ms': 300,
  'shutdown.transfer.timeout.ms': 2000,
};

interface Ports {
  readonly kafka: number;
  readonly raft: number;
  readonly http: number;
}

export class TestCluster {
  /** What brokers logged as warnings or errors. */
  readonly lines: string[] = [];
  /** Why brokers stopped by themselves; a test that does not expect any should find none. */
  readonly failures: unknown[] = [];
  readonly #directory: string;
  readonly #ports: readonly Ports[];
  readonly #properties: Record<string, string | number | boolean>;
  readonly #instances = new Map<number, BrokerInstance>();

  private constructor(ports: readonly Ports[], properties: Record<string, string | number | boolean>) {
    this.#directory = mkdtempSync(join(tmpdir(), 'flotilla-cluster-'));
    this.#ports = ports;
    this.#properties = properties;
  }

  /** Resolves when every broker is ready. */
  static async start(
    brokers: number,
    properties: Record<string, string | number | boolean> = {},
  ): Promise<TestCluster> {
    const free = await freePorts(3 * brokers);
    const ports = Array.from({ length: brokers }, (_, index) => ({
      kafka: free[3 * index]!,
      raft: free[3 * index + 1]!,
      http: free[3 * index + 2]!,
    }));
    const replicas = Math.min(3, brokers);
    const cluster = new TestCluster(ports, {
      ...PROPERTIES,
      'default.replication.factor': replicas,
      'offsets.topic.replication.factor': replicas,
      ...properties,
    });
    await Promise.all(cluster.ids.map((id) => cluster.startBroker(id)));
    await Promise.all(cluster.ids.map((id) => cluster.untilReady(id)));
    return cluster;
  }

  get ids(): number[] {
    return this.#ports.map((_, index) => index + 1);
  }

  get bootstrap(): string[] {
    return this.#ports.map(({ kafka }) => `127.0.0.1:${kafka}`);
  }

  dataDirectory(id: number): string {
    return join(this.#directory, `${id}`);
  }

  kafkaPort(id: number): number {
    return this.#ports[id - 1]!.kafka;
  }

  async startBroker(id: number): Promise<void> {
    const { kafka, raft, http } = this.#ports[id - 1]!;
    const directory = this.dataDirectory(id);
    const properties = {
      'node.id': id,
      listeners: `PLAINTEXT://127.0.0.1:${kafka}`,
      'raft.listener': `127.0.0.1:${raft}`,
      'http.listener': `127.0.0.1:${http}`,
      'controller.quorum.voters': this.#ports.map((ports, index) => `${index + 1}@127.0.0.1:${ports.raft}`).join(','),
      'log.dirs': directory,
      ...this.#properties,
    };
    const text = Object.entries(properties).map(([name, value]) => `${name}=${value}`);
    const { config } = parseBrokerConfig(text.join('\n'));
    const note = (fields: object, message: string): void =>
      void this.lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: () => {}, info: () => {}, warn: note, error: note };
    const environment = await openNodeEnvironment(directory);
    const instance = new BrokerInstance(
      config,
      {
        ...environment,
        network: new NodeNetwork(),
        peers: new GrpcPeerNetwork({ allowInsecurePeers: config['raft.network.trusted'] }, environment.timers),
        http: new NodeHttpServer(),
        log,
        processFacts: nodeProcessFacts,
      },
      (error) => this.failures.push(error),
    );
    this.#instances.set(id, instance);
    await instance.start();
  }

  /** Graceful stop. */
  async stopBroker(id: number): Promise<void> {
    const instance = this.#instances.get(id);
    this.#instances.delete(id);
    await instance?.stop();
  }

  async http(id: number, path: string): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.#ports[id - 1]!.http}${path}`);
    return { status: response.status, text: await response.text() };
  }

  /** Values of a metric by its labels as text, e.g. `api="Produce"`. */
  async metric(id: number, name: string): Promise<Map<string, number>> {
    const { text } = await this.http(id, '/metrics');
    const values = new Map<string, number>();
    for (const line of text.split('\n')) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match?.[1] === `flotilla_${name}`) values.set(match[2] ?? '', Number(match[3]));
    }
    return values;
  }

  /** Sum of a metric over its label sets and all live brokers. */
  async total(name: string): Promise<number> {
    let sum = 0;
    for (const id of this.#instances.keys()) for (const value of (await this.metric(id, name)).values()) sum += value;
    return sum;
  }

  async untilReady(id: number): Promise<void> {
    await until(async () => (await this.http(id, '/readyz')).status === 200);
  }

  async close(): Promise<void> {
    await Promise.all(this.ids.map((id) => this.stopBroker(id)));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Asks again until it holds; the test's time-out ends it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

let nextPort = PORT_FIRST + Math.floor(Math.random() * (PORT_LAST - PORT_FIRST));

async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    if (++nextPort > PORT_LAST) nextPort = PORT_FIRST;
    if (await canListen(nextPort)) ports.push(nextPort);
  }
  return ports;
}
