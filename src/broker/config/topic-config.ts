/**
 * The configs of a topic: which exist, what they allow, and what holds for a topic given its own configs, the cluster's dynamic broker configs and the broker's properties.
 *
 * Nothing pretends: a config is in this table if it has an effect, or if it describes what the broker always does (then it has one allowed value, or any value asks for less than what is done
 * anyway). Everything else is refused with INVALID_CONFIG, also what Kafka knows.
 */
import type { BrokerConfig } from './broker-config.ts';
import { BROKER_PROPERTIES, type BrokerPropertyName, compaction, recompression } from './broker-properties.ts';
import { boolean, CONFIG_TYPE, type ConfigDefinition, int, long, oneOf } from './config-definition.ts';
import { RefusedConfigError } from './refused-config-error.ts';
import type { TopicSettings } from './topic-settings.ts';

/** Codes of DescribeConfigs: where a value comes from. */
export const CONFIG_SOURCE = {
  topic: 1,
  dynamicBroker: 2,
  dynamicClusterDefault: 3,
  brokerFile: 4,
  default: 5,
} as const;
export type ConfigSource = (typeof CONFIG_SOURCE)[keyof typeof CONFIG_SOURCE];

/** A broker property that stands in for a topic config that is not set; `factor` converts its unit. */
interface Synonym {
  readonly property: BrokerPropertyName;
  readonly factor?: number;
}

interface TopicConfigDefinition<Value> extends ConfigDefinition<Value> {
  readonly synonyms: readonly Synonym[];
}

export const TOPIC_CONFIGS = {
  'cleanup.policy': topic(
    oneOf({
      words: ['delete'],
      default: 'delete',
      type: CONFIG_TYPE.list,
      documentation: 'What happens to old records.',
      unserved: compaction(),
    }),
    'log.cleanup.policy',
  ),
  'compression.type': topic(
    oneOf({
      words: ['producer'],
      default: 'producer',
      documentation: 'Batches stay as the producer compressed them.',
      unserved: recompression(),
    }),
    'compression.type',
  ),
  'flush.messages': topic(
    long({
      default: 1,
      min: 1,
      documentation:
        'Every record is flushed on a quorum before it is acknowledged; a larger number asks for less and changes nothing.',
    }),
  ),
  'flush.ms': topic(
    long({
      default: 0,
      min: 0,
      documentation:
        'Every record is flushed on a quorum before it is acknowledged; a larger number asks for less and changes nothing.',
    }),
  ),
  'index.interval.bytes': topic(
    int({ default: 4096, min: 0, documentation: 'Bytes between two entries of the offset and time indexes.' }),
    'log.index.interval.bytes',
  ),
  'max.message.bytes': topic(
    int({ default: 1_048_588, min: 0, documentation: 'Largest record batch.' }),
    'message.max.bytes',
  ),
  'message.timestamp.after.max.ms': topic(
    long({
      default: 2n ** 63n - 1n,
      min: 0,
      documentation: "How far a record's timestamp may lie after the leader's time.",
    }),
    'log.message.timestamp.after.max.ms',
  ),
  'message.timestamp.before.max.ms': topic(
    long({
      default: 2n ** 63n - 1n,
      min: 0,
      documentation: "How far a record's timestamp may lie before the leader's time.",
    }),
    'log.message.timestamp.before.max.ms',
  ),
  'message.timestamp.type': topic(
    oneOf({
      words: ['CreateTime', 'LogAppendTime'],
      default: 'CreateTime',
      documentation: "Whose time a record carries: its producer's or the leader's.",
    }),
    'log.message.timestamp.type',
  ),
  'min.insync.replicas': topic(
    int({
      default: 1,
      min: 1,
      documentation: 'Flushed replicas that a produce waits for, if above the majority, which is always waited for.',
    }),
    'min.insync.replicas',
  ),
  preallocate: topic(fixed(false, 'Segment files of partitions are written in large pieces and never preallocated.')),
  'retention.bytes': topic(
    long({
      default: -1,
      min: -1,
      documentation: 'Size of a partition above which its oldest segments are deleted; -1: none.',
    }),
    'log.retention.bytes',
  ),
  'retention.ms': topic(
    long({ default: 604_800_000, min: -1, documentation: 'Age at which records are deleted; -1: never.' }),
    'log.retention.ms',
    { property: 'log.retention.minutes', factor: 60_000 },
    { property: 'log.retention.hours', factor: 3_600_000 },
  ),
  'segment.bytes': topic(
    int({ default: 2 ** 30, min: 14, documentation: 'Size at which a partition begins a new segment file.' }),
    'log.segment.bytes',
  ),
  'segment.ms': topic(
    long({ default: 604_800_000, min: 1, documentation: 'Age at which a partition begins a new segment file.' }),
    'log.roll.ms',
    { property: 'log.roll.hours', factor: 3_600_000 },
  ),
  'unclean.leader.election.enable': topic(
    fixed(false, 'A leader always has every acknowledged record; there is no way around that.'),
  ),
};

