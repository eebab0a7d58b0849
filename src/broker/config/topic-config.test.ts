import { describe, expect, test } from 'vitest';
import { parseBrokerConfig } from './broker-config.ts';
import { changeBrokerConfigs, changeTopicConfigs } from './config-change.ts';
import { CONFIG_SOURCE, resolveTopicSettings, TOPIC_CONFIGS, topicConfigCandidates } from './topic-config.ts';

const brokerConfig = (lines = '') =>
  parseBrokerConfig(`node.id=1\ncontroller.quorum.voters=1@127.0.0.1:9192\nlog.dirs=/d\n${lines}`).config;
const NONE = new Map<string, never>();
const map = (entries: Record<string, string>) => new Map(Object.entries(entries));

describe('resolveTopicSettings()', () => {
  test("has Kafka's defaults", () => {
    expect(resolveTopicSettings(NONE, NONE, brokerConfig())).toEqual({
      cleanupPolicy: 'delete',
      retentionMs: 604_800_000,
      retentionBytes: -1,
      segmentBytes: 1_073_741_824,
      segmentMs: 604_800_000,
      indexIntervalBytes: 4096,
      maxMessageBytes: 1_048_588,
      timestampType: 'CreateTime',
      timestampBeforeMaxMs: Number.MAX_SAFE_INTEGER,
      timestampAfterMaxMs: Number.MAX_SAFE_INTEGER,
      minInsyncReplicas: 1,
    });
  });

  test('puts the topic before the cluster default, that before the file, that before the default', () => {
    const file = brokerConfig('min.insync.replicas=2\nmessage.max.bytes=2000\nlog.segment.bytes=3000\n');
    const dynamic = new Map([['', map({ 'message.max.bytes': '2001', 'log.segment.bytes': '3001' })]]);
    const settings = resolveTopicSettings(map({ 'segment.bytes': '3002' }), dynamic, file);
    expect(settings.minInsyncReplicas).toBe(2);
    expect(settings.maxMessageBytes).toBe(2001);
    expect(settings.segmentBytes).toBe(3002);
  });

  test('takes the finest unit of retention that is set, and keeps "never"', () => {
    const retention = (lines: string) => resolveTopicSettings(NONE, NONE, brokerConfig(lines)).retentionMs;
    expect(retention('log.retention.hours=2\n')).toBe(7_200_000);
    expect(retention('log.retention.hours=2\nlog.retention.minutes=3\n')).toBe(180_000);
    expect(retention('log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=4\n')).toBe(4);
    expect(retention('log.retention.hours=-1\n')).toBe(-1);
  });
});

describe('topicConfigCandidates()', () => {
  test('lists every synonym with its source, the effective one first', () => {
    const layers = {
      topicConfigs: map({ 'retention.ms': '1' }),
      dynamicBrokerConfigs: new Map([['', map({ 'log.retention.ms': '2' })]]),
      brokerConfig: brokerConfig('log.retention.minutes=3\n'),
    };
    expect(topicConfigCandidates('retention.ms', layers)).toEqual([
      { name: 'retention.ms', value: '1', source: CONFIG_SOURCE.topic },
      { name: 'log.retention.ms', value: '2', source: CONFIG_SOURCE.dynamicClusterDefault },
      { name: 'log.retention.minutes', value: '180000', source: CONFIG_SOURCE.brokerFile },
      { name: 'log.retention.hours', value: '604800000', source: CONFIG_SOURCE.default },
    ]);
  });

  test('has a value that its own definition accepts for every config', () => {
    const layers = { topicConfigs: NONE, dynamicBrokerConfigs: NONE, brokerConfig: brokerConfig() };
    for (const name of Object.keys(TOPIC_CONFIGS) as (keyof typeof TOPIC_CONFIGS)[]) {
      const [effective] = topicConfigCandidates(name, layers);
      expect(() => TOPIC_CONFIGS[name].parse(effective!.value), name).not.toThrow();
    }
  });
});

describe('changeTopicConfigs()', () => {
  const set = (name: string, value: string | null) => [{ name, operation: 'set' as const, value }];

  test('sets, deletes, and leaves the rest', () => {
    const outcome = changeTopicConfigs(map({ 'retention.ms': '1', 'segment.bytes': '100' }), [
      { name: 'retention.ms', operation: 'delete', value: null },
      { name: 'max.message.bytes', operation: 'set', value: '5' },
    ]);
    expect(outcome).toEqual({ kind: 'configs', configs: map({ 'segment.bytes': '100', 'max.message.bytes': '5' }) });
  });

  test('appends to and subtracts from lists only', () => {
    expect(changeTopicConfigs(NONE, [{ name: 'cleanup.policy', operation: 'append', value: 'delete' }])).toEqual({
      kind: 'configs',
      configs: map({ 'cleanup.policy': 'delete' }),
    });
    expect(changeTopicConfigs(NONE, [{ name: 'cleanup.policy', operation: 'append', value: 'compact' }])).toEqual({
      kind: 'refused',
      message: expect.stringContaining('Log compaction is not served'),
    });
    expect(changeTopicConfigs(NONE, [{ name: 'retention.ms', operation: 'append', value: '1' }])).toEqual({
      kind: 'refused',
      message: 'Config retention.ms is not a list, so it can only be set or deleted',
    });
  });

  test.each([
    [set('cleanup.policy', 'compact'), /Log compaction is not served/],
    [set('compression.type', 'zstd'), /Recompression is not served/],
    [set('unclean.leader.election.enable', 'true'), /A leader always has every acknowledged record/],
    [set('retention.ms', '-2'), /Invalid value -2 for configuration retention.ms: -2 is not an integer from -1/],
    [set('retention.ms', null), /Config retention.ms has no value/],
    [set('retention.mss', '1'), /Unknown topic config name.*: retention.mss; the closest known one is retention.ms/],
    [set('min.cleanable.dirty.ratio', '0.5'), /one that this broker does not serve/],
    [[...set('retention.ms', '1'), ...set('retention.ms', '2')], /Config retention.ms is changed twice/],
    [set('__proto__', '1'), /Unknown topic config name/],
  ])('refuses %j and changes nothing', (operations, message) => {
    expect(changeTopicConfigs(map({ 'segment.bytes': '100' }), operations)).toEqual({
      kind: 'refused',
      message: expect.stringMatching(message),
    });
  });
});

describe('changeBrokerConfigs()', () => {
  const change = (name: string, value: string) => changeBrokerConfigs(NONE, [{ name, operation: 'set', value }]);

  test('changes what topics fall back to', () => {
    expect(change('log.retention.ms', '5')).toEqual({ kind: 'configs', configs: map({ 'log.retention.ms': '5' }) });
  });

  test('refuses what takes effect at start only', () => {
    expect(change('num.partitions', '5')).toEqual({
      kind: 'refused',
      message: 'Property num.partitions can not be changed at run time, only in the properties file of each broker',
    });
  });
});
