/** Requests of every API and version made of what clients never send: whatever they ask, an answer can be encoded, or the connection ends. Anything else would stop the broker. */
import { describe, expect, test } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import { randomRequest } from '../../../test/fakes/random-request.ts';
import type { AnyApi } from '../../kafka-protocol/api.ts';
import { ALL_APIS } from '../../kafka-protocol/api-keys.ts';
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { decodeRequest, decodeResponse, encodeResponse } from '../../kafka-protocol/headers.ts';
import { ProtocolError } from '../../kafka-protocol/protocol-error.ts';
import { encodeRecordBatch } from '../../kafka-protocol/records.ts';
import type { ProposalOutcome } from '../../raft/raft-group.ts';
import { logIndex, term } from '../../std/brands.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { decodeGroupCommand } from '../groups/group-command.ts';
import { CONSUMER_OFFSETS_TOPIC, GroupCoordinator } from '../groups/group-coordinator.ts';
import { GroupShard } from '../groups/group-shard.ts';
import { GroupState } from '../groups/group-state.ts';
import { groupHandlers } from './group-handlers.ts';
import { createHandlers } from './handlers.ts';

const REQUESTS_PER_VERSION = 12;
const LONG = 'é'.repeat(16_383);
const BYTES = [new Uint8Array(0), Buffer.alloc(70), encodeRecordBatch([{ timestamp: 1 }])];
const GROUP_CONFIG = {
  initialRebalanceDelayMs: 1,
  sessionTimeoutMinMs: 0,
  sessionTimeoutMaxMs: 2 ** 31 - 1,
  membersMax: 20,
  offsetMetadataBytesMax: 4096,
  offsetsRetentionMs: 1_000_000,
  retentionCheckIntervalMs: 60_000,
};

/** A broker with some topics and groups; answers to Produce come at once. */
class AnyBroker {
  readonly broker = new FakeBroker();
  readonly handlers = createHandlers(this.broker.services);
  readonly random: SeededRandom;
  asked: Uint8Array = BYTES[0]!;
  /** Strings to ask for: those that mean something, and those that were answered. */
  readonly strings = ['t', 'elsewhere', 'g', 'consumer', 'range', 'retention.ms', '1', '', '..', '\0', LONG];

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    const { broker } = this;
    broker.addTopic('t', [1, 1]);
    broker.addTopic('elsewhere', [2, undefined]);
    broker.addTopic(CONSUMER_OFFSETS_TOPIC, [1]);
    for (const log of broker.partitions.values()) {
      log.append(10, 10);
      log.produce = (_records, _options, done) =>
        done({ errorCode: 0, baseOffset: 3, logAppendTimeMs: 5, logStartOffset: 1, errorMessage: LONG });
    }
    for (const handler of groupHandlers(this.#coordinator())) this.handlers.add(handler);
  }

  #coordinator(): GroupCoordinator {
    const { cluster, groups, timers, clock } = this.broker.services;
    const coordinator = new GroupCoordinator({
      cluster,
      groups,
      timers,
      config: GROUP_CONFIG,
      ensureTopic: () => Promise.resolve(ErrorCode.NONE),
    });
    const state = new GroupState();
    const shard = new GroupShard({
      log: {
        isLeader: true,
        isReady: true,
        propose: (command: Uint8Array, done: (outcome: ProposalOutcome) => void) =>
          timers.soon(() => {
            const result = state.apply(decodeGroupCommand(command)).errorCode;
            done({ kind: 'applied', index: logIndex(1), term: term(1), result });
          }),
        readBarrier: (done: (confirmed: boolean) => void) => timers.soon(() => done(true)),
      },
      state,
      environment: { clock, timers, random: this.random },
      config: GROUP_CONFIG,
      clusterTimeMs: () => undefined,
      stampMs: () => 0,
      topicIdOf: (topic) => cluster.image.topics.get(topic)?.topicId,
      refreshTopics: () => coordinator.refreshTopics(),
    });
    shard.leadershipChanged();
    coordinator.addShard(0, shard);
    return coordinator;
  }

  /** Sends a request and gives what its handler answers, encoded and read again; undefined if it is still parked. */
  async ask(api: AnyApi, version: number): Promise<unknown> {
    const uuids = [ZERO_UUID, this.broker.topics.get('t')!.topicId, 'AAAAAAAAAAAAAAAAAAAABg'];
    const words = { strings: this.strings, uuids, bytes: BYTES };
    const frame = randomRequest(api, version, 7, this.random, words).subarray(4);
    this.asked = frame;
    const context = { ...this.broker.context(version), clientId: this.random.chance(0.3) ? LONG : 'c' };
    let answer: unknown;
    let failure: unknown;
    const handling = Promise.resolve()
      .then(() => this.handlers.find(api.key, version)!.handle(decodeRequest(api, frame).body, context))
      .then((response) => {
        if (response === undefined) return;
        const encoded = Buffer.concat(encodeResponse(api, version, 7, response as never)).subarray(4);
        answer = decodeResponse(api, version, encoded).body;
      })
      .catch((error: unknown) => {
        if (!(error instanceof ProtocolError)) failure = error;
      });
    await this.broker.time.runFor(this.random.pick([2, 20, 11_000]));
    // Later answers are of interest, too: a parked member's comes when the next one joins.
    void handling.then(() => failure !== undefined && Promise.reject(failure));
    if (failure !== undefined) throw failure;
    return answer;
  }

  /** Ids that were given out are asked with from now on. */
  learn(answer: unknown): void {
    const { memberId } = (answer ?? {}) as { memberId?: string };
    if (memberId === undefined || this.strings.includes(memberId)) return;
    if (this.strings.length > 20) this.strings.splice(11, 1);
    this.strings.push(memberId);
  }
}

describe('whatever a client asks', () => {
  test.each([1, 2])('there is an answer that can be sent (seed %i)', async (seed) => {
    const any = new AnyBroker(seed);
    const versions = ALL_APIS.flatMap((api) =>
      Array.from({ length: api.versions.max - api.versions.min + 1 }, (_, step) => ({
        api,
        version: api.versions.min + step,
      })),
    );
    const answered = new Set<string>();
    for (let left = versions.length * REQUESTS_PER_VERSION; left > 0; left--) {
      const { api, version } = any.random.pick(versions);
      try {
        const answer = await any.ask(api, version);
        if (answer !== undefined) answered.add(api.name);
        any.learn(answer);
      } catch (error) {
        const { body } = decodeRequest(api, any.asked);
        const asked = JSON.stringify(body).slice(0, 500);
        throw new Error(`${api.name} v${version} (seed ${seed}): ${asked}`, { cause: error });
      }
    }
    // Else the requests would be refused too early to be of any use.
    expect([...answered].sort()).toEqual(ALL_APIS.map(({ name }) => name).sort());
  });
});
