/**
 * Reads the partition files of stopped brokers and compares them byte by byte: replicas apply the same entries, so that below the shortest one their logs are identical, leader epochs and
 * base offsets included. What a client can not see, such as a replica that would lead with other records, shows here.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ReplicaComparison {
  /** Bytes that were found equal on at least two replicas. */
  readonly comparedBytes: number;
  /** Sentences; empty if nothing differs. */
  readonly differences: readonly string[];
}

export interface ReplicaDirectory {
  readonly broker: number;
  /** The broker's data directory. */
  readonly dataDirectory: string;
}

/** Compares all partitions of `topic`, whose logs must begin at offset 0. */
export function compareReplicas(topic: string, brokers: readonly ReplicaDirectory[]): ReplicaComparison {
  const replicas = new Map<string, { broker: number; log: Buffer }[]>();
  for (const { broker, dataDirectory } of brokers) {
    for (const [partition, directory] of newestReplicas(dataDirectory, topic)) {
      const ofPartition = replicas.get(partition) ?? [];
      ofPartition.push({ broker, log: readLog(directory) });
      replicas.set(partition, ofPartition);
    }
  }
  let comparedBytes = 0;
  const differences: string[] = [];
  for (const [partition, ofPartition] of replicas) {
    const longest = ofPartition.reduce((a, b) => (b.log.length > a.log.length ? b : a));
    for (const { broker, log } of ofPartition) {
      if (broker === longest.broker) continue;
      comparedBytes += log.length;
      if (log.equals(longest.log.subarray(0, log.length))) continue;
      const at = log.findIndex((byte, i) => byte !== longest.log[i]);
      differences.push(
        `Partition ${partition} differs between brokers ${longest.broker} and ${broker} from byte ${at} of its log on`,
      );
    }
  }
  return { comparedBytes, differences };
}

/** Partition → the directory of its latest replica; an older one waits for its removal. */
function newestReplicas(dataDirectory: string, topic: string): Map<string, string> {
  const found = new Map<string, { replicaId: number; path: string }>();
  const topics = join(dataDirectory, 'topics');
  if (!existsSync(topics)) return new Map();
  for (const name of readdirSync(topics)) {
    const match = /^(.+)-(\d+)\.(\d+)$/.exec(name);
    if (match === null || match[1] !== topic) continue;
    const replicaId = Number(match[3]);
    if ((found.get(match[2]!)?.replicaId ?? -1) < replicaId) {
      found.set(match[2]!, { replicaId, path: join(topics, name) });
    }
  }
  return new Map([...found].map(([partition, { path }]) => [partition, path]));
}

function readLog(directory: string): Buffer {
  const segments = readdirSync(directory).filter((name) => name.endsWith('.log'));
  return Buffer.concat(segments.sort().map((name) => readFileSync(join(directory, name))));
}
