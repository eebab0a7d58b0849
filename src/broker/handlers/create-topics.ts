/**
 * CreateTopics (19).
 *
 * Behaviour: any broker takes it; the metadata leader decides. Names, configs and duplicates are judged here, so that a refusal names the topic. Answered when every live broker has applied
 * the change and each partition has a leader, or with error 7 after the time-out. Fewer brokers than replicas asked for is error 38, never fewer replicas.
 *
 * Version notes: 4+ takes −1 for the broker's defaults (accepted in all versions, kafkajs relies on it). 5+ returns the configs that hold; 7 the topic id.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import {
  type CreateTopicsRequest,
  type CreateTopicsResponse,
  createTopicsApi,
} from '../../kafka-protocol/messages/create-topics.ts';
import type { NewTopic, NewTopicOutcome } from '../cluster/cluster.ts';
import { isInternalTopic, topicNameProblem } from '../cluster/topic-name.ts';
import { changeTopicConfigs } from '../config/config-change.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import { describeTopicConfigs } from './config-entries.ts';
import type { HandlerServices } from './handler-services.ts';

type TopicRequest = CreateTopicsRequest['topics'][number];
type TopicResponse = CreateTopicsResponse['topics'][number];

export function createTopicsHandler(services: HandlerServices): AnyHandler {
  return defineHandler({
    api: createTopicsApi,
    async handle(request) {
      const { validateOnly, timeoutMs } = request;
      const counts = new Map<string, number>();
      for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1);
      const refusals = new Map<string, TopicResponse>();
      const accepted: NewTopic[] = [];
      for (const topic of request.topics) {
        const refusal = refusalOf(topic, counts.get(topic.name)!);
        if (refusal !== undefined) refusals.set(topic.name, refusal);
        else accepted.push(toNewTopic(topic));
      }
      const outcomes = new Map<string, NewTopicOutcome>();
      if (accepted.length > 0) {
        for (const outcome of await services.cluster.createTopics(accepted, { validateOnly, timeoutMs })) {
          outcomes.set(outcome.name, outcome);
        }
      }
      const topics: TopicResponse[] = [];
      for (const topic of request.topics) {
        const refusal = refusals.get(topic.name);
        const outcome = outcomes.get(topic.name);
        // A name that was given twice gets one answer, as in Kafka.
        refusals.delete(topic.name);
        outcomes.delete(topic.name);
        if (refusal !== undefined) topics.push(refusal);
        else if (outcome !== undefined) topics.push(toResponse(services, topic, outcome));
      }
      return { topics };
    },
  });
}

function refusalOf(topic: TopicRequest, timesNamed: number): TopicResponse | undefined {
  const refused = (errorCode: ErrorCode, errorMessage: string): TopicResponse => ({
    name: topic.name,
    errorCode,
    errorMessage,
    configs: null,
  });
  if (timesNamed > 1) return refused(ErrorCode.INVALID_REQUEST, 'The topic is named more than once in this request');
  const problem = topicNameProblem(topic.name);
  if (problem !== undefined) return refused(ErrorCode.INVALID_TOPIC_EXCEPTION, problem);
  if (isInternalTopic(topic.name)) {
    return refused(ErrorCode.INVALID_REQUEST, `Topic ${topic.name} is internal and made by brokers only`);
  }
  if (topic.assignments.length > 0 && (topic.numPartitions !== -1 || topic.replicationFactor !== -1)) {
    return refused(
      ErrorCode.INVALID_REQUEST,
      'Both an assignment of replicas and a number of partitions or replicas are given',
    );
  }
  const outcome = changeTopicConfigs(
    new Map(),
    topic.configs.map(({ name, value }) => ({ name, operation: 'set', value })),
  );
  return outcome.kind === 'refused' ? refused(ErrorCode.INVALID_CONFIG, outcome.message) : undefined;
}

function toNewTopic(topic: TopicRequest): NewTopic {
  return {
    name: topic.name,
    partitionCount: topic.numPartitions,
    replicationFactor: topic.replicationFactor,
    assignments: topic.assignments.map(({ partitionIndex, brokerIds }) => ({ partition: partitionIndex, brokerIds })),
    configs: topic.configs,
  };
}

function toResponse(services: HandlerServices, topic: TopicRequest, outcome: NewTopicOutcome): TopicResponse {
  const { name, topicId, errorCode, errorMessage, partitionCount, replicationFactor } = outcome;
  if (errorCode !== ErrorCode.NONE) return { name, errorCode, errorMessage, configs: null };
  const own = new Map(topic.configs.map((config) => [config.name, config.value ?? '']));
  return {
    name,
    topicId,
    errorCode,
    errorMessage: null,
    numPartitions: partitionCount,
    replicationFactor,
    configs: describeTopicConfigs(services, own).map(({ name, value, readOnly, configSource, isSensitive }) => ({
      name,
      value,
      readOnly,
      configSource,
      isSensitive,
    })),
  };
}
