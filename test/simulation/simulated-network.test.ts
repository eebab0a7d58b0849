import type { PeerAddress } from '../../src/raft/transport.ts';
import { brokerId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import {
  type ContractBroker,
  describeTransport,
  recordEvents,
  type TransportWorld,
} from '../contracts/transport-contract.ts';
import { type SimulatedMachineTime, SimulatedTime } from './simulated-clock.ts';
import { SimulatedNetwork } from './simulated-network.ts';

class SimulatedWorld implements TransportWorld {
  readonly #time = new SimulatedTime();
  readonly #network = new SimulatedNetwork(this.#time, new SeededRandom(1));
  readonly #machines = new Map<number, SimulatedMachineTime>();
  readonly #sessions = new Map<number, number>();

  addressOf(id: number): PeerAddress {
    return { brokerId: brokerId(id), host: 'simulated', port: id };
  }

  async start(id: number): Promise<ContractBroker> {
    const session = (this.#sessions.get(id) ?? 0) + 1;
    this.#sessions.set(id, session);
    const machine = this.#time.machine();
    this.#machines.set(id, machine);
    const info = { brokerId: brokerId(id), storeId: `${id}`.padStart(32, '0'), session };
    const transport = this.#network.process(machine, info);
    const events = recordEvents(transport);
    transport.setPeers([1, 2, 3].filter((peer) => peer !== id).map((peer) => this.addressOf(peer)));
    await transport.start();
    return { id: info.brokerId, storeId: info.storeId, session, transport, events };
  }

  kill(id: number): Promise<void> {
    this.#machines.get(id)?.kill();
    this.#network.kill(brokerId(id));
    return Promise.resolve();
  }

  async until(condition: () => boolean): Promise<void> {
    if (!condition()) await this.#time.runUntilTrue(condition, 60_000);
  }

  close(): Promise<void> {
    for (const id of this.#machines.keys()) void this.kill(id);
    return Promise.resolve();
  }
}

describeTransport('simulated network', () => Promise.resolve(new SimulatedWorld()));
