/** Faults of wall clocks, by the shim: jumps forward and back, different ones on each broker, and strobing. */
import type { NemesisContext } from './nemesis.ts';

const HOUR_NS = 3_600e9;

export async function jumpClocks(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const isStrobe = random.chance(0.3);
    const victims = random.shuffle(cluster.ids).slice(0, random.between(1, cluster.ids.length));
    await context.fault(isStrobe ? 'strobing clock' : 'clock jump', victims, async () => {
      const before = victims.map((id) => cluster.control(id).count('clockReads'));
      const jump = (id: number): void =>
        cluster
          .control(id)
          .set('clockOffsetNs', (random.next() * 2 - 1) * random.pick([HOUR_NS / 360, HOUR_NS, 200 * HOUR_NS]));
      for (let i = 0; i < (isStrobe ? 40 : 1); i++) {
        for (const id of victims) jump(id);
        await context.sleep(isStrobe ? 50 : 0);
      }
      await context.sleepBetween(1_500, 4_000);
      const reads = victims.map((id, i) => cluster.control(id).count('clockReads') - before[i]!);
      for (const id of victims) cluster.control(id).set('clockOffsetNs', 0);
      return reads.every((count) => count > 0) ? `${reads.join(', ')} readings were wrong` : undefined;
    });
    await context.sleepBetween(500, 2_000);
  }
}
