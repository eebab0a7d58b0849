/**
 * `cluster.sh demo`: kills brokers under a kafkajs producer and shows that what was acknowledged is there afterwards. Exits non-zero if any number is wrong.
 *
 * First the cascade, one broker after the other until none is left, in seven phases; then all at once under load; then each in turn under load.
 */
import { Ledger, type Verdict, violations } from './ledger.ts';
import { CLIENT, type Patience, RecordingProducer, readAll, withAdmin } from './load.ts';
import { ScratchCluster } from './scratch-cluster.ts';
import { progress, type Row, say, table, title } from './screen.ts';

const NODES = 3;
const RECORDS = 50;
const LOAD_BEFORE_MS = 1_500;
const LOAD_AFTER_MS = 1_500;
const ROLLING_PAUSE_MS = 1_000;

const rows: Row[] = [];
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
const clientLine = (patience: Patience) => {
  const { retry, requestTimeout, timeout } = CLIENT[patience];
  return `${patience}: retries ${retry.retries}, ${retry.initialRetryTime}–${retry.maxRetryTime} ms apart, request time-out ${requestTimeout} ms, produce time-out ${timeout} ms`;
};

function row(phase: string, alive: number, facts: Partial<Omit<Row, 'phase' | 'alive'>> = {}): void {
  rows.push({
    phase,
    alive: `${alive}/${NODES}`,
    produced: '',
    acknowledged: '',
    readBack: '',
    extra: '',
    recovery: '',
    problems: [],
    ...facts,
  });
}

function expectCount(what: string, actual: number, expected: number): string[] {
  return actual === expected ? [] : [`${what}: ${actual} instead of ${expected}`];
}

async function createTopic(cluster: ScratchCluster, topic: string): Promise<void> {
  await withAdmin(cluster.brokers, (admin) =>
    admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1, replicationFactor: NODES }] }),
  );
}

/** Sends `RECORDS` records, one after the other; gives how many were acknowledged and the reasons of the others. */
async function produce(
  producer: RecordingProducer,
  phase: string,
): Promise<{ acknowledged: number; refusals: Map<string, number> }> {
  let acknowledged = 0;
  const refusals = new Map<string, number>();
  for (let i = 0; i < RECORDS; i++) {
    const refusal = await producer.send(`${phase}-${i}`);
    if (refusal === undefined) acknowledged += 1;
    else refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1);
    progress(`${i + 1}/${RECORDS} sent, ${acknowledged} acknowledged`);
  }
  return { acknowledged, refusals };
}

async function cascade(cluster: ScratchCluster): Promise<void> {
  const topic = 'cascade';
  const ledger = new Ledger();
  title('Cascade: one broker after the other');
  await createTopic(cluster, topic);
  row('1 all brokers up', 3);
  let producer = new RecordingProducer(cluster.brokers, topic, ledger, 'patient');
  await producer.connect();

  const healthy = await produce(producer, 'healthy');
  say(`2  3 of 3 brokers: ${healthy.acknowledged} of ${RECORDS} acknowledged`);
  row('2 produce', 3, {
    produced: `${RECORDS}`,
    acknowledged: `${healthy.acknowledged}`,
    problems: expectCount('acknowledged', healthy.acknowledged, RECORDS),
  });

  await cluster.command('kill', '1');
  const startedMs = performance.now();
  const degraded = await produce(producer, 'degraded');
  say(
    `3  broker 1 killed, 2 of 3 left: ${degraded.acknowledged} of ${RECORDS} acknowledged in ${seconds(performance.now() - startedMs)}`,
  );
  row('3 kill -9 broker 1, produce', 2, {
    produced: `${RECORDS}`,
    acknowledged: `${degraded.acknowledged}`,
    problems: expectCount('acknowledged', degraded.acknowledged, RECORDS),
  });
  await producer.disconnect();

  // An idempotent kafkajs producer that gave up on a record gives its sequence number to the next one; an application closes it and opens another.
  producer = new RecordingProducer(cluster.brokers, topic, ledger, 'impatient');
  await producer.connect();
  await cluster.command('kill', '2');
  const minority = await produce(producer, 'minority');
  say(`4  broker 2 killed, 1 of 3 left, no quorum: ${minority.acknowledged} of ${RECORDS} acknowledged`);
  for (const [refusal, count] of minority.refusals) say(`     ${count} × ${refusal}`);
  row('4 kill -9 broker 2, produce', 1, {
    produced: `${RECORDS}`,
    acknowledged: `${minority.acknowledged}`,
    problems: expectCount('acknowledged', minority.acknowledged, 0),
  });
  await producer.disconnect();

  await cluster.command('kill', '3');
  say('5  broker 3 killed: outage');
  row('5 kill -9 broker 3: outage', 0);

  const outageEndsMs = performance.now();
  const restarted = cluster.command('start');
  producer = new RecordingProducer(cluster.brokers, topic, ledger, 'patient');
  let recoveredMs = 0;
  const firstAcknowledged = (async () => {
    for (;;) {
      const connected = await producer.connect().then(
        () => true,
        () => false,
      );
      if (connected && (await producer.send('recovered')) === undefined) break;
    }
    recoveredMs = performance.now() - outageEndsMs;
  })();
  await Promise.all([restarted, firstAcknowledged]);
  await producer.disconnect();
  say(`6  restarted: first acknowledged produce after ${seconds(recoveredMs)}, process start included`);
  row('6 restart', 3, { produced: '1', acknowledged: '1', recovery: seconds(recoveredMs) });

  const verdict = ledger.verify(await readAll(cluster.brokers, topic));
  say(`7  ${verdict.readBack} of ${verdict.acknowledged} acknowledged records read back`);
  verdictRow('7 consume', ledger, verdict, '', [
    ...expectCount('acknowledged in phases 2 and 3', healthy.acknowledged + degraded.acknowledged, 2 * RECORDS),
  ]);
}

