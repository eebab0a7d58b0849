/**
 * Leaders killed (SIGKILL) or frozen (SIGSTOP) one after the other under an open-loop producer, as a client library sees it: kafkajs with short retries. Each fault gives one pause, the longest
 * time between two acknowledgements; at the end everything is read back and compared with what was acknowledged.
 */
import { Kafka, logLevel } from 'kafkajs';
import { fetchApi } from '../../../src/kafka-protocol/messages/fetch.ts';
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import { iterateBatches } from '../../../src/kafka-protocol/record-batch.ts';
import { readRecords } from '../../../src/kafka-protocol/records.ts';
import { untilFirstRecord } from '../first-record.ts';
import { type CpuUsage, rssMegabytesOf, usageBetween } from '../machine.ts';
import { RawConnection } from '../raw-client.ts';
import { type Cell, type Context, type Figure, type Outcome, sleep, type Workload } from '../workload.ts';
import { milliseconds } from './figures.ts';

const METADATA_VERSION = 8;
const FETCH_VERSION = 11;
const RATE = 200;
/** Of a topic that is there so that the client is connected to all brokers. */
const PARTITIONS_ELSEWHERE = 12;
/** Acknowledgements sooner than this after the fault were under way before it. */
const ECHO_MS = 20;
/** How long the cluster runs on after it recovered, and before the next fault. */
const CALM_MS = 1_000;
const RECOVERY_TIMEOUT_MS = 60_000;
/** A broker that is frozen for so long goes on, whether the client found another leader or not. */
const FREEZE_MAX_MS = 15_000;

interface Faults {
  readonly signal: 'SIGKILL' | 'SIGSTOP';
  readonly count: number;
  /** Of kafkajs. */
  readonly requestTimeoutMs: number;
  readonly metadataMaxAgeMs: number;
}

