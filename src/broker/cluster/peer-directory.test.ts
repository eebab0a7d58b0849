import { describe, expect, test } from 'vitest';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import type { PeerAddress } from '../../raft/transport.ts';
import { brokerId, replicaId } from '../../std/brands.ts';
import type { BrokerRegistration } from './metadata-image.ts';
import { MetadataState } from './metadata-state.ts';
import { introductionTask, PeerDirectory } from './peer-directory.ts';

const peer = (id: number, port = 9190 + id): PeerAddress => ({ brokerId: brokerId(id), host: 'localhost', port });

function registration(id: number, raftPort: number): BrokerRegistration {
  const common = { host: 'localhost', port: 1, raftHost: 'localhost', rack: null };
  return { ...common, brokerId: brokerId(id), storeId: `store-${id}`, raftPort, metadataReplicaId: replicaId(id) };
}

class Fixture {
  image = MetadataState.initial('cluster').with({ retiredStores: new Set(['old']) });
  peers: string[] = [];
  calls = 0;
  /** As they were when the cluster was formed; a test may move them. */
  readonly configured = [peer(1), peer(2), peer(3)];
  readonly directory = new PeerDirectory({
    brokerId: brokerId(1),
    initialVoters: [peer(1), peer(2), peer(3)],
    configuredVoters: this.configured,
    image: () => this.image,
    setPeers: (addresses) => {
      this.calls++;
      const text = ({ brokerId: id, port, others = [] }: PeerAddress) =>
        `${id}:${[port, ...others.map((other) => other.port)].join('/')}`;
      this.peers = addresses.map(text).sort();
    },
  });

  register(...brokers: BrokerRegistration[]): void {
    this.image = this.image.with({ brokers: new Map(brokers.map((broker) => [broker.brokerId, broker])) });
    this.directory.update();
  }

  introduce(id: number, port: number, changes: { clusterId?: string; storeId?: string } = {}): void {
    this.directory.introduce({
      brokerId: brokerId(id),
      storeId: changes.storeId ?? `store-${id}`,
      cluster: { clusterId: changes.clusterId ?? 'cluster' },
      address: { host: 'localhost', port },
    });
  }
}

describe('PeerDirectory', () => {
  test('knows the initial voters, then everybody where it registered, never itself', () => {
    const fixture = new Fixture();
    fixture.directory.update();
    expect(fixture.peers).toEqual(['2:9192', '3:9193']);
    fixture.register(registration(1, 7001), registration(2, 7002), registration(4, 7004));
    expect(fixture.peers).toEqual(['2:7002/9192', '3:9193', '4:7004']);
    fixture.directory.update();
    expect(fixture.calls).toBe(2);
  });

  test('expects a broker of this cluster that introduced itself, until it is registered', () => {
    const fixture = new Fixture();
    fixture.directory.update();
    fixture.introduce(4, 8004);
    expect(fixture.peers).toEqual(['2:9192', '3:9193', '4:8004']);
    fixture.register(registration(4, 8004));
    expect(fixture.peers).toEqual(['2:9192', '3:9193', '4:8004']);
    fixture.introduce(4, 8004);
    expect(fixture.calls).toBe(3);
  });

  test('looks for brokers where the configuration has them now, too, whatever metadata says', () => {
    const fixture = new Fixture();
    fixture.configured.splice(1, 2, peer(2, 8002), peer(3, 8003));
    fixture.directory.update();
    expect(fixture.peers).toEqual(['2:8002/9192', '3:8003/9193']);
    fixture.register(registration(2, 9192), registration(3, 7003));
    expect(fixture.peers).toEqual(['2:9192/8002', '3:7003/8003/9193']);
    expect([...fixture.directory.places()].map(({ brokerId: id, port }) => `${id}:${port}`)).toEqual([
      '2:9192',
      '2:8002',
      '3:7003',
      '3:8003',
      '3:9193',
    ]);
  });

  test('looks for a registered broker where it says that it is, until it has registered there', () => {
    const fixture = new Fixture();
    fixture.register(registration(1, 9191), registration(2, 9192), registration(4, 7004));
    fixture.introduce(4, 8004);
    fixture.introduce(2, 8002);
    expect(fixture.peers).toEqual(['2:9192/8002', '3:9193', '4:7004/8004']);
    fixture.register(registration(1, 9191), registration(2, 8002), registration(4, 7004));
    expect(fixture.peers).toEqual(['2:8002/9192', '3:9193', '4:7004/8004']);
    fixture.introduce(4, 8005);
    expect(fixture.peers).toEqual(['2:8002/9192', '3:9193', '4:7004/8005']);
  });

  test('expects a broker that only the configuration names once it introduced itself', () => {
    const fixture = new Fixture();
    fixture.configured.push(peer(4, 8004));
    fixture.directory.update();
    expect(fixture.peers).toEqual(['2:9192', '3:9193']);
    fixture.introduce(4, 8004);
    expect(fixture.peers).toEqual(['2:9192', '3:9193', '4:8004']);
  });

  test('does not expect strangers, replaced stores, or more than it can hold', () => {
    const fixture = new Fixture();
    fixture.directory.update();
    fixture.introduce(4, 8004, { clusterId: 'other' });
    fixture.introduce(4, 8004, { storeId: 'old' });
    fixture.introduce(1, 8001);
    fixture.directory.introduce({ brokerId: brokerId(5), storeId: 's', cluster: { clusterId: 'cluster' } });
    expect(fixture.calls).toBe(1);
    for (let id = 10; id < 200; id++) fixture.introduce(id, 8000 + id);
    expect(fixture.peers).toHaveLength(2 + 64);
  });
});

describe('introductionTask()', () => {
  test('tells everybody until the broker is known, also when some can not be reached', async () => {
    const timers = new SimulatedTime();
    const asked: number[] = [];
    let isKnown = false;
    const task = introductionTask({
      places: () => [1, 2],
      timers,
      isKnown: () => isKnown,
      ask: (place) => {
        asked.push(place);
        return place === 1 ? Promise.reject(new Error('Not up')) : Promise.resolve();
      },
      fail: (error) => {
        throw error;
      },
    });
    task.start();
    await timers.runFor(300);
    expect(asked).toEqual([1, 2, 1, 2]);
    isKnown = true;
    await timers.runFor(5000);
    expect(asked).toHaveLength(4);
    task.stop();
  });
});
