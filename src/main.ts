/**
 * The broker's process, which the command `flotilla-broker FILE.properties` (flotilla-broker.ts) starts. Reads the properties, locks the data directory, runs one broker, and decides how the process ends.
 *
 * Exit codes: 0 after a graceful stop (SIGTERM, SIGINT), 1 if something broke while running, 2 if the broker must not start as it is configured. The last line says why.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pino } from 'pino';
import type { BrokerConfig } from './broker/config/broker-config.ts';
import { BrokerConfigError, parseBrokerConfig } from './broker/config/broker-config.ts';
import { BrokerInstance, StoreError } from './broker-instance.ts';
import { DirectoryLock, DirectoryLockedError } from './node/directory-lock.ts';
import { openNodeEnvironment } from './node/node-environment.ts';
import { NodeHttpServer } from './node/node-http.ts';
import { NodeNetwork } from './node/node-network.ts';
import { nodeProcessFacts } from './node/node-process.ts';
import { threadPoolSize } from './node/thread-pool-gate.ts';
import { GrpcPeerNetwork } from './raft/grpc/grpc-peer-network.ts';
import { IdentityError } from './raft/identity/identity-error.ts';

const EXIT = { stopped: 0, failed: 1, refused: 2 } as const;
/** Two for the WAL, the rest for everything else (DECISIONS W9). */
const THREADS_MIN = 4;
const STOP_TIMEOUT_MS = 30_000;

class RefusedStartError extends Error {
  override name = 'RefusedStartError';
}

async function run(): Promise<void> {
  const { config, warnings } = readConfig();
  const log = pino({
    level: config['log.level'],
    base: { node: config['node.id'] },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
  for (const warning of warnings) log.warn(warning);
  if (threadPoolSize() < THREADS_MIN) {
    throw new RefusedStartError(
      `UV_THREADPOOL_SIZE=${threadPoolSize()} is too small: flushes of the WAL would wait behind other disk operations. Allowed: at least ${THREADS_MIN}`,
    );
  }
  const dataDirectory = resolve(config['log.dirs']);
  const lock = await DirectoryLock.acquire(dataDirectory);
  let isEnding = false;
  const end = (code: number, fields: object, message: string): void => {
    if (isEnding) return;
    isEnding = true;
    if (code === EXIT.stopped) log.info(fields, message);
    else log.error(fields, message);
    log.flush();
    process.exit(code);
  };
  const fail = (error: unknown): void =>
    end(exitCodeOf(error), factsOf(error), `The broker stops: ${messageOf(error)}`);
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);

  const environment = await openNodeEnvironment(dataDirectory);
  const broker = new BrokerInstance(
    config,
    {
      ...environment,
      network: new NodeNetwork(),
      peers: new GrpcPeerNetwork({ allowInsecurePeers: config['raft.network.trusted'] }, environment.timers),
      http: new NodeHttpServer(),
      log,
      processFacts: nodeProcessFacts,
    },
    fail,
  );
  let isStopping = false;
  const stop = (signal: string): void => {
    if (isStopping) return;
    isStopping = true;
    log.info({ signal }, 'Stopping: leaderships move away first');
    setTimeout(() => fail(new Error(`It did not stop within ${STOP_TIMEOUT_MS} ms`)), STOP_TIMEOUT_MS).unref();
    broker
      .stop()
      .then(() => lock.release())
      .then(() => end(EXIT.stopped, {}, 'Stopped'), fail);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  await broker.start();
  const { advertised } = config;
  log.info(
    { listener: `${advertised.host}:${broker.kafkaPort}`, tookMs: Math.round(performance.now()) },
    'Serving clients',
  );
}

function readConfig(): { config: BrokerConfig; warnings: string[] } {
  const [path, ...rest] = process.argv.slice(2);
  if (path === undefined || rest.length > 0) throw new RefusedStartError('Usage: flotilla-broker FILE.properties');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new RefusedStartError(`The properties file can not be read: ${messageOf(error)}`);
  }
  return parseBrokerConfig(text);
}

function exitCodeOf(error: unknown): number {
  const isRefusal =
    error instanceof BrokerConfigError ||
    error instanceof RefusedStartError ||
    error instanceof DirectoryLockedError ||
    error instanceof IdentityError ||
    error instanceof StoreError;
  return isRefusal ? EXIT.refused : EXIT.failed;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A stack is for what nobody expected. */
function factsOf(error: unknown): object {
  return exitCodeOf(error) === EXIT.refused || !(error instanceof Error)
    ? {}
    : { error: error.name, stack: error.stack };
}

run().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(exitCodeOf(error));
});
