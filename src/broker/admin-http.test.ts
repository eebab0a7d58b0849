import { beforeEach, describe, expect, test } from 'vitest';
import { FakeBroker } from '../../test/fakes/fake-broker.ts';
import type { LeaderAnnouncement, RaftGroup, RaftGroups } from '../raft/raft-group.ts';
import { brokerId, groupId, METADATA_GROUP_ID, replicaId, term } from '../std/brands.ts';
import { AdminHttp } from './admin-http.ts';

let broker: FakeBroker;
let groups: RaftGroup[];
let isServing: boolean;
let admin: AdminHttp;
const leaders = new Map<number, LeaderAnnouncement>();

beforeEach(() => {
  broker = new FakeBroker();
  groups = [];
  leaders.clear();
  isServing = true;
  admin = new AdminHttp({
    cluster: broker.services.cluster,
    groups: { all: () => groups, leaderOf: (id: number) => leaders.get(id) } as unknown as RaftGroups,
    isServing: () => isServing,
    scrub: () => ({
      report: { pass: 0, rows: [] },
      scrubNow: async () => ({ pass: 1, rows: [] }),
    }),
    metrics: () => Promise.resolve('flotilla_x 1\n'),
    metricsContentType: 'text/plain; version=0.0.4',
  });
});

function addGroup(
  id: number,
  role: 'leader' | 'follower',
  inSync: number[] | undefined,
  { voters, learners }: { voters: number[]; learners: number[] } = { voters: [1, 2, 3], learners: [] },
): void {
  const member = (each: number) => ({ replicaId: replicaId(each), brokerId: brokerId(each), storeId: `${each}` });
  const membership = { voters: voters.map(member), learners: learners.map(member) };
  groups.push({ groupId: groupId(id), role, isReady: true, membership } as unknown as RaftGroup);
  if (inSync === undefined) return;
  leaders.set(id, {
    groupId: groupId(id),
    leader: brokerId(2),
    term: term(1),
    ready: true,
    inSync: inSync.map(brokerId),
  });
}

const ready = async () => {
  const { status, body } = await admin.answer('/readyz');
  return [status, body.trim()];
};

describe('AdminHttp', () => {
  test('is ready when every group of its own has a leader that counts it in', async () => {
    addGroup(METADATA_GROUP_ID, 'leader', undefined);
    addGroup(7, 'follower', [1, 2]);
    expect(await ready()).toEqual([200, 'ready']);
  });

  test('says why it is not ready', async () => {
    addGroup(METADATA_GROUP_ID, 'follower', undefined);
    expect(await ready()).toEqual([503, 'The metadata group has no known leader']);
    groups = [];
    addGroup(7, 'follower', [2, 3]);
    expect(await ready()).toEqual([503, 'Group 7 is not caught up here']);
    broker.brokers.delete(1);
    expect(await ready()).toEqual([503, 'It is not registered in the cluster yet']);
    isServing = false;
    expect(await ready()).toEqual([503, 'It is starting or stopping']);
  });

  test('is not ready while it only learns a partition, though it may learn metadata for life', async () => {
    const members = { voters: [2, 3], learners: [1] };
    addGroup(METADATA_GROUP_ID, 'follower', [2, 3], members);
    expect(await ready()).toEqual([200, 'ready']);
    addGroup(7, 'follower', [2, 3], members);
    expect(await ready()).toEqual([503, 'Group 7 is still being filled here']);
  });

  test('lives in any case, and tells what it leads', async () => {
    isServing = false;
    expect((await admin.answer('/healthz')).status).toBe(200);
    addGroup(1, 'leader', undefined);
    addGroup(2, 'follower', undefined);
    const { contentType, body } = await admin.answer('/status');
    expect(contentType).toBe('application/json');
    expect(JSON.parse(body)).toEqual({
      nodeId: 1,
      clusterId: 'cluster-1',
      controllerId: 2,
      liveBrokers: [1, 2, 3],
      leaders: 1,
      ready: false,
      reason: 'It is starting or stopping',
    });
  });

  test('gives metrics, and 404 with what there is for anything else', async () => {
    expect(await admin.answer('/metrics')).toEqual({
      status: 200,
      contentType: 'text/plain; version=0.0.4',
      body: 'flotilla_x 1\n',
    });
    expect((await admin.answer('/')).status).toBe(404);
  });

  test('tells of the search for damage, and begins one', async () => {
    expect(JSON.parse((await admin.answer('/scrub')).body)).toEqual({ pass: 0, rows: [] });
    expect(JSON.parse((await admin.answer('/scrub/now')).body)).toEqual({ pass: 1, rows: [] });
  });
});
