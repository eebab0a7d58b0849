/**
 * Where the log start belongs by `retention.ms` and `retention.bytes`, segment by segment as in Kafka. The leader asks and proposes the answer as a command; replicas only follow that.
 *
 * Time is cluster time (DECISIONS P4): one broker's clock must not be able to delete everything. Without it nothing is deleted for being old.
 */
import type { LogSegment } from './log-segment.ts';

export interface RetentionSettings {
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly segmentMs: number;
}

type RetainedSegment = Pick<LogSegment, 'nextOffset' | 'sizeBytes' | 'maxTimestampMs' | 'createdTimeMs'>;

/**
 * The new log start: the end of the last segment that may go, or undefined if none may. The last segment is still written to: it stays, unless everything before it goes for its age and it is itself
 * older than `segment.ms`, when the next append would have closed it anyway.
 */
export function retentionLogStart(
  segments: readonly RetainedSegment[],
  settings: RetentionSettings,
  clusterTimeMs: number | undefined,
): number | undefined {
  let newStart: number | undefined;
  let excessBytes = -settings.retentionBytes;
  for (const segment of segments) excessBytes += segment.sizeBytes;
  for (const [index, segment] of segments.entries()) {
    const isActive = index === segments.length - 1;
    excessBytes -= segment.sizeBytes;
    const isTooMuch = settings.retentionBytes >= 0 && excessBytes >= 0 && !isActive;
    if (!isTooMuch && !isTooOld(segment, settings, clusterTimeMs, isActive)) break;
    newStart = segment.nextOffset;
  }
  return newStart;
}

function isTooOld(
  segment: RetainedSegment,
  settings: RetentionSettings,
  clusterTimeMs: number | undefined,
  isActive: boolean,
): boolean {
  const { maxTimestampMs, createdTimeMs } = segment;
  if (clusterTimeMs === undefined || settings.retentionMs < 0) return false;
  if (isActive && (createdTimeMs < 0 || clusterTimeMs - createdTimeMs <= settings.segmentMs)) return false;
  // Records without timestamps are as old as their segment.
  const newestMs = maxTimestampMs >= 0 ? maxTimestampMs : createdTimeMs;
  return newestMs >= 0 && clusterTimeMs - newestMs > settings.retentionMs;
}
