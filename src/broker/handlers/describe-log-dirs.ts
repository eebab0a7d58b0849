/** DescribeLogDirs (35): size of each local partition, and of the disk. Behaviour: one directory; null topics = all; only what this broker holds; nothing moves between directories. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { describeLogDirsApi } from '../../kafka-protocol/messages/describe-log-dirs.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

export function describeLogDirsHandler({ cluster, config, space }: HandlerServices): AnyHandler {
  return defineHandler({
    api: describeLogDirsApi,
    async handle(request) {
      const wanted =
        request.topics === null
          ? undefined
          : new Map(request.topics.map(({ topic, partitions }) => [topic, new Set(partitions)]));
      const topics = new Map<
        string,
        { partitionIndex: number; partitionSize: number; offsetLag: number; isFutureKey: boolean }[]
      >();
      for (const { topic, partition, sizeBytes } of cluster.partitions()) {
        if (wanted !== undefined && wanted.get(topic)?.has(partition) !== true) continue;
        const partitions = topics.get(topic) ?? [];
        topics.set(topic, partitions);
        partitions.push({ partitionIndex: partition, partitionSize: sizeBytes, offsetLag: 0, isFutureKey: false });
      }
      const { freeBytes, totalBytes } = await space();
      return {
        throttleTimeMs: 0,
        errorCode: ErrorCode.NONE,
        results: [
          {
            errorCode: ErrorCode.NONE,
            logDir: config['log.dirs'],
            topics: [...topics].map(([name, partitions]) => ({ name, partitions })),
            totalBytes,
            usableBytes: freeBytes,
          },
        ],
      };
    },
  });
}
