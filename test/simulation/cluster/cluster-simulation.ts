/**
 * A whole cluster of production brokers with clients on the wire, in one process and on one seed: WAL, driver, metadata, partitions, coordinators and listeners, under faults that the seed draws.
 * Then everything heals (or all but a minority), the cluster must become available in bounded time and quiet, and everything is read and judged.
 */
import { PartitionDamageError } from '../../../src/broker/partition/partition-damage-error.ts';
import { PartitionStateMachine } from '../../../src/broker/partition/partition-state-machine.ts';
import { METADATA_GROUP_ID } from '../../../src/std/brands.ts';
import { crc32c } from '../../../src/std/crc32c.ts';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { checkHistory, type Verdict } from '../../chaos/checker/check-history.ts';
import { Mark } from '../../chaos/history/history.ts';
import { freshBufferPool } from '../fresh-buffer-pool.ts';
import { Violation } from '../raft-oracle.ts';
import { SimulatedTime } from '../simulated-clock.ts';
import { SimulatedNetwork } from '../simulated-network.ts';
import { ClusterFaults } from './cluster-faults.ts';
import { ClusterOracle } from './cluster-oracle.ts';
import { type ClusterPlan, drawPlan } from './cluster-plan.ts';
import { ClusterTruth } from './cluster-truth.ts';
import { ClusterWorkload } from './cluster-workload.ts';
import {
  addCoverage,
  type Coverage,
  isDamageLine,
  noteChange,
  noteLine,
  type ReplicaView,
  viewOf,
} from './coverage.ts';
import { beyondLimits, isAtRest } from './memory-limits.ts';
import { imageOf } from './node-image.ts';
import { limitPlan, type PlanLimits } from './plan-limits.ts';
import { SimulatedClientNetwork } from './simulated-client-network.ts';
import { type Key, SimulatedHistory } from './simulated-history.ts';
import { SimulatedNode } from './simulated-node.ts';
import { SimulatedPeerPorts } from './simulated-peer-network.ts';
import { Tempo } from './tempo.ts';

export interface ClusterResult {
  readonly hash: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly verdict: Verdict['statistics'];
  /** Kind → how often it took effect. */
  readonly faults: Readonly<Record<string, number>>;
  readonly coverage: Coverage;
}

/** What went wrong, with the story that led to it. */
export class SimulationFailure extends Error {
  override name = 'SimulationFailure';
  readonly timeline: readonly string[];

  constructor(message: string, timeline: readonly string[], cause: unknown) {
    super(message, { cause });
    this.timeline = timeline;
  }
}

/** A replica at the last look. */
interface Seen {
  readonly commit: number;
  readonly applied: number;
  readonly term: number;
  readonly end: number;
  readonly view: ReplicaView;
}

const FORM_MS = 30_000;
const CONVERGE_MS = 90_000;
const QUIET_MS = 4_000;
const STEP_MS = 50;
/** Nothing hurries in the calm stretch of a long run. */
const CALM_SCALE = 200;
const CALM_STEP_MS = 250;
const TIMELINE_LINES = 150;

