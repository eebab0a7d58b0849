/** Three whole brokers with a client on the wire and the oracle of the random clusters beside them: the stage of stories about what clients are told. Nothing happens by itself. */
import { CONSUMER_OFFSETS_TOPIC } from '../../../src/broker/groups/group-coordinator.ts';
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { createTopicsApi } from '../../../src/kafka-protocol/messages/create-topics.ts';
import { deleteTopicsApi } from '../../../src/kafka-protocol/messages/delete-topics.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import { brokerId, type GroupId } from '../../../src/std/brands.ts';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { ClusterOracle } from '../cluster/cluster-oracle.ts';
import { isDamageLine } from '../cluster/coverage.ts';
import { imageOf } from '../cluster/node-image.ts';
import { NO_TOPIC_ID } from '../cluster/partition-reader.ts';
import { SimulatedClientNetwork } from '../cluster/simulated-client-network.ts';
import { SimulatedNode } from '../cluster/simulated-node.ts';
import { SimulatedPeerPorts } from '../cluster/simulated-peer-network.ts';
import { Tempo } from '../cluster/tempo.ts';
import { VirtualClient } from '../cluster/virtual-client.ts';
import { Violation } from '../raft-oracle.ts';
import { SimulatedTime } from '../simulated-clock.ts';
import { SimulatedNetwork } from '../simulated-network.ts';

const IDS = [1, 2, 3];
const FORM_MS = 30_000;
const REQUEST_TIMEOUT_MS = 1_500;
const RETRY_MS = 50;
const PROPERTIES = {
  'auto.create.topics.enable': 'false',
  'offsets.topic.num.partitions': '1',
  'group.initial.rebalance.delay.ms': '0',
  'group.min.session.timeout.ms': '100',
  'disk.reserve.bytes': '0',
  'disk.free.min.bytes': '65536',
};
const KIB = 1024;

export class StoryCluster {
  readonly time = new SimulatedTime();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly nodes: readonly SimulatedNode[];
  readonly client: VirtualClient;
  readonly oracle: ClusterOracle;
  /** A replica came to be, or a broker that starts finds it. */
  onReplica: (node: SimulatedNode, group: RaftGroup) => void = () => undefined;
  #failure: { readonly error: unknown } | undefined;

  /** `clockRates`: how fast the clocks of each broker run. */
  constructor(seed: number, clockRates: readonly number[] = [1, 1, 1]) {
    const { time } = this;
    const random = new SeededRandom(seed);
    this.random = random;
    this.network = new SimulatedNetwork(time, random.fork());
    const clients = new SimulatedClientNetwork(time, random.fork(), (source) => 0.2 + source.next() * 0.6);
    const fail = (error: unknown): void => {
      this.#failure ??= { error };
    };
    this.oracle = new ClusterOracle({
      fail,
      durableOf: (id) => this.nodes[id - 1]?.durableWal,
      wallOffsetMs: time.wallMs() - time.now,
    });
    this.network.onSend = (_from, _to, channel, bytes) => this.oracle.sent(channel, bytes);
    const peers = new SimulatedPeerPorts(this.network);
    this.nodes = IDS.map(
      (id) =>
        new SimulatedNode({
          time,
          peers,
          clients,
          random: random.fork(),
          brokerId: id,
          properties: PROPERTIES,
          overrides: { 'wal.segment.bytes': 128 * KIB, 'wal.max.bytes': 768 * KIB, 'log.segment.bytes': 8 * KIB },
          voters: IDS,
          clockRate: clockRates[id - 1]!,
          log: (own, _level, message) => {
            if (isDamageLine(message)) fail(new Violation(`Broker ${own} has damage that nobody did: ${message}`));
          },
          watch: (node, group, machine) => {
            this.oracle.watch(node.brokerId, group, machine);
            this.onReplica(node, group);
          },
          failed: (_node, error) => fail(error),
        }),
    );
    this.client = new VirtualClient({
      time,
      network: clients,
      random: random.fork(),
      bootstrap: this.nodes.map(({ port }) => port),
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      tempo: new Tempo(),
      broken: fail,
    });
  }