async function runFaults(context: Context, faults: Faults): Promise<Outcome> {
  await context.system.start();
  await untilFirstRecord(context.system.endpoints, 'first', {
    startMs: performance.now(),
    create: context.replicationFactor,
  });
  const { topic } = await context.createTopic(1);
  const elsewhere = await context.createTopic(PARTITIONS_ELSEWHERE);
  const kafka = new Kafka({
    clientId: 'failover',
    brokers: context.system.endpoints.map(({ host, port }) => `${host}:${port}`),
    logLevel: logLevel.NOTHING,
    connectionTimeout: 500,
    requestTimeout: faults.requestTimeoutMs,
    retry: { initialRetryTime: 20, maxRetryTime: 100, retries: 400, factor: 0, multiplier: 1 },
  });
  const producer = kafka.producer({ idempotent: false, metadataMaxAge: faults.metadataMaxAgeMs });
  await producer.connect();
  // As a client that writes to several leaders: kafkajs asks only brokers that it is connected to who leads, and with one connection it would ask the frozen one until that goes on.
  for (let partition = 0; partition < PARTITIONS_ELSEWHERE; partition++) {
    await producer.send({ topic: elsewhere.topic, acks: -1, messages: [{ partition, value: 'connects' }] });
  }
  for (let i = 0; i < 50; i++) await producer.send({ topic, acks: -1, messages: [{ value: `heat-${i}` }] });

  const acknowledged = new Set<number>();
  const acksMs: number[] = [];
  let failed = 0;
  let sent = 0;
  let sending = true;
  const open = new Set<Promise<void>>();
  const send = (id: number): void => {
    const outcome = producer.send({ topic, acks: -1, messages: [{ value: `${id}` }] }).then(
      () => {
        acknowledged.add(id);
        acksMs.push(performance.now());
      },
      () => {
        failed += 1;
      },
    );
    open.add(outcome);
    outcome.finally(() => open.delete(outcome)).catch(() => undefined);
  };
  const startMs = performance.now();
  const timer = setInterval(() => {
    while (sending && sent < ((performance.now() - startMs) / 1000) * RATE) send(sent++);
  }, 2);

  const gaps: number[] = [];
  let resumedEarly = 0;
  const usages: CpuUsage[] = [];
  try {
    for (let i = 0; i < faults.count; i++) {
      const calmMs = performance.now();
      await sleep(CALM_MS);
      while ((acksMs.at(-1) ?? 0) < calmMs) {
        context.signal.throwIfAborted();
        if (performance.now() - calmMs > RECOVERY_TIMEOUT_MS) throw new Error('No acknowledgement within a minute');
        await sleep(5);
      }
      const victim = (await partitionState(context, topic)).leader;
      const pid = context.system.pids().get(victim)!;
      const faultMs = performance.now();
      process.kill(pid, faults.signal);
      // The end of a process costs CPU time that nobody could tell from that of others.
      while (faults.signal === 'SIGKILL' && rssMegabytesOf([pid]).some((left) => left > 0)) await sleep(5);
      const before = context.takeSnapshot();
      let resumed = false;
      while ((acksMs.at(-1) ?? 0) < faultMs + ECHO_MS) {
        const waitedMs = performance.now() - faultMs;
        context.signal.throwIfAborted();
        if (waitedMs > RECOVERY_TIMEOUT_MS) throw new Error('No acknowledgement within a minute');
        if (faults.signal === 'SIGSTOP' && waitedMs > FREEZE_MAX_MS && !resumed) {
          resumed = true;
          resumedEarly += 1;
          process.kill(pid, 'SIGCONT');
        }
        await sleep(5);
      }
      await sleep(CALM_MS);
      usages.push(usageBetween(before, context.takeSnapshot()));
      gaps.push(longestGap(acksMs, faultMs));
      console.error(`    ${faults.signal} ${i + 1} of ${faults.count}: ${gaps.at(-1)!.toFixed(0)} ms`);
      if (faults.signal === 'SIGKILL') await context.system.revive(victim);
      else if (!resumed) process.kill(pid, 'SIGCONT');
      await untilInSync(context, topic);
    }
  } catch (error) {
    // Nobody reads the outcome, and the next cluster may listen on the same ports.
    producer.disconnect().catch(() => undefined);
    throw error;
  } finally {
    sending = false;
    clearInterval(timer);
  }
  await Promise.race([Promise.all(open), sleep(20_000)]);
  const counts = await readBack(context, topic);
  await producer.disconnect();
  let missing = 0;
  let doubled = 0;
  for (const id of acknowledged) {
    const count = counts.get(`${id}`) ?? 0;
    if (count === 0) missing += 1;
    if (count > 1) doubled += 1;
  }
  gaps.sort((a, b) => a - b);
  const at = (share: number): number => gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * share))]!;
  const count = (name: string, value: number, better: Figure['better']): Figure => ({
    name,
    unit: 'records',
    better,
    value,
  });
  return {
    usage: usages.reduce((worst, usage) => (usage.othersShare > worst.othersShare ? usage : worst)),
    remark: [
      `${gaps.length} faults, pauses of ${gaps.map((gap) => gap.toFixed(0)).join(', ')} ms`,
      ...(resumedEarly === 0
        ? []
        : [`${resumedEarly} times kafkajs had not asked for the new leader after ${FREEZE_MAX_MS / 1000} s`]),
    ].join('; '),
    figures: [
      milliseconds('pause, median', at(0.5)),
      milliseconds('pause, 90 %', at(0.9)),
      milliseconds('pause, worst', at(1)),
      count('acknowledged', acknowledged.size, undefined),
      count('acknowledged and missing', missing, 'lower'),
      count('doubled by retries (the producer is not idempotent)', doubled, undefined),
      count('not acknowledged', failed, 'lower'),
    ],
  };
}

/** The longest time between two acknowledgements of which the later came after `sinceMs`. */
function longestGap(acksMs: readonly number[], sinceMs: number): number {
  let longest = 0;
  for (let i = acksMs.length - 1; i > 0 && acksMs[i]! >= sinceMs; i--) {
    longest = Math.max(longest, acksMs[i]! - acksMs[i - 1]!);
  }
  return longest;
}

