/**
 * How simulated brokers reach each other: the questions of formation as messages with latency that partitions stop, and links over {@link SimulatedNetwork} that begin with what a real
 * handshake proves: cluster, store and start of the store.
 */
import type { PeerIdentity } from '../../../src/raft/grpc/handshake.ts';
import type { ClusterFormation, FormationNetwork, Presence } from '../../../src/raft/identity/formation.ts';
import type { PeerNetwork, PeerTransportOptions } from '../../../src/raft/peer-network.ts';
import { refuseStart } from '../../../src/raft/peer-sessions.ts';
import type { LinkInfo, Transport } from '../../../src/raft/transport.ts';
import { type BrokerId, brokerId } from '../../../src/std/brands.ts';
import type { SimulatedMachineTime } from '../simulated-clock.ts';
import type { SimulatedNetwork } from '../simulated-network.ts';

const ASK_TIMEOUT_MS = 1_000;

interface Listening {
  readonly machine: SimulatedMachineTime;
  readonly formation: ClusterFormation;
  readonly onHello: (presence: Presence) => void;
}

/** All Raft ports of a simulated cluster. */
export class SimulatedPeerPorts {
  readonly network: SimulatedNetwork;
  readonly listening = new Map<BrokerId, Listening>();

  constructor(network: SimulatedNetwork) {
    this.network = network;
  }

  /** The side of a new process. */
  process(own: number, machine: SimulatedMachineTime): PeerNetwork {
    return new SimulatedPeerNetwork(this, brokerId(own), machine);
  }

  /** The process is dead. */
  kill(own: number): void {
    this.listening.delete(brokerId(own));
    this.network.kill(brokerId(own));
  }
}

class SimulatedPeerNetwork implements PeerNetwork {
  readonly formation: FormationNetwork;
  readonly #ports: SimulatedPeerPorts;
  readonly #own: BrokerId;
  readonly #machine: SimulatedMachineTime;
  #answering: Listening | undefined;

  constructor(ports: SimulatedPeerPorts, own: BrokerId, machine: SimulatedMachineTime) {
    this.#ports = ports;
    this.#own = own;
    this.#machine = machine;
    this.formation = { ask: (voter, presence) => this.#ask(voter.brokerId, presence) };
  }

  answer(_own: BrokerId, formation: ClusterFormation, onHello: (presence: Presence) => void): void {
    this.#answering = { machine: this.#machine, formation, onHello };
  }

  listen(): Promise<void> {
    if (this.#answering !== undefined) this.#ports.listening.set(this.#own, this.#answering);
    return Promise.resolve();
  }

  createTransport(options: PeerTransportOptions): Transport {
    const { local, sessions, acceptPeer } = options;
    const isStale = (peer: PeerIdentity): boolean => refuseStart(peer, sessions.highest(peer.storeId)) !== undefined;
    const admit = async (info: LinkInfo): Promise<boolean> => {
      const peer = info as PeerIdentity;
      if (peer.clusterId !== local.clusterId || peer.storeId === local.storeId) return false;
      if (acceptPeer(peer) !== undefined || isStale(peer)) return false;
      try {
        await sessions.record(peer.storeId, { session: peer.session, incarnation: peer.incarnation });
      } catch (error) {
        options.fatal(error);
        return false;
      }
      return !isStale(peer);
    };
    return this.#ports.network.process(this.#machine, local, admit);
  }

  close(): void {
    this.#ports.listening.delete(this.#own);
  }

  #ask(target: BrokerId, presence: Presence): Promise<Presence> {
    const { network, listening } = this.#ports;
    const machine = this.#machine;
    return new Promise((resolve, reject) => {
      machine.after(ASK_TIMEOUT_MS, () => reject(new Error('No answer')));
      network.time.after(network.latencyMs(network.random), () => {
        if (network.isBlocked(this.#own, target)) return;
        const peer = listening.get(target);
        if (peer === undefined) {
          machine.deliver(() => reject(new Error('Nobody listens')));
          return;
        }
        peer.machine.deliver(() => {
          peer.formation.heard(presence);
          peer.onHello(presence);
          const answer = peer.formation.presence();
          network.time.after(network.latencyMs(network.random), () => {
            if (!network.isBlocked(target, this.#own)) machine.deliver(() => resolve(answer));
          });
        });
      });
    });
  }
}
