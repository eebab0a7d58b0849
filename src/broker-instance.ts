/**
 * One broker, put together from its parts on the machine that it is given: the order in which they start and stop is the content of this file.
 *
 * Start: store identity → WAL → cluster identity → replicas and links → cluster services → Kafka listener. The Raft port answers from the beginning, because others need this broker's word to form
 * the cluster; HTTP answers from the beginning, too, so that a broker that waits for the others can be seen waiting.
 * Stop: no new requests → leaderships move away → checkpoints → links, WAL and files close.
 */
import { AdminHttp } from './broker/admin-http.ts';
import type { BackgroundTask } from './broker/cluster/background-task.ts';
import { ClusterServices } from './broker/cluster/cluster-services.ts';
import { InternalTopic } from './broker/cluster/internal-topic.ts';
import { MetadataStateMachine } from './broker/cluster/metadata-state-machine.ts';
import { introductionTask, PeerDirectory } from './broker/cluster/peer-directory.ts';
import { encodeReplicaDescriptor } from './broker/cluster/replica-descriptor.ts';
import { refuseStore } from './broker/cluster/store-policy.ts';
import type { BrokerConfig } from './broker/config/broker-config.ts';
import { CONSUMER_OFFSETS_TOPIC, GroupCoordinator } from './broker/groups/group-coordinator.ts';
import { groupHandlers } from './broker/handlers/group-handlers.ts';
import { createHandlers } from './broker/handlers/handlers.ts';
import { createMetricsRegistry } from './broker/metrics/broker-metrics.ts';
import { EventLoopMonitor } from './broker/metrics/event-loop-monitor.ts';
import type { GroupLag } from './broker/metrics/metric-sources.ts';
import { RequestMetrics } from './broker/metrics/request-metrics.ts';
import { ClientListener } from './broker/network/client-listener.ts';
import { MemoryBudget } from './broker/network/memory-budget.ts';
import { RateLimitedLog } from './broker/network/rate-limited-log.ts';
import { SpaceWatcher } from './broker/space-watcher.ts';
import { Partitions } from './partitions.ts';
import { ClusterFormation, type Formation } from './raft/identity/formation.ts';
import { PeerSessionFile } from './raft/identity/peer-session-file.ts';
import { Store } from './raft/identity/store.ts';
import type { PeerNetwork } from './raft/peer-network.ts';
import { RaftDriver } from './raft/raft-driver.ts';
import { COMMIT_BUCKETS_MS } from './raft/raft-driver-metrics.ts';
import type { RaftGroup } from './raft/raft-group.ts';
import type { StateMachine } from './raft/state-machine.ts';
import { type BrokerId, brokerId, METADATA_GROUP_ID, replicaId } from './std/brands.ts';
import type { Environment } from './std/environment.ts';
import { fromHex } from './std/hex.ts';
import type { HttpServer } from './std/http.ts';
import type { Log } from './std/log.ts';
import type { MemoryPool } from './std/memory-pool.ts';
import type { Listener, Network } from './std/network.ts';
import { Wal } from './wal/wal.ts';

const WAL_DIRECTORY = 'wal';
const OFFSETS_TOPIC_TIMEOUT_MS = 10_000;
const CONNECTIONS_CLOSE_TIMEOUT_MS = 1_000;

export interface BrokerMachine extends Environment {
  readonly network: Network;
  /** For this broker alone, not listening yet. */
  readonly peers: PeerNetwork;
  readonly http: HttpServer;
  readonly log: Log;
  /** Shows each replica's state machine before it is used, to whoever watches over several brokers. */
  watchStateMachine?(group: RaftGroup, stateMachine: StateMachine): void;
  processFacts(): { residentBytes: number; heapUsedBytes: number; externalBytes: number; cpuSeconds: number };
}

/** The data directory must not be used as it is; the message is the line to print. */
export class StoreError extends Error {
  override name = 'StoreError';
}

