/**
 * What every implementation of {@link Transport} promises, as tests: run against gRPC on loopback and against the simulated
 * network. A world makes brokers and moves time; the contract never waits by the clock.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  CHANNEL,
  type Channel,
  type LinkDownReason,
  type LinkInfo,
  type PeerAddress,
  type Transport,
} from '../../src/raft/transport.ts';
import { type BrokerId, brokerId } from '../../src/std/brands.ts';

export type TransportEvent =
  | { readonly kind: 'up'; readonly peer: LinkInfo }
  | { readonly kind: 'down'; readonly peer: BrokerId; readonly reason: LinkDownReason }
  | { readonly kind: 'message'; readonly peer: BrokerId; readonly channel: Channel; readonly bytes: Uint8Array };

/** One life of one broker's transport, started, with all its events. */
export interface ContractBroker {
  readonly id: BrokerId;
  readonly storeId: string;
  readonly session: number;
  readonly transport: Transport;
  readonly events: TransportEvent[];
}

export interface TransportWorld {
  /** Starts a broker, or starts it again (same store, next session) after {@link kill}. Its peers are all others of 1, 2, 3. */
  start(id: number): Promise<ContractBroker>;
  /** Ends a broker without a goodbye; its port refuses connections from then on. */
  kill(id: number): Promise<void>;
  addressOf(id: number): PeerAddress;
  /** Lets the world go on until `condition` holds. */
  until(condition: () => boolean): Promise<void>;
  close(): Promise<void>;
}

/** Records what a transport tells its user. */
export function recordEvents(transport: Transport): TransportEvent[] {
  const events: TransportEvent[] = [];
  transport.handlers = {
    linkUp: (peer) => events.push({ kind: 'up', peer }),
    linkDown: (peer, reason) => events.push({ kind: 'down', peer, reason }),
    message: (peer, channel, bytes) => events.push({ kind: 'message', peer, channel, bytes }),
  };
  return events;
}

/** up / down events of one peer, as short words: up, broken, refused, rejected. */
export function linkHistory(broker: ContractBroker, peer: number): string[] {
  const words: string[] = [];
  for (const event of broker.events) {
    if (event.kind === 'up' && event.peer.brokerId === peer) words.push('up');
    if (event.kind === 'down' && event.peer === peer) words.push(event.reason);
  }
  return words;
}

export function messagesOf(broker: ContractBroker, peer: number, channel: Channel): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (const event of broker.events) {
    if (event.kind === 'message' && event.peer === peer && event.channel === channel) messages.push(event.bytes);
  }
  return messages;
}

const CHANNELS: readonly Channel[] = [CHANNEL.control, CHANNEL.append, CHANNEL.bulk];
const numbered = (value: number, length = 4): Uint8Array => {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
};
const numberOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

