/** {@link PeerNetwork} on the broker's Raft port. */
import type { BrokerId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { GrpcTransport } from '../grpc-transport.ts';
import type { ClusterFormation, FormationNetwork, Presence } from '../identity/formation.ts';
import type { PeerNetwork, PeerTransportOptions } from '../peer-network.ts';
import type { Transport } from '../transport.ts';
import { answerHello, formationNetwork } from './hello-exchange.ts';
import { PeerEndpoint } from './peer-endpoint.ts';
import type { PeerSecurity } from './peer-security.ts';

export class GrpcPeerNetwork implements PeerNetwork {
  readonly formation: FormationNetwork;
  readonly #endpoint: PeerEndpoint;

  constructor(security: PeerSecurity, timers: Timers) {
    this.#endpoint = new PeerEndpoint(security, timers);
    this.formation = formationNetwork(this.#endpoint, timers);
  }

  answer(own: BrokerId, formation: ClusterFormation, onHello: (presence: Presence) => void): void {
    answerHello(this.#endpoint, own, formation, onHello);
  }

  listen(address: { readonly host: string; readonly port: number }): Promise<number> {
    return this.#endpoint.listen(address);
  }

  createTransport(options: PeerTransportOptions): Transport {
    return new GrpcTransport({ ...options, endpoint: this.#endpoint });
  }

  close(): void {
    this.#endpoint.close();
  }
}
