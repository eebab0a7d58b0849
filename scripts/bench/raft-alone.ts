/**
 * Measures cores, driver and WAL alone: three brokers in one process, links in memory, real disk. What it shows is the cost of Raft without gRPC and Kafka's protocol; the three brokers share
 * one core and one disk. Usage: npx tsx scripts/bench/raft-alone.ts [--groups 12] [--bytes 1024] [--inflight 64] [--seconds 5] [--dir DIRECTORY]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openNodeEnvironment } from '../../src/node/node-environment.ts';
import { RaftDriver } from '../../src/raft/raft-driver.ts';
import { COMMIT_BUCKETS_MS } from '../../src/raft/raft-driver-metrics.ts';
import type { RaftGroup } from '../../src/raft/raft-group.ts';
import type { StateCheckpoint, StateMachine } from '../../src/raft/state-machine.ts';
import type { Channel, LinkInfo, Transport, TransportHandlers } from '../../src/raft/transport.ts';
import { type BrokerId, brokerId, groupId, type LogIndex, replicaId, type Term } from '../../src/std/brands.ts';
import { SILENT_LOG } from '../../src/std/log.ts';
import { Wal } from '../../src/wal/wal.ts';

const { values } = parseArgs({
  options: {
    groups: { type: 'string', default: '12' },
    bytes: { type: 'string', default: '1024' },
    inflight: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
  },
});
const groups = Number(values.groups);
const bytes = Number(values.bytes);
const inflight = Number(values.inflight);
const seconds = Number(values.seconds);

/** Keeps nothing: the state machine is not what is measured. */
class CountingStateMachine implements StateMachine {
  #index = 0 as LogIndex;
  #term = 0 as Term;
  #bytes = 0;
  apply({ index, term, payload }: { index: LogIndex; term: Term; payload: Uint8Array }): unknown {
    this.#index = index;
    this.#term = term;
    this.#bytes += payload.length;
    return undefined;
  }
  advance(index: LogIndex, term: Term): void {
    this.#index = index;
    this.#term = term;
  }
  async restore(): Promise<void> {}
  async checkpoint(): Promise<StateCheckpoint> {
    this.#bytes = 0;
    return { index: this.#index, term: this.#term, payload: new Uint8Array(0) };
  }
  bytesSinceCheckpoint(): number {
    return this.#bytes;
  }
  catchUpPosition(): Uint8Array {
    return new Uint8Array(0);
  }
  openCatchUp(): never {
    throw new Error('Nobody falls behind in this benchmark');
  }
  installCatchUp(): never {
    throw new Error('Nobody falls behind in this benchmark');
  }
  async close(): Promise<void> {}
  async destroy(): Promise<void> {}
}

class MemoryTransport implements Transport {
  static readonly all = new Map<BrokerId, MemoryTransport>();
  handlers: TransportHandlers = { linkUp: () => {}, linkDown: () => {}, message: () => {} };
  onWritable: (peer: BrokerId, channel: Channel) => void = () => {};
  readonly #info: LinkInfo;

