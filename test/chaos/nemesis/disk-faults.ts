/** Faults of disks and of power, by the shim, and damage done to the files of one broker: always a minority, so nothing acknowledged may be missing. */
import { closeSync, fsyncSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { ShimSetting } from '../faults/shim-control.ts';
import type { NemesisContext } from './nemesis.ts';

const READY_TIMEOUT_MS = 60_000;

/** Kills brokers and drops what they had not flushed: one, some or all at once, whole or torn at the grain of sectors. */
export async function losePower(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const count = random.chance(0.5) ? cluster.ids.length : random.between(1, cluster.ids.length);
    const victims = random.shuffle(cluster.ids).slice(0, count);
    const hasQuorum = cluster.ids.length - count > cluster.ids.length / 2;
    const isTorn = random.chance(0.5);
    const kind = `power loss of ${count === cluster.ids.length ? 'all' : count}${isTorn ? ', torn' : ''}`;
    await context.fault(
      kind,
      victims,
      async () => {
        await cluster.kill(...victims);
        if (!hasQuorum) context.quorumLost();
        let writes = 0;
        let bytes = 0;
        let names = 0;
        let torn = 0;
        const examples: string[] = [];
        for (const id of victims) {
          const lost = cluster.losePower(id, isTorn ? random.fork() : undefined);
          writes += lost.writesLost;
          bytes += lost.bytesLost;
          names += lost.namesLost;
          torn += lost.writesTorn;
          examples.push(...lost.names);
        }
        if (!hasQuorum) context.quorumBack();
        await Promise.all(victims.map((id) => cluster.restart(id)));
        return writes + names > 0
          ? `${writes} writes (${bytes} bytes, ${torn} torn) and ${names} changes of names were lost (${examples.slice(0, 5).join(', ')})`
          : undefined;
      },
      { recoverFrom: hasQuorum ? 'begin' : 'end' },
    );
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_500, 4_000);
  }
}

/** A broker kills itself at a flush or in the middle of a write, with and without losing power. */
export async function dieAtSyscall(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  const points: readonly ShimSetting[] = ['dieBeforeSync', 'dieAfterSync', 'dieInWrite'];
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    const point = random.pick(points);
    const losesPower = random.chance(0.5);
    await context.fault(`${point}${losesPower ? ' and power loss' : ''}`, [broker], async () => {
      const control = cluster.control(broker);
      const before = control.count('deaths');
      control.set(point, random.between(1, 200));
      await cluster.awaitEnd(broker, 15_000);
      const deaths = control.count('deaths') - before;
      if (losesPower) cluster.losePower(broker, random.fork());
      control.heal();
      // Half of the time it dies again while it recovers.
      if (random.chance(0.5)) {
        control.set(point, random.between(1, 12));
        await cluster.restart(broker).catch(() => undefined);
        control.heal();
        if (cluster.pid(broker) === undefined) await cluster.restart(broker);
        else await cluster.kill(broker).then(() => cluster.restart(broker));
      } else {
        await cluster.restart(broker);
      }
      return deaths > 0 ? `it killed itself at the system call` : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_000, 2_500);
  }
}

/** A flush or a write of one broker fails once: it has to stop, and nothing may be lost, even if the power goes with it. */
export async function failDisk(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    const isFlush = random.chance(0.6);
    const losesPower = random.chance(0.5);
    await context.fault(isFlush ? 'flush fails' : 'write fails', [broker], async () => {
      const control = cluster.control(broker);
      const counter = isFlush ? 'syncsFailed' : 'writesFailed';
      const before = control.count(counter);
      control.set(isFlush ? 'syncFailures' : 'writeFailures', 1);
      let stopped = true;
      await cluster.awaitEnd(broker, 15_000).catch(() => {
        stopped = false;
      });
      const failed = control.count(counter) - before;
      control.heal();
      if (!stopped) {
        context.notes.push(`Broker ${broker} went on after ${failed} failed ${isFlush ? 'flushes' : 'writes'}`);
        await cluster.kill(broker);
      }
      if (losesPower) cluster.losePower(broker);
      await cluster.restart(broker);
      return failed > 0
        ? `${failed} calls failed with EIO, the broker ${stopped ? 'stopped' : 'did not stop'}`
        : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_000, 2_500);
  }
}

/** A slow disk, then one whose flushes do not return for a while. */
export async function slowDisk(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower']));
    const isStall = random.chance(0.5);
    await context.fault(isStall ? 'stalled disk' : 'slow disk', [broker], async () => {
      const control = cluster.control(broker);
      const counter = isStall ? 'stalled' : 'delayed';
      const before = control.count(counter);
      if (isStall) control.set('syncStalled', 1);
      else {
        control.set('syncDelayUs', random.between(20, 300) * 1000);
        control.set('writeDelayUs', random.between(0, 20) * 1000);
      }
      await context.sleep(isStall ? random.between(2_000, 8_000) : random.between(3_000, 6_000));
      const counted = control.count(counter) - before;
      control.heal();
      return counted > 0 ? `${counted} calls were ${counter}` : undefined;
    });
    await context.sleepBetween(1_500, 3_000);
  }
}

/**
 * Flips bits in files of one broker: in its WAL or anything while it is down, in its partition files also while it runs. Damage is detected, repaired from the peers, and never served; a search
 * for damage afterwards leaves nothing.
 */