function verdictRow(phase: string, ledger: Ledger, verdict: Verdict, recovery: string, problems: string[]): void {
  row(phase, NODES, {
    produced: `${ledger.attempted.length}`,
    acknowledged: `${verdict.acknowledged}`,
    readBack: `${verdict.readBack}`,
    extra: `${verdict.unacknowledgedPresent}`,
    recovery,
    problems: [...violations(verdict), ...problems],
  });
}

/** Keeps one producer busy while `faults` runs; gives every gap between two acknowledgements. */
async function underLoad(
  cluster: ScratchCluster,
  topic: string,
  ledger: Ledger,
  faults: () => Promise<void>,
): Promise<{ longestGapMs: number; gapSinceMs: (fromMs: number) => number }> {
  await createTopic(cluster, topic);
  const producer = new RecordingProducer(cluster.brokers, topic, ledger, 'patient');
  await producer.connect();
  const acknowledgedAtMs = [performance.now()];
  let stop = false;
  const load = (async () => {
    for (let i = 0; !stop; i++) {
      const refusal = await producer.send(`${topic}-${i}`);
      if (refusal !== undefined) throw new Error(`A patient producer was refused: ${refusal}`);
      acknowledgedAtMs.push(performance.now());
      if (i % 50 === 0) progress(`${ledger.acknowledged.length} records acknowledged`);
    }
  })();
  const settled = load.then(
    () => undefined,
    (error: unknown) => error,
  );
  await pause(LOAD_BEFORE_MS);
  await Promise.race([faults(), settled.then((error) => Promise.reject(error ?? new Error('The load ended early')))]);
  await pause(LOAD_AFTER_MS);
  stop = true;
  const error = await settled;
  await producer.disconnect();
  if (error !== undefined) throw error;
  let longestGapMs = 0;
  acknowledgedAtMs.forEach((atMs, i) => {
    if (i > 0) longestGapMs = Math.max(longestGapMs, atMs - acknowledgedAtMs[i - 1]!);
  });
  return {
    longestGapMs,
    gapSinceMs: (fromMs) => (acknowledgedAtMs.find((atMs) => atMs > fromMs) ?? Number.POSITIVE_INFINITY) - fromMs,
  };
}

async function simultaneous(cluster: ScratchCluster): Promise<void> {
  title('Simultaneous: all brokers at once, under load');
  const ledger = new Ledger();
  let restartedAtMs = 0;
  const { gapSinceMs } = await underLoad(cluster, 'simultaneous', ledger, async () => {
    await Promise.all([1, 2, 3].map((broker) => cluster.command('kill', String(broker))));
    say(`all three killed after ${ledger.acknowledged.length} acknowledged records`);
    restartedAtMs = performance.now();
    await cluster.command('start');
  });
  const verdict = ledger.verify(await readAll(cluster.brokers, 'simultaneous'));
  const recovery = seconds(gapSinceMs(restartedAtMs));
  say(
    `first acknowledgement ${recovery} after the restart began; ${verdict.readBack} of ${verdict.acknowledged} read back`,
  );
  verdictRow('kill -9 all at once', ledger, verdict, recovery, []);
}

async function rolling(cluster: ScratchCluster): Promise<void> {
  title('Rolling: each broker killed and brought back in turn, under load');
  const ledger = new Ledger();
  const { longestGapMs } = await underLoad(cluster, 'rolling', ledger, async () => {
    for (let broker = 1; broker <= NODES; broker++) {
      const before = ledger.acknowledged.length;
      await cluster.command('kill', String(broker));
      await pause(ROLLING_PAUSE_MS);
      await cluster.command('restart', String(broker));
      say(`broker ${broker} killed and back; ${ledger.acknowledged.length - before} records acknowledged meanwhile`);
      await pause(ROLLING_PAUSE_MS);
    }
  });
  const verdict = ledger.verify(await readAll(cluster.brokers, 'rolling'));
  say(
    `longest pause of the producer ${seconds(longestGapMs)}; ${verdict.readBack} of ${verdict.acknowledged} read back`,
  );
  verdictRow('kill -9 each in turn', ledger, verdict, `${seconds(longestGapMs)} pause`, []);
}

const startedMs = performance.now();
title('Flotilla demo: kill -9 anything, everything acknowledged comes back');
const cluster = await ScratchCluster.create(NODES);
let failed = false;
try {
  const upMs = performance.now();
  await cluster.command('start', '--nodes', String(NODES));
  say(`1  3 of 3 brokers up in ${seconds(performance.now() - upMs)}: ${cluster.brokers.join(',')}`);
  say(`producer: kafkajs, idempotent, acks=all, one request in flight`);
  say(`  ${clientLine('patient')}`);
  say(`  ${clientLine('impatient')} (phase 4 only)`);
  await cascade(cluster);
  await simultaneous(cluster);
  await rolling(cluster);
} catch (error) {
  failed = true;
  say(`The demo could not go on: ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await cluster.destroy();
}
table(rows);
failed ||= rows.some(({ problems }) => problems.length > 0);
say(
  `\n  ${failed ? 'FAILED' : 'Every acknowledged record came back, once and in order'}, in ${seconds(performance.now() - startedMs)}`,
);
process.exitCode = failed ? 1 : 0;
