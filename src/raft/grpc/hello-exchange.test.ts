import { afterEach, describe, expect, it } from 'vitest';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { SILENT_LOG } from '../../std/log.ts';
import type { ClusterIdentity, VoterAddress } from '../identity/cluster-identity.ts';
import { ClusterFormation, type FormationStore } from '../identity/formation.ts';
import { answerHello, formationNetwork } from './hello-exchange.ts';
import { PeerEndpoint } from './peer-endpoint.ts';

const timers: Timers = {
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  soon: (callback) => void setImmediate(callback),
};

class MemoryStore implements FormationStore {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  cluster: ClusterIdentity | undefined;

  constructor(id: number) {
    this.brokerId = brokerId(id);
    this.storeId = `${id}`.repeat(32);
  }

  bind(cluster: ClusterIdentity): Promise<void> {
    this.cluster = cluster;
    return Promise.resolve();
  }
}

describe('formation over gRPC', () => {
  const endpoints: PeerEndpoint[] = [];
  afterEach(() => {
    for (const endpoint of endpoints.splice(0)) endpoint.close();
  });

  const listen = async (): Promise<{ endpoint: PeerEndpoint; port: number }> => {
    const endpoint = new PeerEndpoint({}, timers);
    endpoints.push(endpoint);
    return { endpoint, port: await endpoint.listen({ host: '127.0.0.1', port: 0 }) };
  };
  const form = (id: number, endpoint: PeerEndpoint, voters: readonly VoterAddress[]) => {
    const store = new MemoryStore(id);
    const formation = new ClusterFormation({
      store,
      voters,
      network: formationNetwork(endpoint, timers),
      timers,
      log: SILENT_LOG,
    });
    answerHello(endpoint, store.brokerId, formation);
    return formation;
  };

  it('forms a cluster of three and lets a fourth broker join', async () => {
    const listening = await Promise.all([listen(), listen(), listen(), listen()]);
    const voters = listening.slice(0, 3).map(({ port }, i) => ({ brokerId: brokerId(i + 1), host: '127.0.0.1', port }));
    const results = await Promise.all(listening.map(({ endpoint }, i) => form(i + 1, endpoint, voters).run()));
    expect(results.map(({ kind }) => kind)).toEqual(['formed', 'formed', 'formed', 'joined']);
    expect(new Set(results.map(({ clusterId }) => clusterId)).size).toBe(1);
    expect(results[3]?.initialVoters).toEqual(
      voters.map((voter) => ({ ...voter, storeId: `${voter.brokerId}`.repeat(32) })),
    );
  });

  it('tells a voter where the broker that asks can be reached', async () => {
    const [voter, joiner] = [await listen(), await listen()];
    const voters = [{ brokerId: brokerId(1), host: '127.0.0.1', port: voter.port }];
    const formation = form(1, voter.endpoint, voters);
    await formation.run();
    const heard: unknown[] = [];
    answerHello(voter.endpoint, brokerId(1), formation, (presence) => heard.push(presence.address));
    const own = { host: 'joiner.example', port: joiner.port };
    const options = { voters, network: formationNetwork(joiner.endpoint, timers), timers, log: SILENT_LOG };
    const joined = await new ClusterFormation({ ...options, store: new MemoryStore(4), address: own }).run();
    expect(joined.kind).toBe('joined');
    expect(heard).toContainEqual(own);
  });

  it('says why at an address of another broker, and before a broker is ready', async () => {
    const [one, two] = [await listen(), await listen()];
    const voter = { brokerId: brokerId(2), host: '127.0.0.1', port: two.port };
    const formation = form(1, one.endpoint, [voter]);
    await expect(formationNetwork(one.endpoint, timers).ask(voter, formation.presence())).rejects.toThrow(
      'The broker is starting',
    );
    form(3, two.endpoint, [voter]);
    await expect(formationNetwork(one.endpoint, timers).ask(voter, formation.presence())).rejects.toThrow(
      'Broker 1 looks for broker 2 at an address where broker 3 is',
    );
  });

  it('gives up on a port that nobody answers', async () => {
    const { endpoint, port } = await listen();
    endpoint.close();
    const other = await listen();
    const voter = { brokerId: brokerId(2), host: '127.0.0.1', port };
    const formation = form(1, other.endpoint, [voter]);
    await expect(formationNetwork(other.endpoint, timers).ask(voter, formation.presence())).rejects.toThrow(
      'The port of voter 2 is refused',
    );
  });
});

describe('PeerEndpoint', () => {
  it('listens beyond loopback only where the network is trusted', async () => {
    const endpoint = new PeerEndpoint({}, timers);
    await expect(endpoint.listen({ host: '0.0.0.0', port: 0 })).rejects.toThrow(
      'may listen on 0.0.0.0 only with mutual TLS or where the network is declared trusted',
    );
    endpoint.close();
    const trusted = new PeerEndpoint({ allowInsecurePeers: true }, timers);
    expect(await trusted.listen({ host: '0.0.0.0', port: 0 })).toBeGreaterThan(0);
    trusted.close();
  });

  it('says which port is taken', async () => {
    const first = new PeerEndpoint({}, timers);
    const port = await first.listen({ host: '127.0.0.1', port: 0 });
    const second = new PeerEndpoint({}, timers);
    await expect(second.listen({ host: '127.0.0.1', port })).rejects.toThrow(`Cannot listen on 127.0.0.1:${port}`);
    first.close();
    second.close();
  });
});
