/** Faults of the network, by the proxies between brokers and between clients and brokers. */
import type { LinkRule } from '../faults/faulty-link.ts';
import type { Exception, NemesisContext, Role } from './nemesis.ts';

type Pair = readonly [from: number, to: number];

async function whileHeld(
  context: NemesisContext,
  kind: string,
  brokers: readonly number[],
  cut: () => void,
): Promise<void> {
  const { cluster } = context;
  await context.fault(kind, brokers, async () => {
    const before = cluster.linkCounters;
    cut();
    await context.sleepBetween(2_000, 6_000);
    const held = cluster.linkCounters.heldChunks - before.heldChunks;
    cluster.healLinks();
    return held > 0 ? `${held} pieces of data were held` : undefined;
  });
  await context.sleepBetween(2_000, 4_000);
}

function pairs(ids: readonly number[]): Pair[] {
  return ids.flatMap((from) => ids.filter((to) => to !== from).map((to): Pair => [from, to]));
}

/** Cuts one broker off from all others, both ways. */
export async function isolateByRole(
  context: NemesisContext,
  roles: readonly Role[],
  exception: Exception = {},
): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const role = random.pick(roles);
    const broker = await context.who(role, exception);
    await whileHeld(context, `isolate ${role}`, [broker], () => {
      for (const other of cluster.ids) if (other !== broker) cluster.cut(broker, other);
    });
  }
}

/** Cuts one direction only: a broker that can send and not receive, or the other way round. */
export async function cutOneWay(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'any']));
    const isDeaf = random.chance(0.5);
    await whileHeld(context, isDeaf ? 'deaf broker' : 'mute broker', [broker], () => {
      for (const other of cluster.ids) {
        if (other === broker) continue;
        if (isDeaf) cluster.setLink(other, broker, { held: true });
        else cluster.setLink(broker, other, { held: true });
      }
    });
  }
}

/** Cuts single links, so that some pairs see each other only through a third: with three brokers a bridge. */
export async function cutSomeLinks(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const undirected = pairs(cluster.ids).filter(([a, b]) => a < b);
    const count = random.between(1, Math.max(1, undirected.length - cluster.ids.length + 1));
    const chosen = random.shuffle(undirected).slice(0, count);
    await whileHeld(context, 'partial connectivity', [...new Set(chosen.flat())], () => {
      for (const [a, b] of chosen) cluster.cut(a, b);
    });
  }
}

/** Splits the brokers into a majority and a minority. */
export async function splitMajority(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const minority = random.shuffle(cluster.ids).slice(0, Math.floor((cluster.ids.length - 1) / 2));
    await whileHeld(context, 'majority and minority', minority, () => {
      for (const a of minority) for (const b of cluster.ids) if (!minority.includes(b)) cluster.cut(a, b);
    });
  }
}

/** Delays everything between brokers, more and less, in each direction differently. */
export async function delayLinks(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    await context.fault('slow network', cluster.ids, async () => {
      const before = cluster.linkCounters;
      for (const [from, to] of pairs(cluster.ids)) {
        const rule: LinkRule = { delayMs: random.between(1, 60), jitterMs: random.between(0, 120) };
        cluster.setLink(from, to, rule);
      }
      await context.sleepBetween(3_000, 7_000);
      const delayed = cluster.linkCounters.delayedChunks - before.delayedChunks;
      cluster.healLinks();
      return delayed > 0 ? `${delayed} pieces of data were delayed` : undefined;
    });
    await context.sleepBetween(1_500, 3_000);
  }
}

/** Changes bits of what brokers send to each other. */
export async function corruptLinks(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    await context.fault('corrupt network', cluster.ids, async () => {
      const before = cluster.linkCounters;
      for (const [from, to] of pairs(cluster.ids)) {
        if (random.chance(0.5)) cluster.setLink(from, to, { corruptChance: 0.01 + random.next() * 0.04 });
      }
      await context.sleepBetween(3_000, 7_000);
      const corrupted = cluster.linkCounters.corruptedChunks - before.corruptedChunks;
      cluster.healLinks();
      return corrupted > 0 ? `${corrupted} pieces of data were changed` : undefined;
    });
    await context.sleepBetween(1_500, 3_000);
  }
}

