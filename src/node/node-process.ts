/** Facts about this process. */

export interface NodeProcessFacts {
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
  readonly cpuSeconds: number;
}

export function nodeProcessFacts(): NodeProcessFacts {
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return { residentBytes: rss, heapUsedBytes: heapUsed, externalBytes: external, cpuSeconds: (user + system) / 1e6 };
}