  constructor(info: LinkInfo) {
    this.#info = info;
    MemoryTransport.all.set(info.brokerId, this);
  }
  async start(): Promise<void> {
    for (const other of MemoryTransport.all.values()) if (other !== this) this.handlers.linkUp(other.#info);
  }
  setPeers(): void {}
  isUp(): boolean {
    return true;
  }
  send(peer: BrokerId, channel: Channel, pieces: readonly Uint8Array[]): boolean {
    const message = Buffer.concat(pieces);
    setImmediate(() => MemoryTransport.all.get(peer)?.handlers.message(this.#info.brokerId, channel, message));
    return true;
  }
  queuedBytes(): number {
    return 0;
  }
  reset(peer: BrokerId, reason: string): void {
    throw new Error(`The link to ${peer} is reset: ${reason}`);
  }
  async close(): Promise<void> {}
}

const directory = mkdtempSync(join(values.dir, 'bench-raft-'));
const ids = [1, 2, 3].map(brokerId);
const drivers: RaftDriver[] = [];
for (const id of ids) {
  const environment = await openNodeEnvironment(join(directory, String(id)));
  const storeId = environment.random.bytes(16);
  const { disk, clock, timers, random } = environment;
  const storage = await Wal.open({ disk, clock, timers, directory: 'wal', storeId });
  const text = Buffer.from(storeId).toString('hex');
  const driver = new RaftDriver({
    brokerId: id,
    storeId: text,
    clock,
    timers,
    random,
    log: SILENT_LOG,
    storage,
    transport: new MemoryTransport({ brokerId: id, storeId: text, session: 1 }),
    createStateMachine: () => new CountingStateMachine(),
    fatal: (error) => {
      console.error(error);
      process.exit(1);
    },
  });
  driver.setPeers(ids.filter((other) => other !== id).map((other) => ({ brokerId: other, host: '', port: 0 })));
  drivers.push(driver);
}
for (const driver of drivers) await driver.start();

let next = 1;
const leaders: RaftGroup[] = [];
for (let group = 1; group <= groups; group++) {
  const voters = drivers.map((driver) => ({
    replicaId: replicaId(next++),
    brokerId: driver.brokerId,
    storeId: driver.storeId,
  }));
  const membership = { voters, votersOutgoing: [], learners: [] };
  drivers.forEach((driver, at) => {
    const created = driver.create({
      groupId: groupId(group),
      replicaId: voters[at]!.replicaId,
      membership,
      descriptor: new Uint8Array(0),
    });
    if (at !== group % 3) return;
    created.campaign();
    leaders.push(created);
  });
}
const createdMs = performance.now();
while (!leaders.every((leader) => leader.isReady)) await new Promise((resolve) => setImmediate(resolve));
console.log(`${groups} groups have leaders after ${(performance.now() - createdMs).toFixed(0)} ms`);

let running = true;
let done = 0;
const payload = new Uint8Array(bytes).fill(7);
const propose = (leader: RaftGroup): void => {
  leader.propose([payload], (outcome) => {
    if (outcome.kind === 'applied') done++;
    if (running) {
      if (outcome.kind === 'applied') propose(leader);
      else setTimeout(() => propose(leader), 10);
    }
  });
};
for (const leader of leaders) for (let at = 0; at < inflight; at++) propose(leader);
const startMs = performance.now();
const cpu = process.cpuUsage();
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
running = false;
const tookMs = performance.now() - startMs;
const used = process.cpuUsage(cpu);
console.log(
  `${groups} groups, ${inflight} in flight each, ${bytes} bytes: ${((done / tookMs) * 1000).toFixed(0)} proposals/s, ` +
    `${((done * bytes) / tookMs / 1000).toFixed(1)} MB/s, ${((used.user + used.system) / done).toFixed(1)} us of CPU each (three brokers)`,
);
const counts = drivers.reduce(
  (sum, { metrics }) => sum.map((count, at) => count + metrics.commitCounts[at]!),
  new Array<number>(COMMIT_BUCKETS_MS.length + 1).fill(0),
);
const total = counts.reduce((sum, count) => sum + count, 0);
for (const share of [0.5, 0.99]) {
  let sum = 0;
  const bucket = counts.findIndex((count) => {
    sum += count;
    return sum >= total * share;
  });
  console.log(`p${share * 100} of propose to applied: below ${COMMIT_BUCKETS_MS[bucket] ?? 'infinity'} ms`);
}
for (const { brokerId: id, storage, metrics } of drivers) {
  const { flushes, flushedBytes, flushMsTotal } = storage.stats;
  console.log(
    `broker ${id}: ${flushes} flushes of ${(flushedBytes / flushes / 1024).toFixed(0)} KiB in ${(flushMsTotal / flushes).toFixed(2)} ms, ${metrics.passes} passes, ${metrics.checkpoints} checkpoints`,
  );
}
await new Promise((resolve) => setTimeout(resolve, 3_000));
const idleCpu = process.cpuUsage();
await new Promise((resolve) => setTimeout(resolve, 2_000));
const idle = process.cpuUsage(idleCpu);
console.log(`idle: ${((idle.user + idle.system) / 20_000 / 3).toFixed(2)} % of a core per broker`);
rmSync(directory, { recursive: true, force: true });
process.exit(0);
