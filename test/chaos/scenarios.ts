/** Every scenario: a nemesis, what it needs, and what it proves. Each runs with the whole workload and is judged by the whole checker. */
import { jumpClocks } from './nemesis/clock-faults.ts';
import {
  dieAtSyscall,
  directedAmnesia,
  failDisk,
  flipBits,
  loseDirectory,
  losePower,
  slowDisk,
} from './nemesis/disk-faults.ts';
import { fillDisk, fullDisk } from './nemesis/full-disk.ts';
import { squeezeMemory } from './nemesis/memory-faults.ts';
import { dieAtPoints, dieInCatchUp, dieInElection } from './nemesis/named-points.ts';
import type { NemesisContext } from './nemesis/nemesis.ts';
import {
  corruptLinks,
  cutOneWay,
  cutSomeLinks,
  delayLinks,
  harmPackets,
  isolateByRole,
  isolateClients,
  resetLinks,
  splitMajority,
} from './nemesis/network-faults.ts';
import {
  crashLoop,
  killAll,
  killByRole,
  loseQuorum,
  pauseByRole,
  rollingRestart,
  stallOften,
} from './nemesis/process-faults.ts';
import { changeMembership, churnTopics, deleteRecords } from './nemesis/topic-faults.ts';

export interface Scenario {
  readonly name: string;
  /** What must hold although this happens, in one line. */
  readonly proves: string;
  readonly act: (context: NemesisContext) => Promise<void>;
  readonly nodes?: number;
  /** Runs brokers under the shim. */
  readonly shim?: true;
  readonly journal?: true;
  readonly brokerLinks?: true;
  readonly clientLinks?: true;
  readonly heapMegabytes?: number;
  /** A network and mounts of the run's own; needs root. */
  readonly namespaces?: true;
  /** Carries packets between brokers itself. */
  readonly packets?: true;
  /** Control groups that limit memory. */
  readonly memoryLimits?: true;
  /** A topic comes and goes beside the load. */
  readonly churn?: true;
  /** The records of a topic are deleted beside the load. */
  readonly shrinking?: true;
  /** Records of up to 8 kB instead of 256 bytes. */
  readonly hasLargeRecords?: true;
  readonly properties?: Readonly<Record<string, string>>;
  /** A healthy run has no fault to take effect. */
  readonly isHealthy?: true;
}

/** Small segments and larger records, so that rolling, checkpoints and reuse happen every few seconds. */
const smallFiles = {
  properties: {
    'wal.segment.bytes': `${1 << 20}`,
    'wal.max.bytes': `${4 << 20}`,
    'log.segment.bytes': `${1 << 18}`,
  },
  hasLargeRecords: true,
} as const;

