/** A catch-up whose content does not hold: nothing of it is believed, the follower goes on as it was, and the next one is taken. */

import { describe, expect, it } from 'vitest';
import { decodeCatchUpPiece, encodeCatchUpPiece } from '../../src/broker/partition/catch-up-codec.ts';
import { decodePeerMessage } from '../../src/raft/peer-codec.ts';
import { CHANNEL } from '../../src/raft/transport.ts';
import { groupId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { encodeCommand } from './list-state-machine.ts';
import { smallCluster } from './small-cluster.ts';

const GROUP = groupId(1);
/** More of them than a WAL holds. */
const COMMAND_BYTES = 200_000;
const COMMANDS = 120;

/** The message of a piece with batches, changed by a wire; or by who sent it, so that the checksum of the piece holds. */
const flaws: Record<string, { readonly reason: RegExp; change(piece: Uint8Array, batches: Uint8Array): void }> = {
  'a bit that flipped on its way': {
    reason: /A catch-up piece fails its checksum/,
    change: (piece) => {
      piece[piece.length - 3]! ^= 4;
    },
  },
  'a batch that the leader read damaged': {
    reason: /A catch-up has a damaged batch: checksum/,
    change: (piece, batches) => {
      const bytes = batches.slice();
      bytes[bytes.length - 3]! ^= 4;
      piece.set(encodeCatchUpPiece({ kind: 'data', bytes }));
    },
  },
  'another offset than the next': {
    reason: /A catch-up goes on with offset/,
    // Kafka's checksum does not cover it.
    change: (piece, batches) => {
      const bytes = batches.slice();
      bytes[7]! ^= 64;
      piece.set(encodeCatchUpPiece({ kind: 'data', bytes }));
    },
  },
};

describe('A catch-up whose content does not hold', () => {
  for (const [name, { reason, change }] of Object.entries(flaws)) {
    it(`because of ${name}: is refused with the reason, and the next one is taken`, { timeout: 60_000 }, async () => {
      const { time, network, brokers } = await smallCluster(3, 1, {}, 'partition');
      const leading = () => brokers.find((broker) => broker.driver?.get(GROUP)?.isReady);
      let acked = 0;
      const write = async (count: number): Promise<void> => {
        for (let left = count; left > 0; left--) {
          const before = acked;
          leading()!
            .driver!.get(GROUP)!
            .propose([encodeCommand(acked + 1, COMMAND_BYTES)], ({ kind: outcome }) => {
              if (outcome === 'applied') acked++;
            });
          await time.runUntilTrue(() => acked > before, 10_000);
        }
      };
      const leader = leading()!;
      const follower = brokers.find((broker) => broker !== leader)!;
      await write(3);
      await time.runFor(500);
      follower.crash(new SeededRandom(1), false);
      for (let round = 0; round < 4; round++) {
        await write(COMMANDS / 4);
        for (const broker of brokers) broker.driver?.checkpoint(GROUP);
        await time.runFor(500);
      }

      let changed = 0;
      const aborts: string[] = [];
      const itemsWhenRefused: number[] = [];
      network.onWire = (from, to, channel, bytes) => {
        if (channel !== CHANNEL.bulk) return;
        for (const item of decodePeerMessage(bytes)) {
          if (item.kind === 'catchUpAbort' && item.byReceiver && from === follower.brokerId) {
            aborts.push(item.reason);
            itemsWhenRefused.push(follower.listOf(GROUP)!.items.length);
          }
          if (item.kind !== 'catchUpPiece' || to !== follower.brokerId || changed > 0) continue;
          const piece = decodeCatchUpPiece(item.piece);
          if (piece.kind !== 'data') continue;
          change(item.piece, piece.bytes);
          changed++;
        }
      };
      follower.start();
      await time.runUntilTrue(() => follower.driver?.metrics.catchUpsInstalled === 1, 60_000);
      expect(changed).toBe(1);
      expect(aborts.filter((text) => reason.test(text))).toHaveLength(1);
      // Nothing of what was refused was taken over.
      expect(Math.max(...itemsWhenRefused)).toBeLessThanOrEqual(3);
      await write(3);
      await time.runFor(3_000);
      const ids = Array.from({ length: acked }, (_, at) => at + 1);
      expect(follower.listOf(GROUP)!.items.map(({ id }) => id)).toEqual(ids);
      expect(await time.settle(follower.listOf(GROUP)!.readLog!(acked))).toEqual(follower.listOf(GROUP)!.items);
      expect(follower.driver!.replicas.get(GROUP)!.frozen).toBe(false);
    });
  }
});
