/** Deaths at named points of a broker's life: at what it does to its files, in the middle of a catch-up, in the middle of an election. */
import { rmSync } from 'node:fs';
import type { NamedPoint } from '../faults/shim-control.ts';
import type { NemesisContext } from './nemesis.ts';

const READY_TIMEOUT_MS = 60_000;
/** A point that is not reached in this time is given up; small files bring each of them often. */
const REACH_TIMEOUT_MS = 8_000;
const ELECTION_TIMEOUT_MS = 3_000;

const both = (name: string, operation: NamedPoint['operation'], path: string): NamedPoint[] => [
  { name: `before ${name}`, when: 'before', operation, path },
  { name: `after ${name}`, when: 'after', operation, path },
];

/** Reached while a broker runs under load with small files. */
const RUNNING: readonly NamedPoint[] = [
  ...both('a WAL segment is made', 'create', '.wal.new'),
  ...both('a WAL segment is zero-filled', 'sync', '.wal.new'),
  ...both('a WAL segment gets its name', 'rename', '.wal'),
  ...both('a flush of the WAL', 'sync', '.wal'),
  ...both('a partition file is rolled', 'create', '.log'),
  ...both('a write to a partition file', 'write', '.log'),
  ...both('a partition file is flushed for a checkpoint', 'sync', '.log'),
];
/** Reached while it starts. */
const STARTING: readonly NamedPoint[] = [
  ...both('its identity and session are noted', 'rename', 'meta.properties'),
  ...both('the flush that opens the WAL', 'sync', '.wal'),
  ...both('the directory of the WAL is flushed', 'sync', '/wal'),
];

/** Reached when another broker starts. */
const MEETING: readonly NamedPoint[] = [
  ...both('the session of a peer is noted', 'rename', 'peer-sessions.properties'),
];

/** Kills a broker at one named point after the other, with and without losing its power. */
export async function dieAtPoints(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  let points: { point: NamedPoint; when: 'running' | 'starting' | 'meeting' }[] = [];
  while (context.hasTime) {
    if (points.length === 0) {
      points = random.shuffle([
        ...RUNNING.map((point) => ({ point, when: 'running' as const })),
        ...STARTING.map((point) => ({ point, when: 'starting' as const })),
        ...MEETING.map((point) => ({ point, when: 'meeting' as const })),
      ]);
    }
    const { point, when } = points.pop()!;
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    const losesPower = random.chance(0.5);
    await context.fault(`dies ${point.name}${losesPower ? ', power lost' : ''}`, [broker], async () => {
      const control = cluster.control(broker);
      const before = control.count('deaths');
      if (when === 'starting') {
        await cluster.kill(broker);
        control.dieAt(point, 1);
        // cluster.sh says that the broker ended while starting: that is what was wanted.
        await cluster.restart(broker).catch(() => undefined);
      } else {
        control.dieAt(
          point,
          when === 'meeting'
            ? 1
            : random.between(1, point.operation === 'sync' || point.operation === 'write' ? 12 : 2),
        );
        const met = when === 'meeting' ? meetAgain(context, broker) : undefined;
        await cluster.awaitEnd(broker, REACH_TIMEOUT_MS).catch(() => undefined);
        await met;
      }
      const deaths = control.count('deaths') - before;
      control.heal();
      if (cluster.pid(broker) !== undefined) {
        cluster.revive(broker);
        return undefined;
      }
      if (losesPower) cluster.losePower(broker, random.fork());
      await cluster.restart(broker);
      return deaths > 0 ? `broker ${broker} killed itself ${point.name}` : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(300, 1_000);
  }
}

/** Starts another broker anew, so that `broker` meets a new session of it. */
async function meetAgain({ cluster, random }: NemesisContext, broker: number): Promise<void> {
  const other = random.pick(cluster.ids.filter((id) => id !== broker));
  await cluster.kill(other);
  await cluster.restart(other);
}

/** What a broker without data does first: it forms its store, and then it is filled. */
const FILLING: readonly NamedPoint[] = [
  ...both('it flushes what it is given', 'sync', '.wal'),
  ...both('it writes a file that it is given', 'write', '/topics/'),
  ...both('it makes a file that it is given', 'create', '/topics/'),
];

/** A broker without data is filled by its peers; it dies in the middle, and again in the next attempt, with or without the leader that fills it. */
export async function dieInCatchUp(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who('any');
    const alsoLeader = random.chance(0.4);
    let isWhole = false;
    await context.fault(`dies while it is filled${alsoLeader ? ', and a leader' : ''}`, [broker], async () => {
      const control = cluster.control(broker);
      await cluster.kill(broker);
      rmSync(cluster.dataDirectory(broker), { recursive: true, force: true });
      const evidence: string[] = [];
      for (let i = 0; i < 2; i++) {
        const point = random.pick(FILLING);
        const before = control.count('deaths');
        control.dieAt(point, point.operation === 'sync' ? random.between(2, 60) : random.between(1, 8));
        const restarted = cluster.restart(broker).catch(() => undefined);
        while (cluster.pid(broker) === undefined && control.count('deaths') === before) await context.sleep(5);
        await cluster.awaitEnd(broker, REACH_TIMEOUT_MS).catch(() => undefined);
        if (control.count('deaths') > before) evidence.push(point.name);
        control.heal();
        if (alsoLeader) {
          const leader = await context.who('leader', { but: broker });
          await cluster.kill(leader);
          await cluster.restart(leader);
        }
        await restarted;
        if (cluster.pid(broker) !== undefined) cluster.revive(broker);
        else if (random.chance(0.5)) cluster.losePower(broker, random.fork());
        if (cluster.pid(broker) !== undefined) break;
      }
      if (cluster.pid(broker) === undefined) await cluster.restart(broker);
      isWhole = await context.awaitWhole(READY_TIMEOUT_MS);
      return evidence.length > 0 ? `broker ${broker} killed itself ${evidence.join(', then ')}` : undefined;
    });
    if (!isWhole) {
      context.failures.push(
        `Broker ${broker} was not filled within ${READY_TIMEOUT_MS / 1000} s: ${await context.reasonsNotReady()}`,
      );
      return;
    }
    await context.sleepBetween(500, 1_500);
  }
}

/** Kills a leader and then whoever begins to stand for election, and brings both back while the third holds its own. */
export async function dieInElection(context: NemesisContext): Promise<void> {
  const { cluster } = context;
  while (context.hasTime) {
    const leader = await context.who('leader');
    const others = cluster.ids.filter((id) => id !== leader);
    await context.fault(
      'candidate dies',
      cluster.ids,
      async () => {
        const terms = new Map(
          await Promise.all(others.map(async (id) => [id, await context.metric(id, 'raft_term_max')] as const)),
        );
        await cluster.kill(leader);
        const deadlineMs = performance.now() + ELECTION_TIMEOUT_MS;
        let candidate: number | undefined;
        while (candidate === undefined && performance.now() < deadlineMs) {
          for (const id of others) {
            const term = await context.metric(id, 'raft_term_max');
            if (term !== undefined && term > (terms.get(id) ?? 0)) candidate ??= id;
          }
        }
        const victim = candidate ?? others[0]!;
        await cluster.kill(victim);
        context.quorumLost();
        await context.sleepBetween(0, 600);
        context.quorumBack();
        await Promise.all([cluster.restart(victim), cluster.restart(leader)]);
        return candidate === undefined ? undefined : `broker ${candidate} had raised its term and was killed`;
      },
      { recoverFrom: 'end' },
    );
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(500, 2_000);
  }
}