/** Resets connections between brokers, often. */
export async function resetLinks(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  const undirected = pairs(cluster.ids).filter(([a, b]) => a < b);
  while (context.hasTime) {
    const broker = await context.who('leader');
    await context.fault('connection resets', [broker], async () => {
      const before = cluster.linkCounters;
      for (let i = 0; i < 6; i++) {
        const [a, b] = random.pick(undirected);
        cluster.resetLink(a, b);
        await context.sleepBetween(50, 600);
      }
      const resets = cluster.linkCounters.resets - before.resets;
      return resets > 0 ? `${resets} connections were reset` : undefined;
    });
    await context.sleepBetween(1_500, 3_000);
  }
}

/** Takes the clients' way to a leader away while the leader is well, and now and then kills it too: the acknowledgement is lost, the record is not. */
export async function isolateClients(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'coordinator', 'any']));
    const alsoKill = random.chance(0.3);
    await context.fault(alsoKill ? 'clients from leader, then kill' : 'clients from leader', [broker], async () => {
      const link = cluster.clientLink(broker);
      const before = { ...link.counters };
      const isOneWay = random.chance(0.5);
      // Without the way back requests arrive and are done, and nobody learns of it.
      link.setRules(isOneWay ? { down: { held: true } } : { up: { held: true }, down: { held: true } });
      await context.sleepBetween(1_000, 4_000);
      if (alsoKill) {
        await cluster.kill(broker);
        await context.sleepBetween(500, 2_000);
      }
      link.reset();
      link.heal();
      if (alsoKill) await cluster.restart(broker);
      const held = link.counters.heldChunks - before.heldChunks;
      return held > 0 ? `${held} pieces of data were held` : undefined;
    });
    await context.sleepBetween(1_500, 3_000);
  }
}

/** Packets between brokers are lost, doubled, changed and overtake each other; TCP has to make good for it, and what it can not is a slow link. */
export async function harmPackets(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  const rules = {
    'packets lost': () => ({ loss: 0.02 + random.next() * 0.2 }),
    'packets doubled': () => ({ duplicate: 0.1 + random.next() * 0.4, jitterMs: 5 }),
    'packets overtake each other': () => ({ jitterMs: 5 + random.next() * 60 }),
    'packets changed': () => ({ corrupt: 0.01 + random.next() * 0.1 }),
    'everything at once': () => ({ loss: 0.05, duplicate: 0.05, corrupt: 0.02, delayMs: 5, jitterMs: 30 }),
    'nothing arrives': () => ({ loss: 1 }),
  } as const;
  while (context.hasTime) {
    const kind = random.pick(Object.keys(rules) as (keyof typeof rules)[]);
    const broker = await context.who(random.pick(['leader', 'any']));
    const isOne = kind === 'nothing arrives' || random.chance(0.4);
    await context.fault(kind, isOne ? [broker] : cluster.ids, async () => {
      const before = cluster.cable.counters;
      for (const [from, to] of pairs(cluster.ids)) {
        if (!isOne || from === broker || to === broker) cluster.cable.set(from, to, rules[kind]());
      }
      await context.sleepBetween(3_000, 7_000);
      const after = cluster.cable.counters;
      cluster.cable.heal();
      const facts = (['lost', 'duplicated', 'corrupted', 'overtaken'] as const)
        .map((name) => [name, after[name] - before[name]] as const)
        .filter(([, count]) => count > 0);
      const passed = after.passed - before.passed;
      return facts.length === 0
        ? undefined
        : `${facts.map(([name, count]) => `${count} packets were ${name}`).join(', ')}, ${passed} passed`;
    });
    await context.sleepBetween(1_000, 3_000);
  }
}
