import { describe, expect, it } from 'vitest';
import { type SimulatedMachineTime, SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import { SimulatedDisk } from '../../../test/simulation/simulated-disk.ts';
import { brokerId } from '../../std/brands.ts';
import type { Log } from '../../std/log.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { deriveClusterId, type VoterAddress } from './cluster-identity.ts';
import { ClusterFormation, type Formation, type FormationNetwork, type Presence } from './formation.ts';
import { Store } from './store.ts';

const address = (id: number, port = 9191 + id): VoterAddress => ({ brokerId: brokerId(id), host: '127.0.0.1', port });
const VOTERS = [address(1), address(2), address(3)];

/** Longest way of a question or an answer; a wiped broker is back later than that. */
const NETWORK_MS_MAX = 20;

class Broker {
  readonly id: number;
  readonly voters: readonly VoterAddress[];
  platter: SimulatedDisk;
  machine: SimulatedMachineTime | undefined;
  store: Store | undefined;
  formation: ClusterFormation | undefined;
  result: Formation | undefined;
  readonly lines: string[] = [];

  constructor(id: number, voters: readonly VoterAddress[], platter: SimulatedDisk) {
    this.id = id;
    this.voters = voters;
    this.platter = platter;
  }
}

/** Brokers with virtual disks on a network that delays and loses. */
class World {
  readonly time = new SimulatedTime();
  readonly random: SeededRandom;
  readonly brokers = new Map<number, Broker>();
  lossChance = 0;

  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
  }

  add(id: number, voters: readonly VoterAddress[] = VOTERS): Broker {
    const broker = new Broker(id, voters, new SimulatedDisk(this.time, { seed: this.random.uint32() }));
    this.brokers.set(id, broker);
    return broker;
  }

  start(broker: Broker): void {
    const machine = this.time.machine();
    broker.machine = machine;
    broker.result = undefined;
    const line = (_: object, message: string): void => void broker.lines.push(message);
    const log: Log = { debug: line, info: line, warn: line, error: line };
    const disk = broker.platter.mount(machine);
    void Store.open(disk, this.random.fork(), brokerId(broker.id)).then((store) => {
      broker.store = store;
      broker.formation = new ClusterFormation({
        store,
        voters: broker.voters,
        network: this.#network(machine),
        timers: machine,
        log,
      });
      void broker.formation.run().then((formation) => {
        broker.result = formation;
      });
    });
  }

  stop(broker: Broker, wipe = false): void {
    broker.machine?.kill();
    broker.platter.crash(this.random);
    broker.machine = undefined;
    broker.formation = undefined;
    broker.store = undefined;
    broker.result = undefined;
    if (wipe) broker.platter = new SimulatedDisk(this.time, { seed: this.random.uint32() });
  }

  #network(own: SimulatedMachineTime): FormationNetwork {
    const travel = (then: () => void): void => {
      this.time.after(0.1 + this.random.next() * (NETWORK_MS_MAX - 0.1), then);
    };
    return {
      ask: (voter, presence) =>
        new Promise<Presence>((resolve, reject) => {
          const fail = (): void => travel(() => own.deliver(() => reject(new Error('No answer'))));
          if (this.random.chance(this.lossChance)) return fail();
          travel(() => {
            const target = this.brokers.get(voter.brokerId);
            const formation = target?.formation;
            if (formation === undefined) return fail();
            formation.heard(presence);
            const answer = formation.presence();
            if (this.random.chance(this.lossChance)) return fail();
            travel(() => own.deliver(() => resolve(answer)));
          });
        }),
    };
  }
}

const all = (world: World): Broker[] => [...world.brokers.values()];
const settled = (world: World) => all(world).every((broker) => broker.result !== undefined);

