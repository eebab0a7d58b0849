/**
 * DeleteGroups (key 42): removes empty groups with their offsets.
 *
 * Version notes:
 *  - 2 is flexible.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { array, int16, int32, string } from '../schema.ts';

export const deleteGroupsApi = defineApi({
  key: 42,
  name: 'DeleteGroups',
  versions: '0-2',
  flexible: '2+',
  request: {
    groupsNames: array('0+', 'string'),
  },
  response: {
    throttleTimeMs: int32('0+'),
    results: array('0+', {
      groupId: string('0+'),
      errorCode: int16('0+'),
    }),
  },
});

export type DeleteGroupsRequest = RequestOf<typeof deleteGroupsApi>;
export type DeleteGroupsResponse = ResponseOf<typeof deleteGroupsApi>;
