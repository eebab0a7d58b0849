/**
 * A broker's configuration: a properties file → one frozen object of parsed values. The first bad property stops the broker with its name, its value and what is allowed; an unknown one is
 * reported with the name it was probably meant to be.
 */
import { parse as parseProperties } from 'dot-properties';
import { BROKER_PROPERTIES, type BrokerProperties, type BrokerPropertyName } from './broker-properties.ts';
import { closestName } from './closest-name.ts';
import type { ConfigDefinition } from './config-definition.ts';
import { type Endpoint, isLoopback } from './endpoint.ts';
import { RefusedConfigError } from './refused-config-error.ts';

export interface BrokerConfig extends BrokerProperties {
  /** What the file sets, as text; for DescribeConfigs. */
  readonly fileValues: ReadonlyMap<string, string>;
  /** Address given to clients. */
  readonly advertised: Endpoint;
  /** Address given to other brokers. */
  readonly raftAdvertised: Endpoint;
}

/** A property that the broker can not start with. The message is the line to print. */
export class BrokerConfigError extends Error {
  override name = 'BrokerConfigError';
}

/** Parses the text of a properties file. Throws {@link BrokerConfigError}; warnings are whole sentences. */
export function parseBrokerConfig(fileText: string): { config: BrokerConfig; warnings: string[] } {
  const fileValues = new Map<string, string>();
  const warnings: string[] = [];
  for (const [name, value] of readLines(fileText)) {
    if (Object.hasOwn(BROKER_PROPERTIES, name)) {
      fileValues.set(name, value);
      continue;
    }
    const closest = closestName(name, Object.keys(BROKER_PROPERTIES));
    warnings.push(
      `Unknown property ${name} does nothing${closest === undefined ? '' : `; the closest known one is ${closest}`}`,
    );
  }

  const parsed: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries<ConfigDefinition<unknown>>(BROKER_PROPERTIES)) {
    const text = fileValues.get(name) ?? definition.defaultText;
    if (text === null) {
      if (definition.required)
        throw new BrokerConfigError(`Property ${name} is not set. Allowed: ${definition.allowed}`);
      continue;
    }
    try {
      parsed[name] = definition.parse(text);
    } catch (error) {
      if (!(error instanceof RefusedConfigError)) throw error;
      throw refusal(name, text, error.message, definition.allowed);
    }
  }
  const properties = parsed as BrokerProperties;
  const listener = properties.listeners;
  const config: BrokerConfig = Object.freeze({
    ...properties,
    fileValues,
    advertised: properties['advertised.listeners'] ?? listener,
    raftAdvertised: properties['raft.advertised.listener'] ?? properties['raft.listener'],
  });
  checkTogether(config);
  warnings.push(...replicasThatMayBeMissing(config));
  return { config, warnings };
}

function readLines(fileText: string): [string, string][] {
  const tree = parseProperties(fileText.replace(/^\uFEFF/, ''));
  return Object.entries(tree).map(([name, value]) => [name, typeof value === 'string' ? value : '']);
}

/** A topic is never created with fewer replicas than asked for (DECISIONS L7), so too high a number shows as topics or groups that never come to be. */
function replicasThatMayBeMissing(config: BrokerConfig): string[] {
  const voters = config['controller.quorum.voters'].length;
  return (['default.replication.factor', 'offsets.topic.replication.factor'] as const)
    .filter((name) => config[name] > voters)
    .map((name) => {
      const what = name === 'default.replication.factor' ? 'Topics without a replication factor' : 'Consumer groups';
      return `${what} need ${name}=${config[name]} brokers, but only ${voters} are listed in controller.quorum.voters; they wait until more have joined`;
    });
}

/** What must hold between properties. */
function checkTogether(config: BrokerConfig): void {
  const taken = new Map<string, string>();
  for (const name of ['listeners', 'raft.listener', 'http.listener'] as const) {
    const { host, port } = config[name];
    if (port === 0) continue;
    const address = `${host}:${port}`;
    const other = taken.get(address);
    if (other !== undefined) {
      throw refusal(name, textOf(config, name), `${other} has the same address`, 'an address of its own');
    }
    taken.set(address, name);
  }
  if (config['advertised.listeners'] === undefined && ['', '0.0.0.0', '::'].includes(config.listeners.host)) {
    throw refusal(
      'listeners',
      textOf(config, 'listeners'),
      'It listens on all interfaces, so advertised.listeners must say which address clients shall use',
      'a host that clients can connect to, or advertised.listeners set',
    );
  }
  const raft = config['raft.listener'];
  if (!isLoopback(raft.host) && !config['raft.network.trusted']) {
    throw refusal(
      'raft.listener',
      textOf(config, 'raft.listener'),
      'Brokers do not authenticate each other, so other machines could change the data',
      'a loopback address, or raft.network.trusted=true',
    );
  }
  const own = config['controller.quorum.voters'].find((voter) => voter.brokerId === config['node.id']);
  if (own !== undefined && own.port !== config.raftAdvertised.port) {
    throw refusal(
      'controller.quorum.voters',
      textOf(config, 'controller.quorum.voters'),
      `It has port ${own.port} for this broker, but its raft listener has ${config.raftAdvertised.port}`,
      'the raft address of each voter',
    );
  }
  atMost(config, 'group.min.session.timeout.ms', 'group.max.session.timeout.ms');
  atMost(config, 'message.max.bytes', 'socket.request.max.bytes');
  atMost(config, 'socket.request.max.bytes', 'queued.max.request.bytes');
  if (config['raft.liveness.timeout.ms'] < 3 * config['raft.heartbeat.interval.ms']) {
    throw refusal(
      'raft.liveness.timeout.ms',
      textOf(config, 'raft.liveness.timeout.ms'),
      'One lost heartbeat would end a leadership',
      'at least three times raft.heartbeat.interval.ms',
    );
  }
  if (config['wal.max.bytes'] < 4 * config['wal.segment.bytes']) {
    throw refusal(
      'wal.max.bytes',
      textOf(config, 'wal.max.bytes'),
      'The WAL needs room to reuse segments',
      'at least four times wal.segment.bytes',
    );
  }
}

function atMost(config: BrokerConfig, lower: BrokerPropertyName, upper: BrokerPropertyName): void {
  if ((config[lower] as number) <= (config[upper] as number)) return;
  throw refusal(lower, textOf(config, lower), `It is above ${upper}`, `at most ${upper}=${textOf(config, upper)}`);
}

/** The text of a property as set or by default; empty if it has neither. */
function textOf(config: Pick<BrokerConfig, 'fileValues'>, name: BrokerPropertyName): string {
  return config.fileValues.get(name) ?? BROKER_PROPERTIES[name].defaultText ?? '';
}

function refusal(name: string, value: string, why: string, allowed: string): BrokerConfigError {
  return new BrokerConfigError(`Property ${name}=${value} is not allowed: ${why}. Allowed: ${allowed}`);
}
