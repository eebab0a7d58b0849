/** Three brokers of which one was down for so long that its next entry is gone from the WALs of the others: where stories about catch-ups begin. */
import { PartitionDamageError } from '../../../src/broker/partition/partition-damage-error.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import { groupId } from '../../../src/std/brands.ts';
import { encodeCommand } from '../list-state-machine.ts';
import { Violation } from '../raft-oracle.ts';
import type { SimulatedBroker } from '../simulated-broker.ts';
import { smallCluster } from '../small-cluster.ts';

export const GROUP = groupId(1);
/** More of them than a WAL holds. */
const COMMAND_BYTES = 10_000;
const COMMANDS = 160;
const SIZES = {
  wal: { segmentBytes: 128 * 1024, bytesLimit: 1024 * 1024, cacheBytes: 64 * 1024 },
  budgetBytes: 8 * 1024,
};
const WRITE_MS = 10_000;

/** The follower is down when this resolves. Whatever a broker fails with ends the story. */
export async function laggingFollower(seed: number) {
  let failure: { readonly error: unknown } | undefined;
  const failed = (error: unknown): void => {
    failure ??= { error };
  };
  const cluster = await smallCluster(seed, 1, { replicaLagTimeMaxMs: 1_000 }, 'partition', failed, SIZES);
  const { time, brokers, random } = cluster;
  /** Virtual time goes on until `condition` holds. Rejects with {@link Violation} `otherwise` if that takes too long. */
  const until = async (condition: () => boolean, limitMs: number, otherwise: string): Promise<void> => {
    let isLate = false;
    await time
      .runUntilTrue(() => failure !== undefined || condition(), limitMs)
      .catch(() => {
        isLate = true;
      });
    if (failure !== undefined) throw failure.error;
    if (isLate) throw new Violation(otherwise);
  };
  let acked = 0;
  let proposed = 0;
  const groupOf = (broker: SimulatedBroker): RaftGroup | undefined => broker.driver?.get(GROUP);
  const propose = (count: number): void => {
    const group = groupOf(leading(brokers))!;
    for (let left = count; left > 0; left--) {
      group.propose([encodeCommand(++proposed, COMMAND_BYTES)], ({ kind }) => {
        if (kind === 'applied') acked++;
      });
    }
  };
  const write = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left--) {
      const before = acked;
      propose(1);
      await until(() => acked > before, WRITE_MS, 'A write was not acknowledged');
    }
  };
  const leader = leading(brokers);
  const [follower, third] = random.shuffle(brokers.filter((broker) => broker !== leader)) as [
    SimulatedBroker,
    SimulatedBroker,
  ];
  await write(3);
  await time.runFor(500);
  follower.crash(random, false);
  for (let round = 0; round < 4; round++) {
    await write(COMMANDS / 4);
    for (const broker of brokers) broker.driver?.checkpoint(GROUP);
    await time.runFor(500);
  }
  /** All replicas hold what was acknowledged. */
  const expectComplete = (): void => {
    for (const broker of brokers) {
      const found = broker.listOf(GROUP)?.items.length;
      if (found === undefined || found < acked || found > proposed)
        throw new Violation(
          `Broker ${broker.brokerId} has ${found} commands, ${acked} of ${proposed} are acknowledged`,
        );
    }
  };
  return { ...cluster, groupOf, until, propose, write, leader, follower, third, expectComplete };
}

/** The leader finds damage when a follower asks for its state, once; at that moment `found` is called. Then it gives that catch-up up, and begins another one after a pause. */
export function damageFoundOnce(leader: SimulatedBroker, found: () => void): void {
  const machine = leader.listOf(GROUP)!;
  const { openCatchUp } = machine;
  machine.openCatchUp = () => {
    machine.openCatchUp = openCatchUp;
    found();
    return Promise.reject(new PartitionDamageError('a file', 'the story says so'));
  };
}

function leading(brokers: readonly SimulatedBroker[]): SimulatedBroker {
  const leader = brokers.find((broker) => broker.driver?.get(GROUP)?.isReady);
  if (leader === undefined) throw new Violation('There is no leader that is ready');
  return leader;
}
