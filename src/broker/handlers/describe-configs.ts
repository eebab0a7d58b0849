/**
 * DescribeConfigs (32): every config of topics and of this broker with its effective value.
 *
 * Behaviour: resource types 2 (topic) and 4 (broker: its own id, or empty for what was changed at run time for the whole cluster). Null keys = all. A topic that is not known after a second
 * look is error 3, another broker's id or another type 42.
 *
 * Version notes: 0 has isDefault where 1+ has the source; synonyms from 1, types and documentation from 3, both only if asked for.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import {
  type DescribeConfigsRequest,
  type DescribeConfigsResponse,
  describeConfigsApi,
} from '../../kafka-protocol/messages/describe-configs.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import {
  type ConfigEntry,
  describeBrokerConfigs,
  describeClusterDefaults,
  describeTopicConfigs,
} from './config-entries.ts';
import { CONFIG_RESOURCE } from './config-resource.ts';
import type { HandlerServices } from './handler-services.ts';

type Resource = DescribeConfigsRequest['resources'][number];

const REFRESH_TIMEOUT_MS = 2000;

export function describeConfigsHandler(services: HandlerServices): AnyHandler {
  const { cluster } = services;
  return defineHandler({
    api: describeConfigsApi,
    async handle(request, { apiVersion }) {
      const isUnknown = ({ resourceType, resourceName }: Resource): boolean =>
        resourceType === CONFIG_RESOURCE.topic && !cluster.image.topics.has(resourceName);
      if (request.resources.some(isUnknown)) await cluster.refresh(REFRESH_TIMEOUT_MS);
      return {
        throttleTimeMs: 0,
        results: request.resources.map((resource) => describe(services, resource, request, apiVersion)),
      };
    },
  });
}

function describe(
  services: HandlerServices,
  resource: Resource,
  request: DescribeConfigsRequest,
  apiVersion: number,
): DescribeConfigsResponse['results'][number] {
  const { resourceType, resourceName, configurationKeys } = resource;
  const failed = (errorCode: ErrorCode, errorMessage: string) => ({
    errorCode,
    errorMessage,
    resourceType,
    resourceName,
    configs: [],
  });
  let entries: ConfigEntry[];
  if (resourceType === CONFIG_RESOURCE.topic) {
    const topic = services.cluster.image.topics.get(resourceName);
    if (topic === undefined) {
      return failed(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `Topic ${resourceName} does not exist`);
    }
    entries = describeTopicConfigs(services, topic.configs);
  } else if (resourceType === CONFIG_RESOURCE.broker) {
    if (resourceName === '') entries = describeClusterDefaults(services);
    else if (resourceName === String(services.cluster.brokerId)) entries = describeBrokerConfigs(services);
    else {
      return failed(
        ErrorCode.INVALID_REQUEST,
        `This is broker ${services.cluster.brokerId}, which does not know the properties of broker ${resourceName}`,
      );
    }
  } else {
    return failed(
      ErrorCode.INVALID_REQUEST,
      `Resource type ${resourceType} has no configs here, only topics and brokers do`,
    );
  }
  const keys = configurationKeys === null ? undefined : new Set(configurationKeys);
  const configs = entries
    .filter((entry) => keys === undefined || keys.has(entry.name))
    .map(({ isDefault, ...entry }) => ({
      ...entry,
      ...(apiVersion === 0 ? { isDefault } : {}),
      synonyms: request.includeSynonyms ? (entry.synonyms ?? []) : [],
      documentation: request.includeDocumentation ? (entry.documentation ?? null) : null,
    }));
  return { errorCode: ErrorCode.NONE, errorMessage: null, resourceType, resourceName, configs };
}
