/**
 * ListGroups (16): the groups that this broker coordinates; a tool asks every broker and joins the answers.
 *
 * Version notes: 4+ states, and a filter by them; 5+ types (all are classic), and a filter by them. Filters do not care about case, as Kafka's do not.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { listGroupsApi } from '../../kafka-protocol/messages/list-groups.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

const GROUP_TYPE = 'classic';

export function listGroupsHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: listGroupsApi,
    handle({ statesFilter, typesFilter }) {
      const groups = [];
      let errorCode: ErrorCode = ErrorCode.NONE;
      for (const shard of coordinator.shards()) {
        const availability = shard.availability();
        // A shard that is still loading would make the list incomplete without a sign of it.
        if (availability === ErrorCode.COORDINATOR_LOAD_IN_PROGRESS) errorCode = availability;
        if (availability !== ErrorCode.NONE) continue;
        for (const { groupId, protocolType, state } of shard.list()) {
          if (!matches(statesFilter, state) || !matches(typesFilter, GROUP_TYPE)) continue;
          groups.push({ groupId, protocolType, groupState: state, groupType: GROUP_TYPE });
        }
      }
      return { errorCode, groups };
    },
  });
}

function matches(filter: readonly string[], value: string): boolean {
  return filter.length === 0 || filter.some((wanted) => wanted.toLowerCase() === value.toLowerCase());
}