/** Numbers of the leader's broker and of the replicas in sync, as the first broker that answers says. */
async function partitionState(context: Context, topic: string): Promise<{ leader: number; inSync: number }> {
  const { endpoints } = context.system;
  for (const endpoint of endpoints) {
    try {
      const connection = await RawConnection.open(endpoint, 500);
      try {
        const { brokers, topics } = await connection.request(metadataApi, METADATA_VERSION, {
          topics: [{ name: topic }],
        });
        const partition = topics[0]?.partitions[0];
        const port = brokers.find(({ nodeId }) => nodeId === partition?.leaderId)?.port;
        const leader = endpoints.findIndex((candidate) => candidate.port === port) + 1;
        if (partition !== undefined && leader > 0) return { leader, inSync: partition.isrNodes.length };
      } finally {
        connection.close();
      }
    } catch {
      // Killed, or not up yet.
    }
  }
  throw new Error('No broker names a leader');
}

async function untilInSync(context: Context, topic: string): Promise<void> {
  const giveUpMs = performance.now() + RECOVERY_TIMEOUT_MS;
  while (performance.now() < giveUpMs) {
    const state = await partitionState(context, topic).catch(() => undefined);
    if (state?.inSync === context.replicationFactor) return;
    await sleep(50);
  }
  throw new Error('The broker did not come back in sync within a minute');
}

/** How often each value is in the partition. */
async function readBack(context: Context, topic: string): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const { leader } = await partitionState(context, topic);
  const connection = await RawConnection.open(context.system.endpoints[leader - 1]!);
  for (let offset = 0; ; ) {
    const { responses } = await connection.request(fetchApi, FETCH_VERSION, {
      maxWaitMs: 100,
      minBytes: 1,
      maxBytes: 1_000_000,
      topics: [{ topic, partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 1_000_000 }] }],
      forgottenTopicsData: [],
    });
    const answer = responses[0]!.partitions[0]!;
    if (answer.errorCode !== 0) throw new Error(`The records cannot be read back: error ${answer.errorCode}`);
    for (const batch of iterateBatches(answer.records ?? new Uint8Array(0))) {
      for (const { value } of readRecords(batch)) {
        const text = Buffer.from(value ?? []).toString();
        counts.set(text, (counts.get(text) ?? 0) + 1);
      }
      offset = batch.lastOffset + 1;
    }
    if (offset >= answer.highWatermark) break;
  }
  connection.close();
  return counts;
}

/** A slow system gets fewer faults: each costs it half a minute. */
const OTHERS_COUNT = 5;

function faultCell(id: string, label: string, faults: Faults): Cell {
  return {
    id: `failover-${id}`,
    label,
    ownCluster: true,
    roundsMax: 1,
    limitSeconds: 480,
    run: (context) => {
      const isOurs = context.system.name === 'Flotilla';
      return runFaults(context, isOurs ? faults : { ...faults, count: Math.min(OTHERS_COUNT, faults.count) });
    },
  };
}

export const failover: Workload = {
  name: 'failover',
  about: `kafkajs, ${RATE} records/s to one partition, whose leader is killed or frozen again and again`,
  everyday: false,
  cells: (scale) => {
    const patient = { requestTimeoutMs: 3000, metadataMaxAgeMs: 60_000 };
    const count = scale === 'short' ? 3 : 30;
    return [
      faultCell('kill', 'leader killed', { signal: 'SIGKILL', count, ...patient }),
      faultCell('pause', 'leader frozen, kafkajs with requestTimeout 3 s', {
        signal: 'SIGSTOP',
        count: scale === 'short' ? 1 : 3,
        ...patient,
      }),
      faultCell('pause-impatient', 'leader frozen, kafkajs with requestTimeout 500 ms and metadataMaxAge 500 ms', {
        signal: 'SIGSTOP',
        count: scale === 'short' ? 2 : 10,
        requestTimeoutMs: 500,
        metadataMaxAgeMs: 500,
      }),
    ];
  },
};
