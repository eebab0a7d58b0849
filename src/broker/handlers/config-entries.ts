/** Configs as DescribeConfigs and CreateTopics show them: every one, with its effective value, where that comes from, and what it would fall back to. */
import type { DescribeConfigsResponse } from '../../kafka-protocol/messages/describe-configs.ts';
import { BROKER_PROPERTIES, type BrokerPropertyName } from '../config/broker-properties.ts';
import type { ConfigDefinition } from '../config/config-definition.ts';
import {
  CONFIG_SOURCE,
  type ConfigCandidate,
  DYNAMIC_BROKER_PROPERTIES,
  TOPIC_CONFIGS,
  type TopicConfigName,
  topicConfigCandidates,
} from '../config/topic-config.ts';
import type { HandlerServices } from './handler-services.ts';

export type ConfigEntry = DescribeConfigsResponse['results'][number]['configs'][number];

/** `topicConfigs`: what is set on the topic itself. */
export function describeTopicConfigs(
  { cluster, config }: Pick<HandlerServices, 'cluster' | 'config'>,
  topicConfigs: ReadonlyMap<string, string>,
): ConfigEntry[] {
  const layers = { topicConfigs, dynamicBrokerConfigs: cluster.image.brokerConfigs, brokerConfig: config };
  return (Object.keys(TOPIC_CONFIGS) as TopicConfigName[]).map((name) =>
    toEntry(name, TOPIC_CONFIGS[name], topicConfigCandidates(name, layers), {
      readOnly: false,
      ownSource: CONFIG_SOURCE.topic,
    }),
  );
}

/** Properties of this broker. */
export function describeBrokerConfigs({ cluster, config }: Pick<HandlerServices, 'cluster' | 'config'>): ConfigEntry[] {
  const dynamic = cluster.image.brokerConfigs.get('');
  return (Object.keys(BROKER_PROPERTIES) as BrokerPropertyName[]).map((name) => {
    const candidates: ConfigCandidate[] = [];
    const changed = dynamic?.get(name);
    if (changed !== undefined) candidates.push({ name, value: changed, source: CONFIG_SOURCE.dynamicClusterDefault });
    const set = config.fileValues.get(name);
    if (set !== undefined) candidates.push({ name, value: set, source: CONFIG_SOURCE.brokerFile });
    const { defaultText } = BROKER_PROPERTIES[name];
    if (defaultText !== null) candidates.push({ name, value: defaultText, source: CONFIG_SOURCE.default });
    return toEntry(name, BROKER_PROPERTIES[name], candidates, {
      readOnly: !DYNAMIC_BROKER_PROPERTIES.has(name),
      ownSource: CONFIG_SOURCE.dynamicBroker,
    });
  });
}

/** What was changed at run time for all brokers. */
export function describeClusterDefaults({ cluster }: Pick<HandlerServices, 'cluster'>): ConfigEntry[] {
  const dynamic = cluster.image.brokerConfigs.get('') ?? new Map<string, string>();
  return [...dynamic].map(([name, value]) =>
    toEntry(
      name,
      BROKER_PROPERTIES[name as BrokerPropertyName],
      [{ name, value, source: CONFIG_SOURCE.dynamicClusterDefault }],
      { readOnly: false, ownSource: CONFIG_SOURCE.dynamicClusterDefault },
    ),
  );
}

function toEntry(
  name: string,
  definition: ConfigDefinition<unknown>,
  candidates: readonly ConfigCandidate[],
  options: { readOnly: boolean; ownSource: number },
): ConfigEntry {
  const effective = candidates[0];
  return {
    name,
    value: effective?.value ?? null,
    readOnly: options.readOnly,
    isDefault: effective === undefined || effective.source !== options.ownSource,
    configSource: effective?.source ?? CONFIG_SOURCE.default,
    isSensitive: false,
    synonyms: candidates.map(({ name, value, source }) => ({ name, value, source })),
    configType: definition.type,
    documentation: definition.documentation,
  };
}