const links = { shim: true, brokerLinks: true } as const;
const power = { shim: true, journal: true } as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'healthy',
    proves: 'Without faults nothing is lost, doubled or reordered, and nothing is refused',
    act: (context) => context.sleep(context.remainingMs),
    isHealthy: true,
  },
  {
    name: 'kill-leader',
    proves: 'kill -9 of a partition leader: others take over, nothing acknowledged is missing',
    act: (context) => killByRole(context, ['leader']),
  },
  {
    name: 'kill-follower',
    proves: 'kill -9 of a follower: no interruption beyond its own partitions',
    act: (context) => killByRole(context, ['follower']),
  },
  {
    name: 'kill-metadata-leader',
    proves: 'kill -9 of the metadata leader: topics stay served',
    act: (context) => killByRole(context, ['metadata-leader']),
  },
  {
    name: 'kill-coordinator',
    proves: 'kill -9 of the group coordinator: committed offsets neither vanish nor go back',
    act: (context) => killByRole(context, ['coordinator']),
  },
  {
    name: 'kill-small-files',
    proves: 'kill -9 of anyone while WAL segments are reused and checkpoints are written all the time',
    act: (context) => killByRole(context, ['leader', 'follower', 'any']),
    ...smallFiles,
  },
  { name: 'kill-all', proves: 'kill -9 of all brokers at once, restarted in any order', act: killAll },
  { name: 'no-quorum', proves: 'Without a majority nothing is acknowledged', act: loseQuorum },
  {
    name: 'pause',
    proves: 'A paused leader neither acknowledges nor answers stale when it goes on (event-loop stalls included)',
    act: (context) => pauseByRole(context, ['leader', 'coordinator', 'metadata-leader', 'any']),
  },
  {
    name: 'stalls',
    proves: 'Event loops that stand still for 0.2 to 2 s, again and again: nobody trusts a clock too long',
    act: stallOften,
  },
  { name: 'rolling-restart', proves: 'An upgrade by restarting one broker after the other', act: rollingRestart },
  { name: 'crash-loop', proves: 'kill -9 during recovery: recovering twice is recovering once', act: crashLoop },
  {
    name: 'isolate',
    proves: 'One broker without links to the others: it steps down, the rest goes on',
    act: (context) => isolateByRole(context, ['leader', 'metadata-leader', 'coordinator', 'any']),
    ...links,
  },
  {
    name: 'majority-minority',
    proves: 'Two of five brokers cut off: the majority goes on, the minority acknowledges nothing',
    act: splitMajority,
    nodes: 5,
    ...links,
  },
  { name: 'one-way', proves: 'A broker that can send and not receive, or the reverse', act: cutOneWay, ...links },
  {
    name: 'partial-links',
    proves: 'Single links cut: brokers that see each other only through others',
    act: cutSomeLinks,
    ...links,
  },
  { name: 'slow-network', proves: 'Delay and jitter, different in each direction', act: delayLinks, ...links },
  { name: 'corrupt-network', proves: 'Flipped bits between brokers reach no log', act: corruptLinks, ...links },
  { name: 'resets', proves: 'Connections between brokers reset at any moment', act: resetLinks, ...links },
  {
    name: 'packets',
    proves: 'Packets between brokers lost, doubled, changed and out of order, below TCP',
    act: harmPackets,
    shim: true,
    packets: true,
    namespaces: true,
  },
  {
    name: 'clients-from-leader',
    proves: 'Lost answers of a healthy leader: retries are not appended again',
    act: isolateClients,
    clientLinks: true,
  },
  {
    name: 'power-loss',
    proves:
      'Power loss of one, some or all brokers: what was not flushed is gone or torn, what was acknowledged is there',
    act: losePower,
    ...power,
  },
  {
    name: 'power-loss-small-files',
    proves: 'The same while WAL segments are reused and checkpoints are written all the time',
    act: losePower,
    ...smallFiles,
    ...power,
  },
  {
    name: 'die-at-syscall',
    proves: 'Death right before or after a flush or within a write, with and without power loss, also during recovery',
    act: dieAtSyscall,
    ...power,
  },
  {
    name: 'named-points',
    proves: 'Death right before or after each step of the life of its files, by name, with and without power loss',
    act: dieAtPoints,
    ...smallFiles,
    ...power,
  },
  {
    name: 'die-in-catch-up',
    proves: 'Death in the middle of a catch-up, of the one that is filled and of the one that fills it',
    act: dieInCatchUp,
    ...smallFiles,
    ...power,
  },
  {
    name: 'die-in-election',
    proves: 'Death of a candidate in the middle of an election',
    act: dieInElection,
  },
  {
    name: 'amnesia',
    proves: 'A broker that acknowledged, lost power and forms a majority with one that was paused meanwhile',
    act: directedAmnesia,
    ...power,
  },
  {
    name: 'disk-errors',
    proves: 'EIO from a flush or write: the broker stops and never acknowledges after it, also with power loss',
    act: failDisk,
    ...power,
  },
  {
    name: 'slow-disk',
    proves: 'Slow and stalled flushes: a broker whose disk stalls gives its leaderships away',
    act: slowDisk,
    shim: true,
  },
  {
    name: 'full-disk',
    proves: 'A disk that gets full, with and without warning, and space again',
    act: fullDisk,
    shim: true,
  },
  {
    name: 'no-space',
    proves: 'A file system that is really full, at once or after a warning, and space again',
    act: fillDisk,
    namespaces: true,
    hasLargeRecords: true,
    properties: {
      ...smallFiles.properties,
      'disk.free.min.bytes': `${32 << 20}`,
      'disk.reserve.bytes': `${4 << 20}`,
      // Rarely, so that writes find no space before it is seen.
      'disk.check.interval.ms': '3000',
    },
  },
  {
    name: 'bit-flips',
    proves: 'Flipped bits in the WAL, partition files or anything of one broker: detected, repaired, never served',
    act: flipBits,
    ...smallFiles,
    // What nobody reads has to be found and repaired before the replicas are compared.
    properties: { ...smallFiles.properties, 'scrub.interval.ms': '1000', 'scrub.bytes.per.second': `${64 * 2 ** 20}` },
  },
  {
    name: 'lost-directory',
    proves: 'A broker that lost all its data comes back with a new identity and is filled from its peers',
    act: loseDirectory,
  },
  {
    name: 'membership',
    proves: 'Replicas replaced in the configurations of their groups while other brokers are killed, paused or cut off',
    act: changeMembership,
    nodes: 5,
    ...links,
  },
  {
    name: 'topics',
    proves: 'A topic deleted and made again under its name, with clients on it, while brokers are killed and paused',
    act: churnTopics,
    churn: true,
    ...smallFiles,
  },
  {
    name: 'delete-records',
    proves:
      'Records deleted from the beginning of partitions while brokers are killed and paused: they stay deleted, others do not go',
    act: deleteRecords,
    shrinking: true,
    ...smallFiles,
  },
  {
    name: 'clocks',
    proves: 'Wall clocks that jump by up to 200 hours, differently on each broker',
    act: jumpClocks,
    shim: true,
  },
  {
    name: 'memory',
    proves: 'Heaps of 96 MB: back-pressure instead of death',
    act: async (context) => {
      await context.fault('small heap', context.cluster.ids, async () => {
        await context.sleep(context.remainingMs);
        return 'brokers ran with --max-old-space-size=96';
      });
    },
    heapMegabytes: 96,
  },
  {
    name: 'memory-pressure',
    proves: 'Pages taken away from a broker by the kernel, up to its death: slow or dead, never wrong',
    act: squeezeMemory,
    memoryLimits: true,
  },
  {
    name: 'mixed',
    proves: 'Everything above in random turns',
    act: async (context) => {
      const nemeses = [
        (turn: NemesisContext) => killByRole(turn, ['leader', 'any', 'metadata-leader', 'coordinator']),
        killAll,
        (turn: NemesisContext) => pauseByRole(turn, ['leader', 'any']),
        (turn: NemesisContext) => isolateByRole(turn, ['leader', 'any']),
        cutOneWay,
        resetLinks,
        losePower,
        dieAtSyscall,
        directedAmnesia,
        slowDisk,
        jumpClocks,
        rollingRestart,
      ];
      while (context.hasTime) await context.random.pick(nemeses)(context.within(context.random.between(4_000, 12_000)));
    },
    shim: true,
    journal: true,
    brokerLinks: true,
    ...smallFiles,
  },
];
