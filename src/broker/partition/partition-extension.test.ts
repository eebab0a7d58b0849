import { describe, expect, it } from 'vitest';
import { FakeRaftGroup } from '../../../test/support/fake-raft-group.ts';
import { PartitionFixture, testBatch } from '../../../test/support/partition-fixture.ts';
import type { CatchUpStream } from '../../raft/state-machine.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import type { TopicSettings } from '../config/topic-settings.ts';
import { Partition } from './partition.ts';
import type { ExtensionContext, ExtensionEffects, PartitionExtension } from './partition-extension.ts';

/** Remembers named blobs; each command writes a record, and every third moves the log start behind the state's history. */
class Blobs implements PartitionExtension {
  blobs = new Map<string, string>();
  contexts: ExtensionContext[] = [];
  leaderships = 0;

  apply(command: Uint8Array, context: ExtensionContext): ExtensionEffects {
    const text = Buffer.from(command).toString();
    const [name = '', value = ''] = text.split('=');
    this.contexts.push(context);
    this.blobs.set(name, value);
    const batches = [testBatch({ records: 2 })];
    const end = context.nextOffset + 2;
    return {
      result: `${name} is ${value.length} long`,
      batches,
      ...(this.blobs.size % 3 === 0 ? { moveLogStartTo: end } : {}),
    };
  }

  encodeState(): Uint8Array {
    return Buffer.from(JSON.stringify([...this.blobs]));
  }

  restoreState(bytes: Uint8Array): void {
    this.blobs = new Map(bytes.length === 0 ? [] : JSON.parse(Buffer.from(bytes).toString()));
  }

  leadershipChanged(): void {
    this.leaderships++;
  }
}

async function withBlobs(options: ConstructorParameters<typeof PartitionFixture>[0] = {}) {
  const made: Blobs[] = [];
  const extension = (): Blobs => {
    const blobs = new Blobs();
    made.push(blobs);
    return blobs;
  };
  const fixture = new PartitionFixture({ ...options, extension });
  await fixture.start();
  const group = new FakeRaftGroup(fixture.machine);
  const partition = new Partition({
    group,
    machine: fixture.machine,
    resources: fixture.resources,
    topic: 'orders',
    topicId: 'AAAAAAAAAAAAAAAAAAAAAQ',
    partition: 3,
    settings: () => ({}) as TopicSettings,
  });
  const propose = (text: string): unknown => {
    let result: unknown;
    partition.proposeExtension([Buffer.from(text)], (outcome) => {
      result = outcome.kind === 'applied' ? outcome.result : outcome.kind;
    });
    group.commit();
    return result;
  };
  return { fixture, group, partition, propose, blobs: () => made.at(-1)! };
}

describe('PartitionExtension', () => {
  it('gets its commands, and its batches and log start go through apply', async () => {
    const { fixture, partition, propose, blobs, group } = await withBlobs();
    fixture.clusterTimeMs = 77;
    expect(propose('a=xyz')).toBe('a is 3 long');
    expect(blobs().contexts).toEqual([{ index: 1, term: 1, nextOffset: 0, logStartOffset: 0, timeMs: 77 }]);
    propose('b=1');
    expect([partition.logStartOffset, partition.highWatermark]).toEqual([0, 4]);
    propose('c=1');
    expect([partition.logStartOffset, partition.highWatermark]).toEqual([6, 6]);
    group.become('follower', false);
    expect(blobs().leaderships).toBe(1);
  });

  it('has its state in the checkpoint, also when it is large', async () => {
    const { fixture, propose, blobs } = await withBlobs();
    for (const length of [10, 200_000]) {
      propose(`a=${'x'.repeat(length)}`);
      const checkpoint = await fixture.checkpoint();
      expect(checkpoint.payload.length).toBeLessThan(1_000);
      const state = blobs().blobs;
      propose('b=not in it');
      const platter = fixture.platter.clone();
      platter.crash(new SeededRandom(1), 'lose');
      const restored: Blobs[] = [];
      const again = new PartitionFixture({
        platter,
        time: fixture.time,
        extension: () => {
          restored.push(new Blobs());
          return restored[0]!;
        },
      });
      await again.start(checkpoint);
      expect(restored[0]!.blobs.get('a')).toEqual(state.get('a'));
      expect(restored[0]!.blobs.get('b')).toBe(length === 10 ? undefined : 'not in it');
    }
  });

  it('has its state in the catch-up, in pieces', async () => {
    const leader = await withBlobs();
    leader.propose(`a=${'y'.repeat(2_500_000)}`);
    leader.propose('b=2');
    const follower = await withBlobs({ time: leader.fixture.time });
    const opened = leader.fixture.machine.openCatchUp(follower.fixture.machine.catchUpPosition());
    const source = (await leader.fixture.time.settle(opened))!;
    let pieces = 0;
    const stream: CatchUpStream = {
      index: source.index,
      term: source.term,
      async *pieces() {
        for (let piece = await source.next(); piece !== undefined; piece = await source.next()) {
          pieces++;
          expect(piece.length).toBeLessThanOrEqual(1024 * 1024);
          yield piece;
        }
      },
    };
    await leader.fixture.time.settle(follower.fixture.machine.installCatchUp(stream));
    await source.close();
    expect(pieces).toBeGreaterThanOrEqual(5);
    expect(follower.blobs().blobs).toEqual(leader.blobs().blobs);
    expect(follower.partition.highWatermark).toBe(4);
  });

  it('must exist where a command of it comes', async () => {
    const leader = await withBlobs();
    leader.partition.proposeExtension([Buffer.from('a=1')], () => undefined);
    const plain = new PartitionFixture();
    await plain.start();
    expect(() => plain.apply(leader.group.proposals[0]!.payload)).toThrow('has no extension');
  });
});