export class ClusterSimulation {
  readonly plan: ClusterPlan;
  readonly #time = new SimulatedTime();
  readonly #network: SimulatedNetwork;
  readonly #clients: SimulatedClientNetwork;
  readonly #oracle: ClusterOracle;
  readonly #nodes: SimulatedNode[];
  readonly #history: SimulatedHistory;
  readonly #workload: ClusterWorkload;
  readonly #faults: ClusterFaults;
  readonly #tempo = new Tempo();
  readonly #coverage: Coverage = {};
  readonly #lines: string[] = [];
  readonly #trace: ((line: string) => void) | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(seed: number, options: { trace?: (line: string) => void; limits?: PlanLimits } = {}) {
    this.#trace = options.trace;
    const random = new SeededRandom(seed);
    const plan = limitPlan(drawPlan(random.fork()), options.limits ?? {});
    this.plan = plan;
    const latencyMs = (source: SeededRandom): number => plan.latencyScale * (0.2 + source.next() * 0.6);
    this.#network = new SimulatedNetwork(this.#time, random.fork(), { latencyMs, budgetBytes: plan.budgetBytes });
    this.#clients = new SimulatedClientNetwork(this.#time, random.fork(), latencyMs);
    const fail = (error: unknown): void => this.#fail(error);
    this.#oracle = new ClusterOracle({
      fail,
      durableOf: (brokerId) => this.#nodes[brokerId - 1]?.durableWal,
      wallOffsetMs: this.#time.wallMs() - this.#time.now,
    });
    this.#network.onSend = (_from, _to, channel, bytes) => this.#oracle.sent(channel, bytes);
    const peers = new SimulatedPeerPorts(this.#network);
    this.#nodes = Array.from(
      { length: plan.brokers },
      (_, at) =>
        new SimulatedNode({
          time: this.#time,
          peers,
          clients: this.#clients,
          random: random.fork(),
          brokerId: at + 1,
          properties: plan.properties,
          overrides: plan.overrides,
          voters: plan.voters,
          clockRate: plan.clockRates[at]!,
          log: (brokerId, level, message, fields) => {
            noteLine(this.#coverage, message);
            if (isDamageLine(message) && !this.#faults.hasLied(brokerId)) {
              fail(
                new Violation(`Broker ${brokerId} has damage that nobody did: ${message} ${JSON.stringify(fields)}`),
              );
            }
            this.#log(`broker ${brokerId} ${level} ${message} ${JSON.stringify(fields)}`);
          },
          watch: (node, group, machine) => this.#oracle.watch(node.brokerId, group, machine),
          failed: (node, error) => this.#faults.brokerFailed(node, error),
        }),
    );
    this.#history = new SimulatedHistory(this.#time);
    this.#workload = new ClusterWorkload({
      time: this.#time,
      network: this.#clients,
      random: random.fork(),
      plan,
      history: this.#history,
      nodes: this.#nodes,
      truth: new ClusterTruth(this.#oracle, (key) => this.#groupOf(key)),
      tempo: this.#tempo,
      fail,
      log: (line) => this.#log(line),
    });
    this.#oracle.onCommitted = (brokerId, _group, isGeneration) => this.#faults.committed(brokerId, isGeneration);
    this.#faults = new ClusterFaults({
      time: this.#time,
      random: random.fork(),
      plan,
      nodes: this.#nodes,
      network: this.#network,
      clients: this.#clients,
      workload: this.#workload,
      tempo: this.#tempo,
      isFormed: () => this.#oracle.applied > 0,
      isSettled: () => this.#problem(this.#nodes) === undefined,
      willEnd: (node) => this.#collect(node),
      fail,
      log: (line) => this.#log(line),
    });
  }

  /** Runs the seed to its end. Rejects with a {@link SimulationFailure}. */
  async run(): Promise<ClusterResult> {
    freshBufferPool();
    const unhandled = (error: unknown): void => this.#faults.unhandled(error);
    process.on('unhandledRejection', unhandled);
    try {
      return await this.#run();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new SimulationFailure(message, [...this.#lines, ...this.#describe()], error);
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  }

  async #run(): Promise<ClusterResult> {
    const { plan } = this;
    this.#log(`plan ${JSON.stringify(plan)}`);
    for (const node of this.#nodes) node.start();
    if (plan.chaosFromStart) this.#faults.start();
    const formed = await this.#runUntil(this.#time.now + FORM_MS, () =>
      this.#nodes.some(({ state }) => state === 'running'),
    );
    if (!formed && !plan.chaosFromStart) throw new Violation(`The cluster did not form within ${FORM_MS} ms`);
    this.#workload.start();
    if (!plan.chaosFromStart) {
      const served = await this.#runUntil(this.#time.now + FORM_MS, () => this.#workload.isRunning);
      if (!served) throw new Violation('The topics of the workload were not created by a healthy cluster');
      this.#faults.start();
    }
    await this.#runUntil(this.#time.now + plan.chaosMs / 2);
    if (plan.calmMs > 0) await this.#calm(plan.calmMs);
    await this.#runUntil(this.#time.now + plan.chaosMs / 2);
    const core = this.#faults.stop();
    await this.#becomeAvailable(core);
    await this.#becomeQuiet(core);
    const verdict = await this.#judge(core);
    await this.#becomeEmpty(core);
    for (const node of this.#nodes) this.#collect(node);
    return {
      hash: this.#hash(),
      events: this.#time.eventsRun,
      simulatedMs: this.#time.now,
      verdict: verdict.statistics,
      faults: this.#faults.effects,
      coverage: this.#coverage,
    };
  }

  async #calm(durationMs: number): Promise<void> {
    this.#log(`calm for ${durationMs} ms`);
    this.#tempo.scale = CALM_SCALE;
    await this.#runUntil(this.#time.now + durationMs);
    this.#tempo.scale = 1;
    this.#log('calm no more');
  }

  async #runUntil(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    while (this.#time.now < untilMs) {
      const stepMs = this.#tempo.scale === 1 ? STEP_MS : CALM_STEP_MS;
      await this.#time.runUntil(Math.min(untilMs, this.#time.now + stepMs));
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#checkMonotone();
      this.#checkMemory();
      if (done()) return true;
    }
    return done();
  }

  /** Virtual time goes on until the promise settles. */
  async #settle<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
    let ended = false;
    const settled = (): void => {
      ended = true;
    };
    promise.then(settled, settled);
    if (!(await this.#runUntil(this.#time.now + limitMs, () => ended))) {
      throw new Violation(`${what} did not end within ${limitMs} ms`);
    }
    return promise;
  }

  #fail(error: unknown): void {
    if (this.#failure === undefined) this.#log(`FAILED ${error instanceof Error ? error.stack : String(error)}`);
    this.#failure ??= { error };
  }

  #log(line: string): void {
    const text = `${this.#time.now.toFixed(1)} ${line}`;
    this.#lines.push(text);
    if (this.#lines.length > TIMELINE_LINES) this.#lines.shift();
    this.#trace?.(text);
  }

  /** What every replica looks like, for a failure's story. */
  #describe(): string[] {
    const lines: string[] = [];
    for (const { brokerId, state, driver } of this.#nodes) {
      lines.push(`broker ${brokerId} is ${state}`);
      for (const group of driver?.all() ?? []) {
        const { groupId, replicaId, role, currentTerm, leader, commitIndex, appliedIndex, lastIndex, isReady } = group;
        const voters = group.membership.voters.map((voter) => voter.brokerId);
        lines.push(
          `  group ${groupId} replica ${replicaId} ${role}${isReady ? ' ready' : ''} term ${currentTerm} leader ${leader} commit ${commitIndex} applied ${appliedIndex} last ${lastIndex} voters ${voters}`,
        );
      }
    }
    return lines;
  }

  // -------------------------------------------------------------- liveness

  async #becomeAvailable(core: readonly SimulatedNode[]): Promise<void> {
    const healedMs = this.#time.now;
    const isRunning = (): boolean => core.every(({ state }) => state === 'running');
    if (!(await this.#runUntil(healedMs + CONVERGE_MS, isRunning))) {
      const states = core.map(({ brokerId, state }) => `${brokerId} ${state}`);
      throw new Violation(`Brokers do not run ${CONVERGE_MS} ms after everything healed: ${states.join(', ')}`);
    }
    // Whatever was under way with topics ends.
    await this.#settle(this.#workload.settled(), CONVERGE_MS, 'The administration of topics');
    const probed = this.#workload.probe();
    await this.#settle(probed, CONVERGE_MS, 'A first acknowledgement from every partition after everything healed');
    this.#log('every partition acknowledges');
    await this.#settle(this.#workload.stop(), CONVERGE_MS, 'The requests of the clients');
  }

  async #becomeQuiet(core: readonly SimulatedNode[]): Promise<void> {
    let problem: string | undefined;
    const isEven = await this.#runUntil(this.#time.now + CONVERGE_MS, () => {
      problem = this.#problem(core);
      return problem === undefined;
    });
    if (!isEven) throw new Violation(`Not settled ${CONVERGE_MS} ms after everything healed: ${problem}`);
    // Leaderships may still move to the preferred brokers, once.
    const untilMs = this.#time.now + CONVERGE_MS;
    for (;;) {
      const before = this.#terms(core);
      await this.#runUntil(this.#time.now + QUIET_MS);
      const growing = [...this.#terms(core)].find(([key, term]) => before.get(key) !== term);
      if (growing === undefined) return;
      if (this.#time.now > untilMs) throw new Violation(`Terms still grow after all healed: ${growing[0]}`);
    }
  }

  /** Why these nodes are not settled with each other, undefined if they are. */
  #problem(nodes: readonly SimulatedNode[]): string | undefined {
    const isWhole = nodes.length === this.#nodes.length;
    for (const { brokerId, state } of nodes) if (state !== 'running') return `broker ${brokerId} is ${state}`;
    const images = nodes.map((node) => imageOf(node));
    const image = images[0];
    if (image === undefined) return `broker ${nodes[0]?.brokerId} has no metadata`;
    for (const [at, other] of images.entries()) {
      if (other === undefined) return `broker ${nodes[at]!.brokerId} has no metadata`;
      if (other.topics.size !== image.topics.size) return 'brokers know different topics';
      // A broker that stays broken may never have registered.
      if (isWhole && other.brokers.size !== this.#nodes.length)
        return `broker ${nodes[at]!.brokerId} knows too few brokers`;
      const store = nodes[at]!.driver?.storeId;
      if (other.brokers.get(nodes[at]!.driver!.brokerId)?.storeId !== store)
        return `broker ${nodes[at]!.brokerId} is not registered with its store`;
      if (isWhole && other.tombstones.size > 0) return `${other.tombstones.size} removed replicas still exist`;
    }
    const metadata = nodes
      .map(({ driver }) => driver?.get(METADATA_GROUP_ID))
      .find((group) => group?.role === 'leader');
    if (metadata === undefined) return 'the metadata has no leader';
    for (const { brokerId, storeId } of metadata.membership.voters) {
      const node = nodes.find((each) => each.brokerId === brokerId);
      // Its successor is not a voter yet: until then a store that is gone counts as one that is down.
      if (node !== undefined && node.driver?.storeId !== storeId) return `a voter of broker ${brokerId} is gone`;
    }
    const groups = [...image.topics.values()].flatMap(({ name, partitions }) =>
      partitions.map((placement) => ({ name: `${name}/${placement.partition}`, ...placement })),
    );
    for (const { name, groupId, replicas, removing } of groups) {
      if (isWhole && removing.length > 0) return `${name} still changes its replicas`;
      const leader = nodes.map(({ driver }) => driver?.get(groupId)).find((group) => group?.role === 'leader');
      if (leader === undefined) return `${name} (group ${groupId}) has no leader`;
      if (!leader.isReady) return `the leader of ${name} (group ${groupId}) is not ready`;
      if (isWhole && leader.inSyncBrokers.length !== replicas.length) {
        return `${name} (group ${groupId}) has ${leader.inSyncBrokers.length} of ${replicas.length} replicas in sync`;
      }
      for (const { brokerId, replicaId } of replicas) {
        const node = nodes.find((each) => each.brokerId === brokerId);
        if (node === undefined) continue;
        const replica = node.driver?.get(groupId);
        if (replica?.replicaId !== replicaId) return `replica ${replicaId} of ${name} is not on broker ${brokerId}`;
        if (replica.appliedIndex !== leader.lastIndex)
          return `replica ${replicaId} of ${name} is at ${replica.appliedIndex} of ${leader.lastIndex}`;
      }
    }
    return undefined;
  }

  #terms(nodes: readonly SimulatedNode[]): Map<string, number> {
    const terms = new Map<string, number>();
    for (const { brokerId, driver } of nodes) {
      for (const group of driver?.all() ?? [])
        terms.set(`broker ${brokerId} group ${group.groupId}`, group.currentTerm);
    }
    return terms;
  }

  /** What was taken for anybody was given back. */
  async #becomeEmpty(core: readonly SimulatedNode[]): Promise<void> {
    const emptied = new Set<string>();
    const holding = (): string[] =>
      core.flatMap((node) =>
        node.memoryPools().flatMap((pool) => {
          const who = `${pool.name} at broker ${node.brokerId}`;
          if (isAtRest(pool)) emptied.add(who);
          return emptied.has(who) ? [] : [`${pool.usedBytes} bytes of ${who}`];
        }),
      );
    const isEmpty = await this.#runUntil(this.#time.now + CONVERGE_MS, () => holding().length === 0);
    if (!isEmpty) throw new Violation(`Still held when nobody wants anything: ${holding().join(', ')}`);
  }

  // -------------------------------------------------------------- safety

  #checkMemory(): void {
    const { connectionsPeak, chunkBytesPeak } = this.#clients;
    const bufferedResponseBytesMax = this.plan.overrides['connection.max.buffered.response.bytes']!;
    for (const node of this.#nodes) {
      const { driver, brokerId } = node;
      if (driver === undefined) continue;
      const pools = node.memoryPools();
      const beyond = beyondLimits({ pools, driver, connectionsPeak, chunkBytesPeak, bufferedResponseBytesMax });
      if (beyond !== undefined) throw new Violation(`Broker ${brokerId} holds ${beyond}`);
    }
  }

  readonly #seen = new WeakMap<object, Seen>();

  #checkMonotone(): void {
    for (const { brokerId, driver } of this.#nodes) {
      for (const group of driver?.all() ?? []) {
        const { commitIndex, appliedIndex, currentTerm, stateMachine } = group;
        const end = stateMachine instanceof PartitionStateMachine ? stateMachine.log.endOffset : 0;
        const seen = this.#seen.get(group);
        const view = viewOf(group);
        const who = `Replica ${group.replicaId} of group ${group.groupId} on broker ${brokerId}`;
        if (seen !== undefined) {
          noteChange(this.#coverage, seen.view, view);
          if (commitIndex < seen.commit || appliedIndex < seen.applied || currentTerm < seen.term || end < seen.end) {
            throw new Violation(`${who} goes back`);
          }
        }
        if (appliedIndex > commitIndex) throw new Violation(`${who} applied what is not committed`);
        this.#seen.set(group, { commit: commitIndex, applied: appliedIndex, term: currentTerm, end, view });
      }
    }
  }

  async #judge(core: readonly SimulatedNode[]): Promise<Verdict> {
    const read = await this.#settle(this.#workload.readEverything(), CONVERGE_MS, 'Reading everything at the end');
    this.#history.nemesis(Mark.finalReads, read);
    await this.#settle(this.#compareReplicas(core), CONVERGE_MS, 'Comparing the replicas');
    const verdict = checkHistory(this.#history.events);
    const [worst] = verdict.examples;
    if (worst !== undefined) {
      for (const line of this.#workload.timelineOf(worst)) this.#log(line);
      throw new Violation(`${worst.kind}: ${worst.detail} (${JSON.stringify(verdict.counts)})`);
    }
    return verdict;
  }

  /** Which group holds a key now; undefined if no broker says it. */
  #groupOf({ topic, topicId, partition }: Key): number | undefined {
    for (const node of this.#nodes) {
      const known = imageOf(node)?.topics.get(topic);
      if (known === undefined || (topicId !== undefined && known.topicId !== topicId)) continue;
      const placement = known.partitions[partition];
      if (placement !== undefined) return placement.groupId;
    }
    return undefined;
  }

  /** Replicas are equal byte by byte. */
  async #compareReplicas(core: readonly SimulatedNode[]): Promise<void> {
    // Until a place is healed seconds pass, in which a coordinator may write: what is compared is read at one moment.
    for (const { log, node } of partitionsOf(core)) await this.#hashOfHealed(log, node);
    while (this.#problem(core) !== undefined)
      await new Promise((resolve) => this.#time.after(10, () => resolve(undefined)));
    const known = new Map<number, { end: number; start: number; hash: number; who: string }>();
    for (const { group, log, node } of partitionsOf(core)) {
      const who = `replica ${group.replicaId} on broker ${node.brokerId}`;
      const hash = await this.#hashOfHealed(log, node);
      const facts = { end: log.endOffset, start: log.startOffset, hash, who };
      const other = known.get(group.groupId);
      known.set(group.groupId, facts);
      if (other === undefined) continue;
      if (other.end !== facts.end || other.start !== facts.start || other.hash !== facts.hash) {
        throw new Violation(
          `Replicas of group ${group.groupId} differ: ${JSON.stringify(other)} and ${JSON.stringify(facts)}`,
        );
      }
    }
  }

  /** Damage heals by itself, on brokers that may have any. */
  async #hashOfHealed(log: PartitionStateMachine['log'], node: SimulatedNode): Promise<number> {
    for (;;) {
      try {
        return await hashOf(log);
      } catch (error) {
        if (!this.#faults.isDamaged(node) || !(error instanceof PartitionDamageError)) throw error;
        await new Promise((resolve) => this.#time.after(1_000, () => resolve(undefined)));
      }
    }
  }

  // -------------------------------------------------------------- the result

  #collect(node: SimulatedNode): void {
    if (node.driver !== undefined) addCoverage(this.#coverage, node.driver);
  }

  #hash(): number {
    let hash = this.#network.hash;
    for (const { disk } of this.#nodes) hash = crc32c(Buffer.from(`${disk.hash}`), hash);
    hash = crc32c(Buffer.from(`${this.#clients.hash} ${this.#time.eventsRun} ${this.#oracle.applied}`), hash);
    for (const event of this.#history.events) hash = crc32c(Buffer.from(JSON.stringify(event)), hash);
    return hash;
  }
}

function partitionsOf(nodes: readonly SimulatedNode[]) {
  return nodes.flatMap((node) =>
    [...(node.driver?.all() ?? [])].flatMap((group) => {
      const { stateMachine } = group;
      return stateMachine instanceof PartitionStateMachine ? [{ node, group, log: stateMachine.log }] : [];
    }),
  );
}

async function hashOf(log: PartitionStateMachine['log']): Promise<number> {
  let hash = 0;
  for (let offset: number = log.startOffset; offset < log.endOffset; ) {
    const read = await log.read(offset, 64 * 1024, true);
    if (read === undefined || read.sizeBytes === 0)
      throw new Violation(`${log.directory} can not be read at ${offset}`);
    for (const piece of read.pieces) hash = crc32c(piece, hash);
    offset = read.nextOffset;
  }
  return hash;
}
