/**
 * ApiVersions (18): which APIs and versions are served. Answered from the table of handlers.
 *
 * Behaviour:
 *  - May come at any time and repeatedly.
 *  - A version above ours never gets here: the connection answers it with error 35 in version 0 (KIP-511).
 *  - v3+: name and version of the client's software must have the allowed form, else error 42 and no list.
 *  - No features are named: clients then stay with what the version ranges say.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { apiVersionsApi } from '../../kafka-protocol/messages/api-versions.ts';
import { type AnyHandler, defineHandler, type HandlerTable } from '../network/dispatch.ts';

const SOFTWARE_WORD = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/;

export function apiVersionsHandler(table: HandlerTable): AnyHandler {
  return defineHandler({
    api: apiVersionsApi,
    handle(request, context) {
      const isNamed =
        context.apiVersion < 3 ||
        (SOFTWARE_WORD.test(request.clientSoftwareName) && SOFTWARE_WORD.test(request.clientSoftwareVersion));
      if (!isNamed) return { errorCode: ErrorCode.INVALID_REQUEST, apiKeys: [] };
      return {
        errorCode: ErrorCode.NONE,
        apiKeys: table.served().map(({ key, advertised }) => ({
          apiKey: key,
          minVersion: advertised.min,
          maxVersion: advertised.max,
        })),
      };
    },
  });
}
