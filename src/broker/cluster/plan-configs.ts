/** Planning of config changes (see plan-change.ts): operations on what is set become the configs that are set afterwards. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { changeBrokerConfigs, changeTopicConfigs } from '../config/config-change.ts';
import type { ItemOutcome } from './apply-metadata-command.ts';
import { countBy, itemOutcomes, refuse, toOutcome } from './change-outcomes.ts';
import type { ConfigChange, Outcome } from './cluster.ts';
import type { ChangeOf } from './metadata-change.ts';
import type { MetadataCommand } from './metadata-command.ts';
import type { MetadataState } from './metadata-state.ts';
import type { Plan, PlanContext } from './plan-change.ts';

export function planAlterConfigs(context: PlanContext, change: ChangeOf<'alterConfigs'>): Plan<'alterConfigs'> {
  type Resource = Extract<MetadataCommand, { kind: 'alterConfigs' }>['resources'][number];
  const timesNamed = countBy(change.changes, ({ resource, resourceName }) => `${resource} ${resourceName}`);
  const resources: Resource[] = [];
  const refusals = change.changes.map((item): Outcome | undefined => {
    if ((timesNamed.get(`${item.resource} ${item.resourceName}`) ?? 0) > 1) {
      return refuse(
        ErrorCode.INVALID_REQUEST,
        `The ${item.resource} ${item.resourceName} is in the request more than once`,
      );
    }
    const next = nextConfigs(context.state, item);
    if ('errorCode' in next) return next;
    resources.push(next);
    return undefined;
  });
  const nothing = change.validateOnly || resources.length === 0;
  return {
    command: nothing ? undefined : { kind: 'alterConfigs', resources },
    finish(applied) {
      const outcomes = applied === undefined ? resources.map((): ItemOutcome => 'done') : [...itemOutcomes(applied)];
      return refusals.map((refusal) => refusal ?? toOutcome(outcomes.shift() ?? 'conflict'));
    },
  };
}

function nextConfigs(
  state: MetadataState,
  change: ConfigChange,
): Extract<MetadataCommand, { kind: 'alterConfigs' }>['resources'][number] | Outcome {
  if (change.resource === 'topic') {
    const topic = state.topics.get(change.resourceName);
    if (topic === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This topic is not known.');
    const next = changeTopicConfigs(topic.configs, change.operations);
    if (next.kind === 'refused') return refuse(ErrorCode.INVALID_CONFIG, next.message);
    return { resource: 'topic', name: topic.topicId, configs: [...next.configs] };
  }
  if (change.resourceName !== '') {
    return refuse(
      ErrorCode.INVALID_REQUEST,
      'Configs of a single broker can not be changed at run time, only the default of the cluster (empty name) or its properties file',
    );
  }
  const next = changeBrokerConfigs(state.brokerConfigs.get('') ?? new Map(), change.operations);
  if (next.kind === 'refused') return refuse(ErrorCode.INVALID_CONFIG, next.message);
  return { resource: 'broker', name: '', configs: [...next.configs] };
}