export class BrokerInstance {
  readonly #config: BrokerConfig;
  readonly #machine: BrokerMachine;
  readonly #onFailure: (error: unknown) => void;
  readonly #requests = new RequestMetrics();
  readonly #records = { recordsIn: 0, recordBytesIn: 0, recordBytesOut: 0 };
  readonly #requestMemory: MemoryBudget;
  readonly #responseMemory: MemoryBudget;
  readonly #eventLoop: EventLoopMonitor;
  readonly #space: SpaceWatcher;
  #admin: AdminHttp | undefined;
  #httpListener: Listener | undefined;
  #formation: ClusterFormation | undefined;
  #peerDirectory: PeerDirectory | undefined;
  #introduction: BackgroundTask | undefined;
  #wal: Wal | undefined;
  #driver: RaftDriver | undefined;
  #partitions: Partitions | undefined;
  #services: ClusterServices | undefined;
  #coordinator: GroupCoordinator | undefined;
  #listener: ClientListener | undefined;
  #isServing = false;

  /** `onFailure`: the broker can not go on and its process has to end, without a graceful stop. */
  constructor(config: BrokerConfig, machine: BrokerMachine, onFailure: (error: unknown) => void) {
    this.#config = config;
    this.#machine = machine;
    this.#onFailure = onFailure;
    this.#requestMemory = new MemoryBudget(config['queued.max.request.bytes']);
    this.#responseMemory = new MemoryBudget(config['fetch.max.buffered.bytes']);
    this.#eventLoop = new EventLoopMonitor(machine.clock, machine.timers);
    this.#space = new SpaceWatcher({
      disk: machine.disk,
      timers: machine.timers,
      log: machine.log,
      freeMinBytes: config['disk.free.min.bytes'],
      reserveBytes: config['disk.reserve.bytes'],
      intervalMs: config['disk.check.interval.ms'],
      onChange: (refusesProduce) => {
        if (this.#driver !== undefined) this.#driver.diskFull = refusesProduce;
      },
      onFailure,
    });
  }

  /** The replicas of this broker, once they run; for whoever watches over several brokers. */
  get driver(): RaftDriver | undefined {
    return this.#driver;
  }

  /** What it holds for clients, other brokers and its disk; nothing before the replicas run. */
  memoryPools(): MemoryPool[] {
    const driver = this.#driver;
    if (driver === undefined) return [];
    const { tail } = this.#partitions!;
    const { entryCache } = this.#wal!;
    const { proposedBytes, receivedBytes, config } = driver;
    return [
      { name: 'requests', ...usageOf(this.#requestMemory) },
      { name: 'responses', ...usageOf(this.#responseMemory) },
      { name: 'proposed', usedBytes: proposedBytes, limitBytes: config.brokerProposedBytesMax },
      { name: 'received', usedBytes: receivedBytes, limitBytes: config.brokerReceivedBytesMax },
      { name: 'tail', usedBytes: tail.usedBytes, limitBytes: tail.budgetBytes },
      { name: 'entries', usedBytes: entryCache.bytes, limitBytes: entryCache.budgetBytes },
    ];
  }

  /** Port of the Kafka listener, once started. */
  get kafkaPort(): number {
    return this.#listener?.port ?? this.#config.listeners.port;
  }

  /** Resolves when clients are served. Waits for the other voters if the cluster is new. Rejects with an error whose message is for people. */
  async start(): Promise<void> {
    const config = this.#config;
    const { disk, random, clock, timers, log, http, peers: peerNetwork } = this.#machine;
    this.#eventLoop.start();
    this.#httpListener = await http.listen(config['http.listener'], (path) => this.#answerHttp(path));
    await this.#space.start();
    const id = brokerId(config['node.id']);
    const store = await Store.open(disk, random, id);
    await refuseLostWal(store, await disk.list(WAL_DIRECTORY));
    const sessions = await PeerSessionFile.open(disk);
    const voters = config['controller.quorum.voters'].map((voter) => ({
      ...voter,
      brokerId: brokerId(voter.brokerId),
    }));
    const formation = new ClusterFormation({
      store,
      voters,
      address: config.raftAdvertised,
      network: peerNetwork.formation,
      timers,
      log,
    });
    this.#formation = formation;
    peerNetwork.answer(id, formation, (presence) => this.#peerDirectory?.introduce(presence));
    await peerNetwork.listen(config['raft.listener']);
    // Before the store is bound to a cluster: a bound store without a WAL has lost it.
    this.#wal = await Wal.open({
      disk,
      clock,
      timers,
      log,
      directory: WAL_DIRECTORY,
      storeId: fromHex(store.storeId),
      segmentBytes: config['wal.segment.bytes'],
      bytesLimit: config['wal.max.bytes'],
    });
    const formed = await formation.run();
    log.info({ clusterId: formed.clusterId, kind: formed.kind, session: store.session }, 'Member of the cluster');

    const stateMachine = new MetadataStateMachine({ clusterId: formed.clusterId, disk, timers });
    const transport = peerNetwork.createTransport({
      local: {
        brokerId: id,
        storeId: store.storeId,
        session: store.session,
        incarnation: store.incarnation,
        clusterId: formed.clusterId,
      },
      sessions,
      timers,
      random,
      log,
      acceptPeer: (peer) => refuseStore(stateMachine.image, peer, (broker) => this.#liveStoreOf(broker)),
      ownStoreIsStale: (reason) => {
        store.condemn(reason).then(
          () => this.#onFailure(new StoreError(`The data directory (log.dirs) must not be used: ${reason}`)),
          (error: unknown) => this.#onFailure(error),
        );
      },
      fatal: this.#onFailure,
    });
    const partitions = new Partitions({
      machine: this.#machine,
      config,
      image: () => stateMachine.image,
      onFailure: this.#onFailure,
    });
    this.#partitions = partitions;
    const driver = new RaftDriver({
      brokerId: id,
      storeId: store.storeId,
      clock,
      timers,
      random,
      log,
      storage: this.#wal,
      transport,
      createStateMachine: (group, descriptor) => {
        const created = partitions.createStateMachine(group, descriptor, stateMachine);
        this.#machine.watchStateMachine?.(group, created);
        return created;
      },
      destroyRemains: (_, removed) => partitions.destroyRemains(removed),
      fatal: this.#onFailure,
      config: {
        electionTimeoutMs: config['raft.election.timeout.ms'],
        heartbeatIntervalMs: config['raft.heartbeat.interval.ms'],
        livenessTimeoutMs: config['raft.liveness.timeout.ms'],
        flushWaitMaxMs: config['raft.disk.stall.limit.ms'],
        replicaLagTimeMaxMs: config['replica.lag.time.max.ms'],
        groupProposedBytesMax: config['raft.group.max.uncommitted.bytes'],
        brokerProposedBytesMax: config['raft.max.uncommitted.bytes'],
      },
    });
    this.#driver = driver;
    partitions.useDriver(driver);
    driver.diskFull = this.#space.refusesProduce;

    const services = new ClusterServices({
      broker: {
        brokerId: id,
        storeId: store.storeId,
        host: config.advertised.host,
        port: config.advertised.port,
        raftHost: config.raftAdvertised.host,
        raftPort: config.raftAdvertised.port,
        rack: config['broker.rack'] ?? null,
      },
      groups: driver,
      stateMachine,
      clock,
      timers,
      random,
      defaults: {
        partitionCount: config['num.partitions'],
        replicationFactor: config['default.replication.factor'],
        allowsTopicDeletion: config['delete.topic.enable'],
      },
      openPartition: (group, topic, partition) => partitions.open(group, topic, partition),
      configure: (log, topic) => partitions.configure(log, topic),
      closePartition: (log) => partitions.close(log),
      needsClusterTime: (image) => image.topics.size > 0,
      log,
      damagedReplicas: () => driver.damagedReplicas(),
      fail: this.#onFailure,
    });
    this.#services = services;
    const { controller } = services;
    const offsetsTopic = new InternalTopic({
      cluster: controller,
      name: CONSUMER_OFFSETS_TOPIC,
      partitionCount: config['offsets.topic.num.partitions'],
      replicationFactor: config['offsets.topic.replication.factor'],
      timeoutMs: OFFSETS_TOPIC_TIMEOUT_MS,
    });
    const coordinator = new GroupCoordinator({
      cluster: controller,
      groups: driver,
      timers,
      config: {
        initialRebalanceDelayMs: config['group.initial.rebalance.delay.ms'],
        sessionTimeoutMinMs: config['group.min.session.timeout.ms'],
        sessionTimeoutMaxMs: config['group.max.session.timeout.ms'],
        membersMax: config['group.max.size'],
        offsetMetadataBytesMax: config['offset.metadata.max.bytes'],
        offsetsRetentionMs: config['offsets.retention.minutes'] * 60_000,
        retentionCheckIntervalMs: config['offsets.retention.check.interval.ms'],
      },
      ensureTopic: () => offsetsTopic.ensure(),
    });
    this.#coordinator = coordinator;
    partitions.useCoordinator(coordinator);
    const peers = new PeerDirectory({
      brokerId: id,
      initialVoters: formed.initialVoters,
      configuredVoters: voters,
      image: () => stateMachine.image,
      setPeers: (addresses) => driver.setPeers(addresses),
    });
    this.#peerDirectory = peers;
    stateMachine.onImageChanged(() => peers.update());
    peers.update();
    await driver.start();
    if (formed.kind === 'formed') createMetadataGroup(driver, formed);
    peers.update();
    services.start();
    this.#introduction = introductionTask({
      places: () => [...peers.places()].filter((place) => driver.peers.get(place.brokerId)?.link === undefined),
      timers,
      // An initial voter is expected without being registered; it has something to say only if it moved.
      isKnown: () =>
        services.registrar.isRegistered || (formed.kind === 'formed' && !stateMachine.image.brokers.has(id)),
      ask: (place) => peerNetwork.formation.ask(place, formation.presence()),
      fail: this.#onFailure,
    });
    this.#introduction.start();
    partitions.start();

    this.#listener = this.#createListener(services, driver, coordinator);
    this.#admin = this.#createAdmin(services, driver, coordinator);
    await this.#listener.open();
    coordinator.start();
    this.#isServing = true;
  }

  /** Graceful: what was accepted is answered, leaderships move away first, and a later start has nothing to replay. */
  async stop(): Promise<void> {
    this.#isServing = false;
    this.#formation?.stop();
    this.#introduction?.stop();
    const transferTimeoutMs = this.#config['shutdown.transfer.timeout.ms'];
    this.#coordinator?.stop();
    this.#services?.stop();
    this.#partitions?.stop();
    await this.#driver?.transferAll(transferTimeoutMs);
    await this.#listener?.close(CONNECTIONS_CLOSE_TIMEOUT_MS);
    await this.#driver?.close();
    this.#machine.peers.close();
    await this.#wal?.close();
    await this.#httpListener?.close();
    this.#space.stop();
    this.#eventLoop.stop();
  }

  #liveStoreOf(broker: BrokerId): string | undefined {
    const peer = this.#driver?.peers.get(broker);
    return peer?.live === true ? peer.link?.storeId : undefined;
  }

  async #answerHttp(path: string) {
    if (this.#admin !== undefined) return this.#admin.answer(path);
    if (path === '/healthz') return { status: 200, contentType: 'text/plain', body: 'ok\n' };
    return { status: 503, contentType: 'text/plain', body: 'It waits for the other voters of its cluster\n' };
  }

  #createListener(services: ClusterServices, driver: RaftDriver, coordinator: GroupCoordinator): ClientListener {
    const config = this.#config;
    const { clock, timers, log, network, disk } = this.#machine;
    const handlers = createHandlers({
      cluster: services.controller,
      groups: driver,
      config,
      clock,
      timers,
      records: this.#records,
      responseMemory: this.#responseMemory,
      space: () => disk.space(),
    });
    for (const handler of groupHandlers(coordinator)) handlers.add(handler);
    return new ClientListener({
      network,
      timers,
      address: config.listeners,
      connectionsMax: config['max.connections'],
      environment: {
        handlers,
        requestMemory: this.#requestMemory,
        responseMemory: this.#responseMemory,
        limits: {
          frameBytesMax: config['socket.request.max.bytes'],
          inFlightRequestsMax: config['connection.max.in.flight.requests'],
          inFlightBytesMax: config['connection.max.in.flight.bytes'],
          bufferedResponseBytesMax: config['connection.max.buffered.response.bytes'],
          idleMs: config['connections.max.idle.ms'],
        },
        clock,
        log: new RateLimitedLog(log, clock),
        observer: this.#requests,
        onFailure: this.#onFailure,
      },
    });
  }

  #createAdmin(services: ClusterServices, driver: RaftDriver, coordinator: GroupCoordinator): AdminHttp {
    const wal = this.#wal!.stats;
    const registry = createMetricsRegistry({
      requests: this.#requests,
      records: this.#records,
      cluster: services.controller,
      groups: driver,
      driver: driver.metrics,
      commitBoundsMs: COMMIT_BUCKETS_MS,
      wal,
      walFlush: wal.flushDurationMs,
      walBatch: wal.flushSizeBytes,
      memoryPools: () => this.memoryPools(),
      process: () => ({ ...this.#machine.processFacts(), eventLoopDelayMs: this.#eventLoop.delayMs }),
      disk: () => this.#space,
      scrub: () => this.#partitions?.scrubber,
      replacedReplicas: () => services.replacement.replaced,
      barredReplicas: () => this.#driver?.damagedReplicas().length ?? 0,
      groupLags: () => groupLags(coordinator),
    });
    return new AdminHttp({
      cluster: services.controller,
      groups: driver,
      // Whoever restarts brokers one by one waits for this one to be able to lead at once.
      isServing: () => this.#isServing && !driver.isReplaying,
      scrub: () => this.#partitions?.scrubber,
      metrics: () => registry.metrics(),
      metricsContentType: registry.contentType,
    });
  }
}

