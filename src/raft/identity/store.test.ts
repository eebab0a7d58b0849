import { describe, expect, it } from 'vitest';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import { SimulatedDisk } from '../../../test/simulation/simulated-disk.ts';
import { brokerId } from '../../std/brands.ts';
import type { Disk } from '../../std/disk.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { type ClusterIdentity, deriveClusterId } from './cluster-identity.ts';
import { PEER_SESSION_FILE, PeerSessionFile } from './peer-session-file.ts';
import { checksumOf } from './properties-file.ts';
import { META_FILE, Store } from './store.ts';

const ONE = brokerId(1);
const machine = () => {
  const time = new SimulatedTime();
  const platter = new SimulatedDisk(time, { seed: 1 });
  const random = new SeededRandom(1);
  return {
    time,
    platter,
    random,
    disk: platter.mount(),
    /** What the file says, without comments. */
    text: (path: string) => new TextDecoder().decode(platter.readBytes(path)),
  };
};
type Machine = ReturnType<typeof machine>;
const open = (m: Machine, disk: Disk = m.disk, id = ONE): Promise<Store> =>
  m.time.settle(Store.open(disk, m.random, id));
const put = async (m: Machine, path: string, text: string): Promise<void> => {
  const file = await m.time.settle(m.disk.openFile(path, { create: true }));
  await m.time.settle(file.truncate(0));
  await m.time.settle(file.write(0, [new TextEncoder().encode(text)]));
  await m.time.settle(file.close());
};
/** The same with a checksum that fits. */
const sealed = (text: string): string => {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('checksum'));
  const properties = new Map(lines.map((line) => line.split(/ ?= ?/, 2) as [string, string]));
  return `${lines.join('\n')}\nchecksum=${checksumOf(properties)}\n`;
};
const clusterOf = (store: Store): ClusterIdentity => {
  const initialVoters = [{ brokerId: store.brokerId, storeId: store.storeId, host: '127.0.0.1', port: 9192 }];
  return { clusterId: deriveClusterId(initialVoters), initialVoters };
};

describe('Store', () => {
  it('formats an empty directory and counts its starts', async () => {
    const m = machine();
    const first = await open(m);
    expect(first.storeId).toMatch(/^[0-9a-f]{32}$/);
    expect([first.session, first.cluster]).toEqual([1, undefined]);
    const second = await open(m);
    expect([second.storeId, second.session]).toEqual([first.storeId, 2]);
    expect(second.incarnation).not.toBe(first.incarnation);
  });

  it("writes Kafka's names", async () => {
    const m = machine();
    const store = await open(m);
    await m.time.settle(store.bind(clusterOf(store)));
    expect(
      m
        .text(META_FILE)
        .split('\n')
        .map((line) => line.split(/ ?= ?/)[0]),
    ).toEqual(['version', 'node.id', 'directory.id', 'session', 'cluster.id', 'initial.voters', 'checksum', '']);
    expect(m.text(META_FILE)).toMatch(/^version ?= ?1$/m);
  });

  it('remembers its cluster and takes no other', async () => {
    const m = machine();
    const store = await open(m);
    const cluster = clusterOf(store);
    await m.time.settle(store.bind(cluster));
    const again = await open(m);
    expect(again.cluster).toEqual(cluster);
    await expect(again.bind({ clusterId: 'other', initialVoters: [] })).rejects.toThrow(
      `The store belongs to cluster ${cluster.clusterId} and cannot become part of cluster other`,
    );
  });

  it('refuses the directory of another broker, naming both', async () => {
    const m = machine();
    await open(m);
    await expect(open(m, m.disk, brokerId(2))).rejects.toThrow(
      'configured as node.id=2, but the data directory (log.dirs) belongs to node.id=1',
    );
  });

  it('refuses a directory that has data but no identity', async () => {
    const m = machine();
    await m.time.settle(m.disk.makeDirectory('wal'));
    await expect(open(m)).rejects.toThrow('no meta.properties but holds wal');
    await m.time.settle(m.disk.removeDirectory('wal'));
    await put(m, 'lock', '');
    await put(m, `${META_FILE}.tmp`, 'left over');
    await open(m);
  });

  it('refuses what another version or a stray hand wrote', async () => {
    const m = machine();
    await open(m);
    const good = m.text(META_FILE);
    const cases: readonly [RegExp, string, RegExp][] = [
      [/version ?= ?1/, 'version=2', /version=2, but this broker reads version 1/],
      [/session ?= ?1/, 'session=none', /session=none/],
      [/directory\.id ?= ?\S+/, 'directory.id=abc', /directory\.id=abc, which is not a store id/],
      [/$/, 'cluster.id=x\ninitial.voters=1@h:1/00000000000000000000000000000000\n', /cluster\.id=x, which is not/],
      [/$/, 'cluster.id=x\n', /not id@host:port/],
    ];
    for (const [pattern, replacement, message] of cases) {
      await put(m, META_FILE, sealed(good.replace(pattern, replacement)));
      await expect(open(m)).rejects.toThrow(message);
    }
  });

  it('calls damage by its name, whichever bit flipped, and says what helps', async () => {
    const m = machine();
    const store = await open(m);
    await m.time.settle(store.bind(clusterOf(store)));
    const good = m.platter.readBytes(META_FILE).slice();
    for (let at = 0; at < good.length; at++) {
      for (const bit of [at % 8, (at + 5) % 8]) {
        const bad = good.slice();
        bad[at]! ^= 1 << bit;
        await put(m, META_FILE, '');
        const file = await m.time.settle(m.disk.openFile(META_FILE));
        await m.time.settle(file.write(0, [bad]));
        await m.time.settle(file.close());
        try {
          const opened = await open(m);
          // A tab for a blank, say: what was read is what was written.
          expect([opened.storeId, opened.cluster]).toEqual([store.storeId, store.cluster]);
        } catch (error) {
          expect(`${error}`).toMatch(
            /meta\.properties in the data directory \(log\.dirs\) is damaged: .* Otherwise give an empty directory; the broker then gets its data from its peers/,
          );
        }
      }
    }
    await put(m, META_FILE, new TextDecoder().decode(good).replace(/node\.id ?= ?1/, 'node.id=3'));
    await expect(open(m)).rejects.toThrow(/one of them is not as it was written/);
    await put(m, META_FILE, new TextDecoder().decode(good).replace(/checksum.*\n/, ''));
    await expect(open(m)).rejects.toThrow(/it has no checksum/);
  });

  it('is never opened again once condemned', async () => {
    const m = machine();
    const store = await open(m);
    await m.time.settle(store.condemn('its start counter is 3, but start 9 was seen'));
    await expect(open(m)).rejects.toThrow('must not be used: its start counter is 3, but start 9 was seen');
  });

  it('never gives a session twice nor loses its id, wherever power is cut', async () => {
    for (let seed = 0; seed < 150; seed++) {
      const time = new SimulatedTime();
      const platter = new SimulatedDisk(time, { seed });
      const random = new SeededRandom(seed);
      let last: Pick<Store, 'session' | 'storeId' | 'cluster'> | undefined;
      for (let life = 0; life < 4; life++) {
        const disk = platter.mount();
        const haltAt = platter.operations + 1 + random.below(25);
        platter.onOperation = (operation) => (operation.number === haltAt ? { halt: true } : undefined);
        try {
          const store = await time.settle(Store.open(disk, random, ONE));
          if (last !== undefined) {
            expect(store.session).toBeGreaterThan(last.session);
            expect(store.storeId).toBe(last.storeId);
            if (last.cluster !== undefined) expect(store.cluster).toEqual(last.cluster);
          }
          last = { session: store.session, storeId: store.storeId, cluster: last?.cluster };
          await time.settle(store.bind(clusterOf(store)));
          last = { session: store.session, storeId: store.storeId, cluster: store.cluster };
        } catch (error) {
          expect(`${error}`).toMatch(/no events left/);
        }
        platter.crash(random);
      }
    }
  });
});