describe('ClusterFormation', () => {
  it('forms one cluster of three empty stores, with an id that follows from them', async () => {
    const world = new World();
    for (const voter of VOTERS) world.start(world.add(voter.brokerId));
    await world.time.runUntilTrue(() => settled(world), 1_000);
    const [first, ...others] = all(world).map((broker) => broker.result as Formation);
    expect(first?.kind).toBe('formed');
    expect(first?.clusterId).toMatch(/^[\w-]{22}$/);
    expect(first?.clusterId).toBe(deriveClusterId(all(world).map((broker) => broker.store as Store)));
    for (const other of others) expect(other).toEqual(first);
  });

  it('forms a cluster of one at once', async () => {
    const world = new World();
    world.start(world.add(7, [address(7)]));
    await world.time.runUntilTrue(() => settled(world), 10);
    expect(world.brokers.get(7)?.result?.initialVoters).toHaveLength(1);
  });

  it('waits for every voter', async () => {
    const world = new World();
    for (const id of [1, 2]) world.start(world.add(id));
    await world.time.runFor(5_000);
    expect(all(world).some((broker) => broker.result !== undefined)).toBe(false);
    world.start(world.add(3));
    await world.time.runUntilTrue(() => settled(world), 500);
  });

  it('does not form while the lists of voters differ, and says so once', async () => {
    const world = new World();
    for (const id of [1, 2]) world.start(world.add(id));
    world.start(world.add(3, [address(1), address(2), address(3, 7777)]));
    await world.time.runFor(2_000);
    expect(all(world).some((broker) => broker.result !== undefined)).toBe(false);
    expect(world.brokers.get(1)?.lines).toEqual([
      'Broker 3 has another list of voters (controller.quorum.voters) than this broker; no cluster forms until they are the same',
    ]);
  });

  it('lets a broker that is no voter join, and needs no peers for a bound store', async () => {
    const world = new World();
    const joiner = world.add(4);
    world.start(joiner);
    await world.time.runFor(500);
    expect(joiner.result).toBeUndefined();
    for (const voter of VOTERS) world.start(world.add(voter.brokerId));
    await world.time.runUntilTrue(() => settled(world), 1_000);
    expect(joiner.result).toEqual({ ...(world.brokers.get(1)?.result as Formation), kind: 'joined' });
    for (const broker of all(world)) world.stop(broker);
    world.start(joiner);
    await world.time.runUntilTrue(() => joiner.result !== undefined, 100);
    expect(joiner.result?.kind).toBe('joined');
  });

  it('lets a voter with a wiped disk come back only as replaced', async () => {
    const world = new World();
    for (const voter of VOTERS) world.start(world.add(voter.brokerId));
    await world.time.runUntilTrue(() => settled(world), 1_000);
    const before = world.brokers.get(1)?.result as Formation;
    const victim = world.brokers.get(2) as Broker;
    world.stop(victim, true);
    world.start(victim);
    await world.time.runUntilTrue(() => settled(world), 1_000);
    expect(victim.result).toEqual({ ...before, kind: 'replaced' });
    world.stop(victim);
    world.start(victim);
    await world.time.runUntilTrue(() => settled(world), 1_000);
    expect(victim.result?.kind).toBe('replaced');
  });

  it('never forms a second cluster from wiped voters while the third keeps its store', async () => {
    const world = new World();
    for (const voter of VOTERS) world.start(world.add(voter.brokerId));
    await world.time.runUntilTrue(() => settled(world), 1_000);
    for (const id of [1, 2, 3]) world.stop(world.brokers.get(id) as Broker, id !== 3);
    for (const id of [1, 2]) world.start(world.brokers.get(id) as Broker);
    await world.time.runFor(3_000);
    expect(all(world).some((broker) => broker.result !== undefined)).toBe(false);
    world.start(world.brokers.get(3) as Broker);
    await world.time.runUntilTrue(() => settled(world), 1_000);
    expect(all(world).map((broker) => broker.result?.kind)).toEqual(['replaced', 'replaced', 'formed']);
  });

  it('ignores a claim to a cluster id that is not that of its voters', async () => {
    const world = new World();
    const broker = world.add(1);
    world.start(broker);
    await world.time.runFor(100);
    broker.formation?.heard({
      brokerId: brokerId(2),
      storeId: '2'.repeat(32),
      votersDigest: new Uint8Array(0),
      candidateClusterId: '',
      cluster: { clusterId: 'forged', initialVoters: [{ ...address(2), storeId: '2'.repeat(32) }] },
    });
    await world.time.runFor(100);
    expect(broker.store?.cluster).toBeUndefined();
    expect(broker.lines).toEqual(['Broker 2 claims cluster forged, which is not that of its initial voters']);
  });

  it('makes exactly one cluster whatever crashes, loses packets or is wiped on the way', async () => {
    for (let seed = 0; seed < 120; seed++) {
      const world = new World(seed);
      world.lossChance = world.random.pick([0, 0.2, 0.5]);
      const ids = world.random.chance(0.3) ? [1, 2, 3, 4, 5] : [1, 2, 3];
      const voters = ids.map((id) => address(id));
      for (const id of ids) world.add(id, voters);
      const clusters = new Set<string>();
      const note = (): void => {
        for (const broker of all(world)) if (broker.result) clusters.add(broker.result.clusterId);
      };
      for (const broker of all(world)) {
        await world.time.runFor(world.random.below(60));
        world.start(broker);
      }
      for (let fault = world.random.below(5); fault > 0; fault--) {
        await world.time.runFor(world.random.next() * 80);
        note();
        const broker = world.random.pick(all(world));
        // Wiping a second one could leave no store that knows the cluster.
        const wipe = world.random.chance(0.4) && all(world).every((each) => each.result === undefined);
        world.stop(broker, wipe);
        await world.time.runFor(2 * NETWORK_MS_MAX + 1);
        world.start(broker);
      }
      await world.time.runUntilTrue(() => settled(world), 30_000);
      note();
      expect(clusters.size, `seed ${seed}`).toBe(1);
      const formed = all(world).filter((broker) => broker.result?.kind === 'formed');
      for (const broker of formed) {
        const own = broker.result?.initialVoters.find((voter) => voter.brokerId === broker.id);
        expect(own?.storeId, `seed ${seed}`).toBe(broker.store?.storeId);
      }
      for (const broker of all(world)) broker.formation?.stop();
    }
  });
});