export async function flipBits(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who('any');
    const where = random.pick(['wal', 'partitions', 'partitions of a running broker', 'any']);
    const isRunning = where.endsWith('running broker');
    await context.fault(`flipped bits: ${where}`, [broker], async () => {
      if (!isRunning) await cluster.kill(broker);
      const flipped = flipBitsBelow(cluster.dataDirectory(broker), where, random);
      if (!isRunning) await restartDamaged(context, broker, flipped);
      return flipped.length > 0 ? `flipped in ${flipped.join(', ')}` : undefined;
    });
    // The next one to be damaged is another; the cluster has to be whole again before.
    if (!(await context.awaitReady(READY_TIMEOUT_MS))) {
      const reasons = await context.reasonsNotReady();
      context.failures.push(`Broker ${broker} was not ready ${READY_TIMEOUT_MS / 1000} s after its damage: ${reasons}`);
      return;
    }
    await searchForDamage(context);
    await context.sleepBetween(500, 2_000);
  }
}

async function restartDamaged(context: NemesisContext, broker: number, flipped: readonly string[]): Promise<void> {
  const { cluster } = context;
  try {
    await cluster.restart(broker);
  } catch (error) {
    context.notes.push(
      `Broker ${broker} refused to start with damage in ${flipped.join(', ')}: ${(error as Error).message}`,
    );
    // What an operator does: the disk is replaced, and the broker comes back with nothing.
    await cluster.kill(broker);
    rmSync(cluster.dataDirectory(broker), { recursive: true, force: true });
    await cluster.restart(broker);
  }
}

/** Two searches: what the first finds it repairs, the second finds nothing. */
async function searchForDamage({ cluster, notes, failures }: NemesisContext): Promise<void> {
  const first = await cluster.scrub();
  const bad = first.filter(({ found, mismatches }) => found + mismatches > 0);
  if (bad.length === 0) return;
  notes.push(
    `A search found ${bad.map(({ name, broker, found, mismatches, repaired }) => `${found} damaged and ${mismatches} different places of ${name} on broker ${broker}, and repaired ${repaired}`).join('; ')}`,
  );
  for (const { name, broker, found, mismatches, state } of await cluster.scrub()) {
    if (state === 'whole' && found + mismatches === 0) continue;
    failures.push(
      `Partition ${name} on broker ${broker} was not repaired: ${state}, ${found} damaged, ${mismatches} different`,
    );
  }
}

function flipBitsBelow(directory: string, where: string, random: SeededRandom): string[] {
  const all = filesBelow(directory).filter((path) => statSync(path).size > 0);
  const isWal = (path: string): boolean => path.includes('/wal/');
  const isPartition = (path: string): boolean => path.includes('/topics/');
  const chosen = all.filter((path) =>
    where === 'wal' ? isWal(path) : where.startsWith('partitions') ? isPartition(path) : true,
  );
  const flipped: string[] = [];
  for (const path of random.shuffle(chosen).slice(0, 2)) {
    const file = openSync(path, 'r+');
    const { size } = statSync(path);
    const byte = Buffer.alloc(1);
    for (let i = 0; i < 2; i++) {
      // The beginning is where a file is most likely in use.
      const at = random.below(random.chance(0.5) ? Math.min(size, 65_536) : size);
      readSync(file, byte, 0, 1, at);
      byte[0] = byte[0]! ^ (1 << random.below(8));
      writeSync(file, byte, 0, 1, at);
    }
    fsyncSync(file);
    closeSync(file);
    flipped.push(path.slice(directory.length + 1));
  }
  return flipped;
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/** Deletes all data of one broker: it has to come back with a new identity, take part as a learner first, and be filled from its peers. */
export async function loseDirectory(context: NemesisContext): Promise<void> {
  const { cluster } = context;
  while (context.hasTime) {
    const broker = await context.who('any');
    let healed = false;
    await context.fault('lost directory', [broker], async () => {
      await cluster.kill(broker);
      rmSync(cluster.dataDirectory(broker), { recursive: true, force: true });
      await cluster.restart(broker).catch((error: Error) => {
        context.notes.push(`Broker ${broker} did not come back with an empty directory: ${error.message}`);
      });
      healed = await context.awaitWhole(READY_TIMEOUT_MS);
      return 'its directory was gone';
    });
    if (!healed) {
      context.notes.push(
        `Broker ${broker} was not healed ${READY_TIMEOUT_MS / 1000} s after it lost its directory: ${await context.reasonsNotReady()}`,
      );
      return;
    }
    await context.sleepBetween(1_000, 3_000);
  }
}

/** Directed amnesia: with one broker paused another one acknowledges and then loses power; then the paused one and the forgetful one are a majority without the third. */
export async function directedAmnesia(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const [paused, forgetful, ...others] = random.shuffle(cluster.ids) as [number, number, ...number[]];
    await context.fault('directed amnesia', [paused, forgetful], async () => {
      cluster.pause(paused);
      await context.sleep(4_000);
      await cluster.kill(forgetful);
      const lost = cluster.losePower(forgetful);
      for (const id of others) cluster.pause(id);
      cluster.resume(paused);
      const restarted = cluster.restart(forgetful);
      await context.sleep(5_000);
      for (const id of others) cluster.resume(id);
      await restarted;
      return lost.writesLost + lost.namesLost > 0
        ? `broker ${forgetful} forgot ${lost.writesLost} writes (${lost.bytesLost} bytes) and ${lost.namesLost} names`
        : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_000, 3_000);
  }
}
