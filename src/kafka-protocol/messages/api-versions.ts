/**
 * ApiVersions (key 18): which APIs and versions this broker serves; the first request of every client.
 *
 * Version notes:
 *  - 1 adds the throttle time; 3 is flexible and carries the client's software name and version; 4 may carry features
 *    whose minimum is 0.
 *  - The response header stays version 0 in every version, and a request of an unknown version is answered with error
 *    35 in a version 0 body: the client does not know yet what we speak.
 */
import { defineApi, type RequestOf, type ResponseOf } from '../api.ts';
import { array, bool, int16, int32, int64, string } from '../schema.ts';

export const apiVersionsApi = defineApi({
  key: 18,
  name: 'ApiVersions',
  versions: '0-4',
  flexible: '3+',
  request: {
    clientSoftwareName: string('3+', { ignorable: true }),
    clientSoftwareVersion: string('3+', { ignorable: true }),
  },
  response: {
    errorCode: int16('0+'),
    apiKeys: array('0+', {
      apiKey: int16('0+'),
      minVersion: int16('0+'),
      maxVersion: int16('0+'),
    }),
    throttleTimeMs: int32('1+', { ignorable: true }),
    supportedFeatures: array(
      '3+',
      {
        name: string('3+'),
        minVersion: int16('3+'),
        maxVersion: int16('3+'),
      },
      { ignorable: true, tag: 0 },
    ),
    finalizedFeaturesEpoch: int64('3+', { default: -1, ignorable: true, tag: 1 }),
    finalizedFeatures: array(
      '3+',
      {
        name: string('3+'),
        maxVersionLevel: int16('3+'),
        minVersionLevel: int16('3+'),
      },
      { ignorable: true, tag: 2 },
    ),
    zkMigrationReady: bool('3+', { default: false, ignorable: true, tag: 3 }),
  },
});

export type ApiVersionsRequest = RequestOf<typeof apiVersionsApi>;
export type ApiVersionsResponse = ResponseOf<typeof apiVersionsApi>;