  /** All brokers run and know each other. */
  async form(): Promise<void> {
    for (const node of this.nodes) node.start();
    const isFormed = (): boolean =>
      this.nodes.every((node) => node.state === 'running' && imageOf(node)?.brokers.size === IDS.length);
    await this.until(isFormed, FORM_MS, 'The cluster does not form');
  }

  /** Virtual time goes on until `condition` holds. Rejects with {@link Violation} `otherwise` if that takes too long, and with whatever a broker did wrong meanwhile. */
  async until(condition: () => boolean, limitMs: number, otherwise: string): Promise<void> {
    let isLate = false;
    await this.time
      .runUntilTrue(() => this.#failure !== undefined || condition(), limitMs)
      .catch(() => {
        isLate = true;
      });
    if (this.#failure !== undefined) throw this.#failure.error;
    if (isLate) throw new Violation(otherwise);
  }

  /** Virtual time goes on until the promise settles. */
  async settle<T>(promise: Promise<T>, limitMs: number, otherwise: string): Promise<T> {
    let ended = false;
    const settled = (): void => {
      ended = true;
    };
    promise.then(settled, settled);
    await this.until(() => ended, limitMs, otherwise);
    return promise;
  }

  /** Asks again until `attempt` gives something. */
  retry<T>(attempt: () => Promise<T | undefined>, limitMs: number, otherwise: string): Promise<T> {
    const again = async (): Promise<T> => {
      for (;;) {
        const found = await attempt().catch(() => undefined);
        if (found !== undefined) return found;
        await this.client.sleep(RETRY_MS);
      }
    };
    return this.settle(again(), limitMs, otherwise);
  }

  /** One partition with a replica on every broker, which has a leader when this resolves. */
  async createTopic(name: string): Promise<void> {
    const body = {
      topics: [{ name, numPartitions: 1, replicationFactor: IDS.length, assignments: [], configs: [] }],
      timeoutMs: REQUEST_TIMEOUT_MS,
      validateOnly: false,
    };
    const create = async (): Promise<true | undefined> => {
      const answer = await this.client.ask(createTopicsApi, 4, body, 2 * REQUEST_TIMEOUT_MS);
      if (answer?.topics[0]?.errorCode === 0) return true;
      this.client.switchBroker();
      return undefined;
    };
    await this.retry(create, FORM_MS, `Topic ${name} is not created`);
    await this.until(() => this.leaderOf(name) !== undefined, FORM_MS, `Topic ${name} has no leader`);
  }

  /** Asks one broker, and the next one the next time; true if the topic is gone. */
  async askToDelete(name: string): Promise<true | undefined> {
    const body = { topics: [{ name, topicId: NO_TOPIC_ID }], topicNames: [], timeoutMs: REQUEST_TIMEOUT_MS };
    const answer = await this.client.ask(deleteTopicsApi, 6, body);
    const errorCode = answer?.responses[0]?.errorCode;
    if (errorCode === ErrorCode.NONE || errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) return true;
    this.client.switchBroker();
    return undefined;
  }

  /** Nobody knows it any more when this resolves. */
  async deleteTopic(name: string): Promise<void> {
    await this.retry(() => this.askToDelete(name), FORM_MS, `Topic ${name} is not deleted`);
    await this.until(() => this.groupIdOf(name) === undefined, FORM_MS, `Topic ${name} is still there`);
  }

  /** Of the one partition. */
  groupIdOf(topic: string): GroupId | undefined {
    for (const node of this.nodes) {
      const found = imageOf(node)?.topics.get(topic)?.partitions[0]?.groupId;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  replicaOf(node: SimulatedNode, topic = CONSUMER_OFFSETS_TOPIC): RaftGroup | undefined {
    const id = this.groupIdOf(topic);
    return id === undefined ? undefined : node.driver?.get(id);
  }

  /** Whose leader is ready; of brokers among `some`. */
  leaderOf(topic = CONSUMER_OFFSETS_TOPIC, some = this.nodes): SimulatedNode | undefined {
    return some.find((node) => this.replicaOf(node, topic)?.isReady === true);
  }

  /** Both ways. Clients reach it still. */
  isolate(node: SimulatedNode): void {
    for (const other of this.nodes) {
      if (other === node) continue;
      this.network.block(brokerId(node.brokerId), brokerId(other.brokerId));
      this.network.block(brokerId(other.brokerId), brokerId(node.brokerId));
    }
  }
}
