/** What the parts of a simulation of drivers share: one virtual machine, one source of chance, one judge. */
import type { SeededRandom } from '../../src/std/seeded-random.ts';
import type { RaftOracle } from './raft-oracle.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import type { SimulatedTime } from './simulated-clock.ts';
import type { SimulatedNetwork } from './simulated-network.ts';

export interface RaftStage {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly oracle: RaftOracle;
  readonly brokers: readonly SimulatedBroker[];
  /** The one broker whose disk may be damaged: a minority of every group. */
  readonly victim: SimulatedBroker | undefined;
  /** Ends the run; the first error counts. */
  readonly fail: (error: unknown) => void;
  readonly log: (line: string) => void;
}
