/** DescribeCluster (60): brokers, cluster id and controller. Behaviour: live brokers only; v1 may ask for controllers instead (endpoint type 2), which clients can not reach here: error 115. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { describeClusterApi } from '../../kafka-protocol/messages/describe-cluster.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

const ENDPOINT_BROKERS = 1;

export function describeClusterHandler({ cluster }: HandlerServices): AnyHandler {
  return defineHandler({
    api: describeClusterApi,
    handle({ endpointType }) {
      const { clusterId } = cluster.image;
      if (endpointType !== ENDPOINT_BROKERS) {
        return {
          throttleTimeMs: 0,
          errorCode: ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
          errorMessage: 'Only brokers (endpoint type 1) can be described',
          endpointType,
          clusterId,
          brokers: [],
        };
      }
      const brokers = [];
      for (const brokerId of cluster.liveBrokers()) {
        const registration = cluster.image.brokers.get(brokerId);
        if (registration === undefined) continue;
        const { host, port, rack } = registration;
        brokers.push({ brokerId, host, port, rack });
      }
      return {
        throttleTimeMs: 0,
        errorCode: ErrorCode.NONE,
        clusterId,
        controllerId: cluster.controllerId ?? cluster.brokerId,
        brokers,
      };
    },
  });
}