export function describeTransport(name: string, createWorld: () => Promise<TransportWorld>): void {
  describe(`Transport contract: ${name}`, () => {
    let world: TransportWorld;
    beforeEach(async () => {
      world = await createWorld();
    });
    afterEach(async () => {
      await world.close();
    });

    const bothUp = (a: ContractBroker, b: ContractBroker): boolean => a.transport.isUp(b.id) && b.transport.isUp(a.id);

    it('brings a link up on both sides and names the peer', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      const up = (broker: ContractBroker, peer: BrokerId) =>
        broker.events.filter((event) => event.kind === 'up' && event.peer.brokerId === peer);
      expect(up(a, b.id)).toEqual([{ kind: 'up', peer: { brokerId: b.id, storeId: b.storeId, session: b.session } }]);
      expect(up(b, a.id)).toEqual([{ kind: 'up', peer: { brokerId: a.id, storeId: a.storeId, session: a.session } }]);
    });

    it('reports a peer that never was there as refused, once', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b) && linkHistory(a, 3).length > 0 && linkHistory(b, 3).length > 0);
      expect(linkHistory(a, 3)).toEqual(['refused']);
      expect(linkHistory(b, 3)).toEqual(['refused']);
    });

    it('connects every pair', async () => {
      const brokers = [await world.start(1), await world.start(2), await world.start(3)];
      await world.until(() => brokers.every((a) => brokers.every((b) => a === b || a.transport.isUp(b.id))));
    });

    it('delivers each channel in order, all, once, in both directions', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      const count = 300;
      for (let i = 0; i < count; i++) {
        for (const channel of CHANNELS) {
          expect(a.transport.send(b.id, channel, [numbered(i), numbered(channel)])).toBe(true);
          expect(b.transport.send(a.id, channel, [numbered(i, 2000)])).toBe(true);
        }
      }
      await world.until(() =>
        CHANNELS.every(
          (channel) => messagesOf(a, 2, channel).length >= count && messagesOf(b, 1, channel).length >= count,
        ),
      );
      for (const channel of CHANNELS) {
        const expected = Array.from({ length: count }, (_, i) => i);
        expect(messagesOf(a, 2, channel).map(numberOf)).toEqual(expected);
        expect(messagesOf(b, 1, channel).map(numberOf)).toEqual(expected);
        expect(messagesOf(b, 1, channel).every((bytes) => bytes.length === 8 && bytes[7] === channel)).toBe(true);
      }
    });

    it('carries empty and large messages', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      const sizes = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
      for (const size of sizes) {
        const bytes = new Uint8Array(size).fill(size % 251);
        await world.until(() => a.transport.queuedBytes(b.id, CHANNEL.append) === 0);
        expect(a.transport.send(b.id, CHANNEL.append, [bytes])).toBe(true);
      }
      await world.until(() => messagesOf(b, 1, CHANNEL.append).length === sizes.length);
      for (const [i, bytes] of messagesOf(b, 1, CHANNEL.append).entries()) {
        const size = sizes[i] as number;
        expect(bytes.length).toBe(size);
        expect(bytes.every((byte) => byte === size % 251)).toBe(true);
      }
    });

    it('queues nothing for a peer without a link', async () => {
      const a = await world.start(1);
      expect(a.transport.isUp(brokerId(2))).toBe(false);
      expect(a.transport.send(brokerId(2), CHANNEL.control, [numbered(1)])).toBe(false);
      expect(a.transport.send(brokerId(99), CHANNEL.control, [numbered(1)])).toBe(false);
      expect(a.transport.queuedBytes(brokerId(2), CHANNEL.control)).toBe(0);
    });

    for (const [victim, survivor] of [
      [2, 1],
      [1, 2],
    ] as const) {
      it(`tells broker ${survivor} that broker ${victim} broke and is refused, and links again after a restart`, async () => {
        const first = await world.start(victim);
        const other = await world.start(survivor);
        await world.until(() => bothUp(first, other));
        const before = linkHistory(other, victim).length;
        await world.kill(victim);
        await world.until(() => linkHistory(other, victim).at(-1) === 'refused');
        expect(linkHistory(other, victim).slice(before)).toEqual(['broken', 'refused']);
        expect(other.transport.isUp(first.id)).toBe(false);
        expect(other.transport.send(first.id, CHANNEL.control, [numbered(1)])).toBe(false);

        const second = await world.start(victim);
        expect(second.session).toBeGreaterThan(first.session);
        await world.until(() => bothUp(second, other));
        const last = other.events.findLast((event) => event.kind === 'up');
        expect(last).toEqual({
          kind: 'up',
          peer: { brokerId: second.id, storeId: first.storeId, session: second.session },
        });
        expect(other.transport.send(second.id, CHANNEL.control, [numbered(7)])).toBe(true);
        await world.until(() => messagesOf(second, survivor, CHANNEL.control).length === 1);
      });
    }

    it('alternates up and down through many lives, and mixes no messages of two lives', async () => {
      const a = await world.start(1);
      let b = await world.start(2);
      for (let life = 0; life < 4; life++) {
        await world.until(() => bothUp(a, b));
        for (let i = 0; i < 50; i++) a.transport.send(b.id, CHANNEL.append, [numbered(life), numbered(i)]);
        await world.until(() => messagesOf(b, 1, CHANNEL.append).length >= 50);
        expect(messagesOf(b, 1, CHANNEL.append).map(numberOf)).toEqual(Array.from({ length: 50 }, () => life));
        for (let i = 0; i < 50; i++) a.transport.send(b.id, CHANNEL.append, [numbered(life + 100)]);
        await world.kill(2);
        await world.until(() => linkHistory(a, 2).at(-1) === 'refused');
        b = await world.start(2);
      }
      await world.until(() => bothUp(a, b));
      const history = linkHistory(a, 2).filter((word) => word !== 'refused');
      expect(history).toEqual(['up', 'broken', 'up', 'broken', 'up', 'broken', 'up', 'broken', 'up']);
    });

    it('refuses above a budget of queued bytes and says when there is room again', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      const writable: [BrokerId, Channel][] = [];
      a.transport.onWritable = (peer, channel) => writable.push([peer, channel]);
      const chunk = new Uint8Array(1_000_000);
      let sent = 0;
      while (a.transport.send(b.id, CHANNEL.bulk, [chunk])) {
        sent++;
        expect(sent).toBeLessThan(1_000);
      }
      expect(sent).toBeGreaterThan(0);
      expect(a.transport.queuedBytes(b.id, CHANNEL.bulk)).toBe(sent * chunk.length);
      expect(a.transport.send(b.id, CHANNEL.control, [numbered(1)])).toBe(true);
      await world.until(() => writable.length > 0);
      expect(writable).toEqual([[b.id, CHANNEL.bulk]]);
      expect(a.transport.send(b.id, CHANNEL.bulk, [numbered(1)])).toBe(true);
      await world.until(() => messagesOf(b, 1, CHANNEL.bulk).length === sent + 1);
      expect(a.transport.queuedBytes(b.id, CHANNEL.bulk)).toBe(0);
    });

    it('ends the life of a link on reset, later than the call, and makes the next one', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      for (const [resetter, other] of [
        [a, b],
        [b, a],
      ] as const) {
        await world.until(() => bothUp(a, b));
        const before = linkHistory(resetter, other.id).length;
        const beforeOther = linkHistory(other, resetter.id).length;
        resetter.transport.reset(other.id, 'A checksum does not match');
        expect(linkHistory(resetter, other.id)).toHaveLength(before);
        expect(resetter.transport.send(other.id, CHANNEL.control, [numbered(1)])).toBe(false);
        await world.until(
          () =>
            linkHistory(resetter, other.id).length >= before + 2 &&
            linkHistory(other, resetter.id).length >= beforeOther + 2,
        );
        expect(linkHistory(resetter, other.id).slice(before)).toEqual(['broken', 'up']);
        expect(linkHistory(other, resetter.id).slice(beforeOther)).toEqual(['broken', 'up']);
      }
    });

    it('closes the link to a peer that is no longer one, and makes it again when it is', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      a.transport.setPeers([]);
      await world.until(() => !a.transport.isUp(b.id) && !b.transport.isUp(a.id));
      expect(linkHistory(a, 2).slice(-2)).toEqual(['up', 'broken']);
      expect(linkHistory(b, 1).at(-1)).toBe('broken');
      a.transport.setPeers([world.addressOf(2)]);
      await world.until(() => bothUp(a, b));
    });

    it('is silent after close', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await world.until(() => bothUp(a, b));
      await a.transport.close();
      const before = a.events.length;
      await world.until(() => !b.transport.isUp(a.id));
      expect(a.events.length).toBe(before);
      expect(a.transport.send(b.id, CHANNEL.control, [numbered(1)])).toBe(false);
    });
  });
}
