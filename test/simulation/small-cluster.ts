/** Three simulated brokers without faults, for tests that tell one story. */

import type { RaftDriverConfig } from '../../src/raft/raft-driver-config.ts';
import { brokerId, groupId, replicaId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { RaftOracle } from './raft-oracle.ts';
import { type MachineKind, SimulatedBroker, type SimulatedBrokerOptions } from './simulated-broker.ts';
import { SimulatedTime } from './simulated-clock.ts';
import { SimulatedNetwork } from './simulated-network.ts';

const IDS = [1, 2, 3].map(brokerId);
const WAL = { segmentBytes: 2 ** 20, bytesLimit: 16 * 2 ** 20, cacheBytes: 2 ** 20 };

export interface SmallClusterSizes {
  readonly wal?: SimulatedBrokerOptions['wal'];
  /** Bytes under way per (link, direction, channel). */
  readonly budgetBytes?: number;
}

/** Three brokers with `groups` groups of three replicas, whose first leaders are spread over them. */
export async function smallCluster(
  seed: number,
  groups: number,
  config: Partial<RaftDriverConfig> = {},
  machines?: MachineKind,
  /** Takes what a broker fails with; without it any failure ends the test. */
  failed?: (error: unknown, broker: SimulatedBroker) => void,
  { wal = WAL, budgetBytes }: SmallClusterSizes = {},
) {
  const time = new SimulatedTime();
  const random = new SeededRandom(seed);
  const network = new SimulatedNetwork(time, random.fork(), budgetBytes === undefined ? {} : { budgetBytes });
  const oracle = new RaftOracle();
  let failure: unknown;
  let started = 0;
  const brokers = IDS.map(
    (id) =>
      new SimulatedBroker({
        time,
        network,
        oracle,
        random: random.fork(),
        brokerId: id,
        peers: IDS.filter((other) => other !== id),
        wal,
        config,
        machines,
        failed: (error, broker) => {
          if (failed !== undefined) failed(error, broker);
          else failure ??= error;
        },
        started: () => started++,
      }),
  );
  for (const broker of brokers) broker.start();
  await time.runUntilTrue(() => started === 3);
  const startMs = time.now;
  let nextReplica = 1;
  for (let group = 1; group <= groups; group++) {
    const voters = brokers.map((broker) => ({
      replicaId: replicaId(nextReplica++),
      brokerId: broker.brokerId,
      storeId: broker.storeIdText,
    }));
    brokers.forEach((broker, at) => {
      const created = broker.driver!.create({
        groupId: groupId(group),
        replicaId: voters[at]!.replicaId,
        membership: { voters, votersOutgoing: [], learners: [] },
        descriptor: new Uint8Array(0),
      });
      if (at === group % 3) created.campaign();
    });
  }
  const readyOn = (some: readonly SimulatedBroker[]): number => {
    if (failure !== undefined) throw failure;
    let ready = 0;
    for (let group = 1; group <= groups; group++) {
      if (some.some((broker) => broker.driver?.get(groupId(group))?.isReady)) ready++;
    }
    return ready;
  };
  /** Milliseconds until every group has a ready leader on one of `some`. */
  const untilReady = async (some: readonly SimulatedBroker[], sinceMs: number): Promise<number> => {
    await time.runUntilTrue(() => readyOn(some) === groups, 30_000);
    return time.now - sinceMs;
  };
  const createdMs = await untilReady(brokers, startMs);
  await time.runFor(2_000);
  return { time, random, network, brokers, createdMs, untilReady, readyOn };
}
