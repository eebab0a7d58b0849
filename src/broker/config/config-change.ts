/** Validation of configs that clients set: on CreateTopics, AlterConfigs and IncrementalAlterConfigs. Pure; errors are sentences for people. */
import { BROKER_PROPERTIES, type BrokerPropertyName } from './broker-properties.ts';
import { closestName } from './closest-name.ts';
import { CONFIG_TYPE, type ConfigDefinition } from './config-definition.ts';
import { RefusedConfigError } from './refused-config-error.ts';
import { DYNAMIC_BROKER_PROPERTIES, TOPIC_CONFIGS } from './topic-config.ts';

export interface ConfigOperation {
  readonly name: string;
  readonly operation: 'set' | 'delete' | 'append' | 'subtract';
  readonly value: string | null;
}

/** `configs`: what is set after the change. `refused`: nothing changes; answer INVALID_CONFIG with the message. */
export type ConfigChangeOutcome =
  | { readonly kind: 'configs'; readonly configs: ReadonlyMap<string, string> }
  | { readonly kind: 'refused'; readonly message: string };

/** Applies operations to the configs set on a topic (`current` is empty for a new one). All or nothing. */
export function changeTopicConfigs(
  current: ReadonlyMap<string, string>,
  operations: readonly ConfigOperation[],
): ConfigChangeOutcome {
  return change(current, operations, topicDefinition);
}

/** Applies operations to the cluster's dynamic broker configs; those of one broker can not be changed at run time. */
export function changeBrokerConfigs(
  current: ReadonlyMap<string, string>,
  operations: readonly ConfigOperation[],
): ConfigChangeOutcome {
  return change(current, operations, brokerDefinition);
}

function change(
  current: ReadonlyMap<string, string>,
  operations: readonly ConfigOperation[],
  definitionOf: (name: string) => ConfigDefinition<unknown>,
): ConfigChangeOutcome {
  const configs = new Map(current);
  const seen = new Set<string>();
  for (const { name, operation, value } of operations) {
    try {
      if (seen.has(name)) throw new RefusedConfigError(`Config ${name} is changed twice`);
      seen.add(name);
      const definition = definitionOf(name);
      if (operation === 'delete') {
        configs.delete(name);
        continue;
      }
      if (value === null) throw new RefusedConfigError(`Config ${name} has no value`);
      const next = operation === 'set' ? value : edited(name, definition, configs.get(name), operation, value);
      try {
        definition.parse(next);
      } catch (error) {
        if (!(error instanceof RefusedConfigError)) throw error;
        throw new RefusedConfigError(
          `Invalid value ${next} for configuration ${name}: ${error.message}. Allowed: ${definition.allowed}`,
        );
      }
      configs.set(name, next);
    } catch (error) {
      if (!(error instanceof RefusedConfigError)) throw error;
      return { kind: 'refused', message: error.message };
    }
  }
  return { kind: 'configs', configs };
}

/** Append to or subtract from a list. */
function edited(
  name: string,
  definition: ConfigDefinition<unknown>,
  current: string | undefined,
  operation: 'append' | 'subtract',
  value: string,
): string {
  if (definition.type !== CONFIG_TYPE.list)
    throw new RefusedConfigError(`Config ${name} is not a list, so it can only be set or deleted`);
  const items = (text: string): string[] =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  const before = items(current ?? definition.defaultText ?? '');
  const change = items(value);
  const after =
    operation === 'append' ? [...new Set([...before, ...change])] : before.filter((item) => !change.includes(item));
  return after.join(',');
}

function topicDefinition(name: string): ConfigDefinition<unknown> {
  if (Object.hasOwn(TOPIC_CONFIGS, name)) return TOPIC_CONFIGS[name as keyof typeof TOPIC_CONFIGS];
  throw unknownConfig('topic', name, Object.keys(TOPIC_CONFIGS));
}

function brokerDefinition(name: string): ConfigDefinition<unknown> {
  if (DYNAMIC_BROKER_PROPERTIES.has(name as BrokerPropertyName)) return BROKER_PROPERTIES[name as BrokerPropertyName];
  if (Object.hasOwn(BROKER_PROPERTIES, name)) {
    throw new RefusedConfigError(
      `Property ${name} can not be changed at run time, only in the properties file of each broker`,
    );
  }
  throw unknownConfig('broker', name, DYNAMIC_BROKER_PROPERTIES);
}

function unknownConfig(kind: string, name: string, known: Iterable<string>): RefusedConfigError {
  const closest = closestName(name, known);
  const hint = closest === undefined ? '' : `; the closest known one is ${closest}`;
  return new RefusedConfigError(`Unknown ${kind} config name, or one that this broker does not serve: ${name}${hint}`);
}