function usageOf({ usedBytes, limitBytes }: MemoryBudget): { usedBytes: number; limitBytes: number } {
  return { usedBytes, limitBytes };
}

/** A store that belongs to a cluster has voted and acknowledged; without its WAL it would do both again, from nothing (DECISIONS I1, W6). */
async function refuseLostWal(store: Store, walFiles: readonly string[]): Promise<void> {
  if (store.cluster === undefined || walFiles.length > 0) return;
  throw new StoreError(
    'The data directory (log.dirs) belongs to a cluster but its write-ahead log is gone, so its votes and acknowledgements are lost. Give an empty directory; the broker then gets its data from its peers',
  );
}

/** First start of an initial voter. Later ones find the replica in the WAL. */
function createMetadataGroup(driver: RaftDriver, formed: Formation): void {
  const voters = formed.initialVoters.map((voter, position) => ({
    replicaId: replicaId(position + 1),
    brokerId: voter.brokerId,
    storeId: voter.storeId,
  }));
  const own = voters.find((voter) => voter.brokerId === driver.brokerId);
  if (own === undefined || driver.get(METADATA_GROUP_ID) !== undefined) return;
  const group = driver.create({
    groupId: METADATA_GROUP_ID,
    replicaId: own.replicaId,
    membership: { voters, votersOutgoing: [], learners: [] },
    descriptor: encodeReplicaDescriptor({ kind: 'metadata' }),
  });
  // Nobody has voted yet, so one of them need not wait for an election timeout.
  if (own === voters[0]) group.campaign();
}

function* groupLags(coordinator: GroupCoordinator): Generator<GroupLag> {
  for (const { groupId, topic, partition, committedOffset, highWatermark } of coordinator.positions()) {
    if (highWatermark === undefined) continue;
    yield { group: groupId, topic, partition, lag: Math.max(0, highWatermark - committedOffset) };
  }
}