export type TopicConfigName = keyof typeof TOPIC_CONFIGS;

/** Broker properties that can be changed at run time, for the whole cluster: those that topics fall back to. */
export const DYNAMIC_BROKER_PROPERTIES: ReadonlySet<BrokerPropertyName> = new Set(
  Object.values(TOPIC_CONFIGS)
    .flatMap((definition) => definition.synonyms)
    .filter((synonym) => synonym.factor === undefined)
    .map((synonym) => synonym.property),
);

/** Where a value could come from, the one that holds first. */
export interface ConfigCandidate {
  readonly name: string;
  readonly value: string;
  readonly source: ConfigSource;
}

/** The layers above Kafka's defaults that a topic's configs are looked up in. */
export interface ConfigLayers {
  /** What was set on the topic; empty for a topic that does not exist yet. */
  readonly topicConfigs: ReadonlyMap<string, string>;
  /** MetadataImage.brokerConfigs. */
  readonly dynamicBrokerConfigs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly brokerConfig: BrokerConfig;
}

/** All candidates for one topic config, the effective one first; never empty. */
export function topicConfigCandidates(name: TopicConfigName, layers: ConfigLayers): readonly ConfigCandidate[] {
  const definition: TopicConfigDefinition<unknown> = TOPIC_CONFIGS[name];
  const candidates: ConfigCandidate[] = [];
  const own = layers.topicConfigs.get(name);
  if (own !== undefined) candidates.push({ name, value: own, source: CONFIG_SOURCE.topic });
  const clusterDefault = layers.dynamicBrokerConfigs.get('');
  for (const [configs, source] of [
    [clusterDefault, CONFIG_SOURCE.dynamicClusterDefault],
    [layers.brokerConfig.fileValues, CONFIG_SOURCE.brokerFile],
  ] as const) {
    for (const { property, factor } of definition.synonyms) {
      const value = configs?.get(property);
      if (value !== undefined) candidates.push({ name: property, value: converted(value, factor), source });
    }
  }
  const { property, factor } = definition.synonyms.findLast((synonym) => defaultOf(synonym) !== null) ?? {};
  const inherited = property === undefined ? null : BROKER_PROPERTIES[property].defaultText;
  candidates.push(
    property === undefined || inherited === null
      ? { name, value: definition.defaultText ?? '', source: CONFIG_SOURCE.default }
      : { name: property, value: converted(inherited, factor), source: CONFIG_SOURCE.default },
  );
  return candidates;
}

/** What holds for a topic, parsed. */
export function resolveTopicSettings(
  topicConfigs: ReadonlyMap<string, string>,
  dynamicBrokerConfigs: ReadonlyMap<string, ReadonlyMap<string, string>>,
  brokerConfig: BrokerConfig,
): TopicSettings {
  const layers = { topicConfigs, dynamicBrokerConfigs, brokerConfig };
  const value = <Name extends TopicConfigName>(name: Name): ReturnType<(typeof TOPIC_CONFIGS)[Name]['parse']> =>
    TOPIC_CONFIGS[name].parse(topicConfigCandidates(name, layers)[0]!.value) as ReturnType<
      (typeof TOPIC_CONFIGS)[Name]['parse']
    >;
  return Object.freeze({
    cleanupPolicy: value('cleanup.policy'),
    retentionMs: value('retention.ms'),
    retentionBytes: value('retention.bytes'),
    segmentBytes: value('segment.bytes'),
    segmentMs: value('segment.ms'),
    indexIntervalBytes: value('index.interval.bytes'),
    maxMessageBytes: value('max.message.bytes'),
    timestampType: value('message.timestamp.type'),
    timestampBeforeMaxMs: value('message.timestamp.before.max.ms'),
    timestampAfterMaxMs: value('message.timestamp.after.max.ms'),
    minInsyncReplicas: value('min.insync.replicas'),
  });
}

function topic<Value>(
  definition: ConfigDefinition<Value>,
  ...synonyms: (BrokerPropertyName | Synonym)[]
): TopicConfigDefinition<Value> {
  return {
    ...definition,
    synonyms: synonyms.map((synonym) => (typeof synonym === 'string' ? { property: synonym } : synonym)),
  };
}

function fixed(value: boolean, documentation: string): ConfigDefinition<boolean> {
  const definition = boolean({ default: value, documentation });
  return {
    ...definition,
    allowed: String(value),
    parse(text) {
      if (definition.parse(text) !== value) throw new RefusedConfigError(`"${text}" is not ${value}. ${documentation}`);
      return value;
    },
  };
}

function defaultOf(synonym: Synonym): string | null {
  return BROKER_PROPERTIES[synonym.property].defaultText;
}

/** -1 ("never") has no unit. */
function converted(value: string, factor: number | undefined): string {
  return factor === undefined || Number(value) < 0 ? value : String(Number(value) * factor);
}