describe('PeerSessionFile', () => {
  const start = (session: number, mark = 'a') => ({ session, incarnation: mark.repeat(16) });
  const A = 'a'.repeat(32);

  it('remembers the latest start of each store durably', async () => {
    const m = machine();
    const sessions = await m.time.settle(PeerSessionFile.open(m.disk));
    expect(sessions.highest(A)).toBeUndefined();
    await m.time.settle(sessions.record(A, start(3)));
    await m.time.settle(sessions.record(A, start(2)));
    expect(sessions.highest(A)).toEqual(start(3));
    m.platter.crash(m.random, 'lose');
    const again = await m.time.settle(PeerSessionFile.open(m.platter.mount()));
    expect(again.highest(A)).toEqual(start(3));
  });

  it('resolves only when durable, with one write for starts that come together', async () => {
    const m = machine();
    const sessions = await m.time.settle(PeerSessionFile.open(m.disk));
    let syncs = 0;
    m.platter.onOperation = (operation) => {
      if (operation.kind === 'sync') syncs++;
      return undefined;
    };
    const stores = Array.from({ length: 20 }, (_, i) => `${i}`.padStart(32, '0'));
    await m.time.settle(Promise.all(stores.map((store) => sessions.record(store, start(1)))));
    expect(syncs).toBeLessThanOrEqual(2);
    m.platter.crash(m.random, 'lose');
    const again = await m.time.settle(PeerSessionFile.open(m.platter.mount()));
    for (const store of stores) expect(again.highest(store)).toEqual(start(1));
  });

  it('waits for a write under way even if the same start was noted before', async () => {
    const m = machine();
    const sessions = await m.time.settle(PeerSessionFile.open(m.disk));
    const first = sessions.record(A, start(1));
    let second = false;
    void sessions.record(A, start(1)).then(() => {
      second = true;
    });
    await Promise.resolve();
    expect(second).toBe(false);
    await m.time.settle(first);
    expect(second).toBe(true);
  });

  it('fails for good when the disk does', async () => {
    const m = machine();
    const sessions = await m.time.settle(PeerSessionFile.open(m.disk));
    m.platter.onOperation = (operation) => (operation.kind === 'sync' ? { error: 'EIO' } : undefined);
    await expect(m.time.settle(sessions.record(A, start(1)))).rejects.toThrow('EIO');
    m.platter.onOperation = () => undefined;
    await expect(sessions.record(A, start(2))).rejects.toThrow('EIO');
  });

  it('refuses a file that it did not write', async () => {
    const m = machine();
    await put(m, PEER_SESSION_FILE, sealed(`${A}=yes\n`));
    await expect(m.time.settle(PeerSessionFile.open(m.disk))).rejects.toThrow('which is no start');
  });

  it('does not believe a changed start, which would condemn a healthy store', async () => {
    const m = machine();
    const sessions = await m.time.settle(PeerSessionFile.open(m.disk));
    await m.time.settle(sessions.record(A, start(3)));
    await put(m, PEER_SESSION_FILE, m.text(PEER_SESSION_FILE).replace('3 aaaa', '7 aaaa'));
    await expect(m.time.settle(PeerSessionFile.open(m.disk))).rejects.toThrow(
      /peer-sessions\.properties in the data directory \(log\.dirs\) is damaged: .* Delete it/,
    );
  });
});
