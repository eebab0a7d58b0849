/**
 * IncrementalAlterConfigs (44) and AlterConfigs (33): change configs of topics, or broker configs for the whole cluster, at run time.
 *
 * Behaviour: each resource is changed as a whole or not at all, and answered for itself. AlterConfigs replaces everything that is set; what it does not name goes back to its default.
 * Broker configs can be changed for the whole cluster only (empty name): one broker's own are in its properties file. A config that would have no effect is refused (40).
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { alterConfigsApi } from '../../kafka-protocol/messages/alter-configs.ts';
import { incrementalAlterConfigsApi } from '../../kafka-protocol/messages/incremental-alter-configs.ts';
import type { Cluster, ConfigChange, Outcome } from '../cluster/cluster.ts';
import { type ConfigOperation, changeBrokerConfigs, changeTopicConfigs } from '../config/config-change.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import { CONFIG_RESOURCE } from './config-resource.ts';
import type { HandlerServices } from './handler-services.ts';

const TIMEOUT_MS = 10_000;
const OPERATIONS = ['set', 'delete', 'append', 'subtract'] as const;

interface ResourceChange {
  readonly resourceType: number;
  readonly resourceName: string;
  /** Undefined: an operation that does not exist. */
  readonly operations: readonly (ConfigOperation | undefined)[];
}

export function incrementalAlterConfigsHandler({ cluster }: HandlerServices): AnyHandler {
  return defineHandler({
    api: incrementalAlterConfigsApi,
    handle(request) {
      const changes = request.resources.map(({ resourceType, resourceName, configs }) => ({
        resourceType,
        resourceName,
        operations: configs.map(({ name, configOperation, value }) => {
          const operation = OPERATIONS[configOperation];
          return operation === undefined ? undefined : { name, operation, value };
        }),
      }));
      return alter(cluster, changes, request.validateOnly);
    },
  });
}

export function alterConfigsHandler({ cluster }: HandlerServices): AnyHandler {
  return defineHandler({
    api: alterConfigsApi,
    handle(request) {
      const changes = request.resources.map(({ resourceType, resourceName, configs }) => {
        const named = new Set(configs.map(({ name }) => name));
        const removed = [...currentConfigs(cluster, resourceType, resourceName).keys()].filter(
          (name) => !named.has(name),
        );
        return {
          resourceType,
          resourceName,
          operations: [
            ...removed.map((name): ConfigOperation => ({ name, operation: 'delete', value: null })),
            ...configs.map(({ name, value }): ConfigOperation => ({ name, operation: 'set', value })),
          ],
        };
      });
      return alter(cluster, changes, request.validateOnly);
    },
  });
}

async function alter(cluster: Cluster, resources: readonly ResourceChange[], validateOnly: boolean) {
  const outcomes = new Map<ResourceChange, Outcome>();
  const accepted: { resource: ResourceChange; change: ConfigChange }[] = [];
  for (const resource of resources) {
    const refusal = refusalOf(cluster, resource);
    if (refusal !== undefined) {
      outcomes.set(resource, refusal);
      continue;
    }
    accepted.push({
      resource,
      change: {
        resource: resource.resourceType === CONFIG_RESOURCE.topic ? 'topic' : 'broker',
        resourceName: resource.resourceName,
        operations: resource.operations as readonly ConfigOperation[],
      },
    });
  }
  if (accepted.length > 0) {
    const results = await cluster.alterConfigs(
      accepted.map(({ change }) => change),
      { validateOnly, timeoutMs: TIMEOUT_MS },
    );
    for (let position = 0; position < results.length; position++) {
      outcomes.set(accepted[position]!.resource, results[position]!);
    }
  }
  const responses = resources.map((resource) => {
    const { errorCode, errorMessage } = outcomes.get(resource)!;
    return { errorCode, errorMessage, resourceType: resource.resourceType, resourceName: resource.resourceName };
  });
  return { throttleTimeMs: 0, responses };
}

/** What can be judged before the metadata leader is asked. */
function refusalOf(cluster: Cluster, { resourceType, resourceName, operations }: ResourceChange): Outcome | undefined {
  const refused = (errorCode: ErrorCode, errorMessage: string): Outcome => ({ errorCode, errorMessage });
  if (resourceType !== CONFIG_RESOURCE.topic && resourceType !== CONFIG_RESOURCE.broker) {
    return refused(
      ErrorCode.INVALID_REQUEST,
      `Resource type ${resourceType} has no configs here, only topics and brokers do`,
    );
  }
  if (resourceType === CONFIG_RESOURCE.broker && resourceName !== '') {
    return refused(
      ErrorCode.INVALID_REQUEST,
      `Configs of broker ${resourceName} are in its properties file; at run time they can be changed for the whole cluster only (empty name)`,
    );
  }
  const known: ConfigOperation[] = [];
  for (const operation of operations) {
    if (operation === undefined)
      return refused(ErrorCode.INVALID_REQUEST, 'An operation is not set (0), delete (1), append (2) or subtract (3)');
    known.push(operation);
  }
  const change = resourceType === CONFIG_RESOURCE.topic ? changeTopicConfigs : changeBrokerConfigs;
  const outcome = change(currentConfigs(cluster, resourceType, resourceName), known);
  return outcome.kind === 'refused' ? refused(ErrorCode.INVALID_CONFIG, outcome.message) : undefined;
}

function currentConfigs(cluster: Cluster, resourceType: number, resourceName: string): ReadonlyMap<string, string> {
  const { topics, brokerConfigs } = cluster.image;
  const configs = resourceType === CONFIG_RESOURCE.topic ? topics.get(resourceName)?.configs : brokerConfigs.get('');
  return configs ?? new Map();
}
