/**
 * Owns a virtual disk that outlives the simulated processes using it. A process gets a {@link Disk} from
 * {@link SimulatedDisk.mount}; when it is killed or loses power its handles never call back (DECISIONS, simulator seams).
 *
 * Models: writes and names that only a sync makes durable, power loss that keeps any subset of sectors and names,
 * in-flight operations cut anywhere by a kill, injected errors, delays and damage, a full disk. Every operation enters
 * a hash, so two runs of a seed can be compared.
 */
import { assert } from '../../src/std/assert.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { EventHash } from './event-hash.ts';
import type { SimulatedMachineTime, SimulatedTime } from './simulated-clock.ts';
import { type LossMode, SimulatedFile } from './simulated-file.ts';
import { parentOf, SimulatedMount } from './simulated-mount.ts';

export type DiskOperationKind =
  | 'open'
  | 'write'
  | 'read'
  | 'sync'
  | 'truncate'
  | 'size'
  | 'close'
  | 'list'
  | 'makeDirectory'
  | 'rename'
  | 'removeFile'
  | 'removeDirectory'
  | 'syncDirectory'
  | 'sizeOf'
  | 'space';

/** What a hook sees before an operation takes effect. `number` counts all operations of the disk from 1. */
export interface DiskOperation {
  readonly number: number;
  readonly kind: DiskOperationKind;
  readonly path: string;
  readonly position: number;
  readonly length: number;
}

/** What a hook may ask for: an error instead of the effect, the effect later, or the end of the process with the operation in flight. */
export interface DiskFault {
  readonly error?: string;
  readonly delayMs?: number;
  readonly halt?: boolean;
}

type Entry = SimulatedFile | 'directory';
type Names = Map<string, Entry>;
/** One atomic change of names, in the directories given. */
interface NameChange {
  readonly directories: readonly string[];
  readonly changes: readonly (readonly [path: string, entry: Entry | undefined])[];
}

export interface SimulatedDiskOptions {
  readonly seed?: number;
  readonly capacityBytes?: number;
  /** Virtual duration of an operation that no hook delays. */
  readonly latencyMs?: (operation: DiskOperation, random: SeededRandom) => number;
}

export class SimulatedDisk {
  readonly #time: SimulatedTime;
  /** Draws latencies and the extent of failures. */
  readonly random: SeededRandom;
  readonly #latencyMs: (operation: DiskOperation, random: SeededRandom) => number;
  #names: Names = new Map();
  #durableNames: Names = new Map();
  #pendingNames: NameChange[] = [];
  #nextFileId = 1;
  #mount: SimulatedMount | undefined;
  /** May be lowered and raised while running; a write that needs more fails with ENOSPC. */
  capacityBytes: number;
  /** For a new file: who sees what becomes durable in it. */
  watchSyncs: (path: string) => ((pages: readonly Uint8Array[]) => void) | undefined = () => undefined;
  /** Called for each operation before its effect. */
  onOperation: (operation: DiskOperation) => DiskFault | undefined = () => undefined;
  operations = 0;
  readonly #hash = new EventHash();

  constructor(time: SimulatedTime, options: SimulatedDiskOptions = {}) {
    this.#time = time;
    this.random = new SeededRandom(options.seed ?? 0);
    this.capacityBytes = options.capacityBytes ?? 2 ** 40;
    this.#latencyMs =
      options.latencyMs ?? ((operation, random) => (operation.kind === 'sync' ? 0.1 : 0.01) * (0.5 + random.next()));
  }

  /** The disk as one process sees it. `machine` delivers completions; without one, a machine that only a crash can stop. At most one mount lives at a time. */
  mount(machine?: SimulatedMachineTime): SimulatedMount {
    assert(this.#mount === undefined || this.#mount.dead, 'The disk is already mounted by a live process');
    this.#mount = new SimulatedMount(this, machine ?? this.#time.machine());
    return this.#mount;
  }

  /** Kills the process (kill -9): what it completed stays visible, each write in flight is applied wholly, partly or not. */
  kill(random: SeededRandom): void {
    this.#mount?.die((file, position, bytes) => {
      const share = random.pick([0, 1, random.next()]);
      file.write(position, bytes.subarray(0, Math.floor((bytes.length * share) / 512) * 512));
    });
    this.#mount = undefined;
  }

  /** Kills the process and cuts the power: un-synced writes and names are lost, kept or torn. */
  crash(random: SeededRandom, mode?: LossMode): void {
    this.#mount?.die((file, position, bytes) => file.write(position, bytes));
    this.#mount = undefined;
    const chosen = mode ?? random.pick(['lose', 'keep', 'operations', 'sectors'] as const);
    const files = this.#allFiles();
    for (const file of files) file.losePower(random, chosen);
    this.#loseNames(() => (chosen === 'lose' ? false : chosen === 'keep' ? true : random.chance(0.5)));
  }

  /** Kills the process and cuts the power, with the test choosing which sector of which un-synced write survives. Names survive. */
  crashChoosing(keep: (path: string, sector: number) => boolean): void {
    this.#mount?.die((file, position, bytes) => file.write(position, bytes));
    this.#mount = undefined;
    for (const [path, entry] of this.#names) {
      if (entry !== 'directory') entry.losePowerChoosing((sector) => keep(path, sector));
    }
    this.#loseNames(() => true);
  }

  /** Sectors of un-synced writes in one file (writes still in flight not counted). */
  pendingSectors(path: string): number {
    return this.#file(path).pendingSectors;
  }

  /** Hash of all operations so far, with the bytes written. */
  get hash(): number {
    return this.#hash.value;
  }

  /** An independent disk with the same content and the same un-synced operations, unmounted. */
  clone(time: SimulatedTime = this.#time): SimulatedDisk {
    const copy = new SimulatedDisk(time, {
      seed: this.random.fork().uint32(),
      capacityBytes: this.capacityBytes,
      latencyMs: this.#latencyMs,
    });
    const copies = new Map<SimulatedFile, SimulatedFile>();
    const cloneEntry = (entry: Entry): Entry => {
      if (entry === 'directory') return entry;
      let file = copies.get(entry);
      if (file === undefined) {
        file = entry.clone();
        copies.set(entry, file);
      }
      return file;
    };
    for (const [path, entry] of this.#names) copy.#names.set(path, cloneEntry(entry));
    for (const [path, entry] of this.#durableNames) copy.#durableNames.set(path, cloneEntry(entry));
    copy.#pendingNames = this.#pendingNames.map(({ directories, changes }) => ({
      directories,
      changes: changes.map(([path, entry]) => [path, entry === undefined ? undefined : cloneEntry(entry)] as const),
    }));
    copy.#nextFileId = this.#nextFileId;
    return copy;
  }

  // What tests see and do behind the process's back.

  paths(): string[] {
    return [...this.#names]
      .filter(([, entry]) => entry !== 'directory')
      .map(([path]) => path)
      .sort();
  }

  readBytes(path: string, position = 0, length = Number.MAX_SAFE_INTEGER): Uint8Array {
    return this.#file(path).read(position, length);
  }

  /** Replaces bytes durably: damage, a misdirected write, or an older content. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    this.#file(path).damage(position, bytes);
  }

  flipBit(path: string, position: number, bit: number): void {
    const byte = this.#file(path).read(position, 1)[0]!;
    this.damage(path, position, Uint8Array.of(byte ^ (1 << bit)));
  }

  /** A sector of what was flushed last in a file is what it was before. False if there is none that differs. */
  goStale(path: string, random: SeededRandom): boolean {
    return this.#file(path).goStale(random);
  }

  /** Removes a file durably. */
  loseFile(path: string): void {
    this.#file(path);
    this.#names.delete(path);
    this.#durableNames.delete(path);
  }

  /** Exchanges the contents of the same path on two disks, as an operator mixing up volumes would. */
  swapWith(other: SimulatedDisk, path: string, otherPath = path): void {
    const mine = this.#file(path);
    const theirs = other.#file(otherPath);
    for (const names of [this.#names, this.#durableNames]) names.set(path, theirs);
    for (const names of [other.#names, other.#durableNames]) names.set(otherPath, mine);
  }

  get usedBytes(): number {
    let used = 0;
    for (const file of this.#allFiles()) used += file.allocatedBytes;
    return used;
  }

  // The mount's side.

  /** Counts and hashes an operation and asks the hook. */
  begin(
    kind: DiskOperationKind,
    path: string,
    position: number,
    bytes: Uint8Array | number,
  ): { delayMs: number; fault: DiskFault | undefined } {
    const length = typeof bytes === 'number' ? bytes : bytes.length;
    const operation: DiskOperation = { number: ++this.operations, kind, path, position, length };
    this.#hash.text(kind).text(path).number(position).number(length).number(this.#time.now);
    if (typeof bytes !== 'number') this.#hash.bytes(bytes);
    const fault = this.onOperation(operation);
    return { delayMs: fault?.delayMs ?? this.#latencyMs(operation, this.random), fault };
  }

  lookup(path: string): Entry | undefined {
    return path === '' || path === '.' ? 'directory' : this.#names.get(path);
  }

  children(directory: string): string[] {
    const prefix = directory === '' || directory === '.' ? '' : `${directory}/`;
    const names: string[] = [];
    for (const path of this.#names.keys()) {
      if (path.startsWith(prefix) && !path.slice(prefix.length).includes('/')) names.push(path.slice(prefix.length));
    }
    return names.sort();
  }

  createFile(path: string): SimulatedFile {
    const file = new SimulatedFile(this.#nextFileId++);
    file.onDurable = this.watchSyncs(path);
    this.changeNames([parentOf(path)], [[path, file]]);
    return file;
  }

  changeNames(directories: readonly string[], changes: readonly (readonly [string, Entry | undefined])[]): void {
    applyNames(this.#names, changes);
    this.#pendingNames.push({ directories, changes });
  }

  subtree(directory: string): string[] {
    return [...this.#names.keys()].filter((path) => path === directory || path.startsWith(`${directory}/`));
  }

  /** Name changes not yet durable; a sync of a directory covers those that exist when it is issued. */
  pendingNamesOf(directory: string): readonly NameChange[] {
    return this.#pendingNames.filter((change) => change.directories.includes(directory));
  }

  makeNamesDurable(covered: readonly NameChange[]): void {
    const set = new Set(covered);
    for (const change of this.#pendingNames) if (set.has(change)) applyNames(this.#durableNames, change.changes);
    this.#pendingNames = this.#pendingNames.filter((change) => !set.has(change));
  }

  #loseNames(keep: () => boolean): void {
    for (const change of this.#pendingNames) if (keep()) applyNames(this.#durableNames, change.changes);
    this.#pendingNames = [];
    // A name whose directory was lost is gone with it.
    for (const path of [...this.#durableNames.keys()].sort()) {
      const parent = parentOf(path);
      if (parent !== '' && this.#durableNames.get(parent) !== 'directory') this.#durableNames.delete(path);
    }
    this.#names = new Map(this.#durableNames);
  }

  #allFiles(): Set<SimulatedFile> {
    const files = new Set<SimulatedFile>();
    for (const names of [this.#names, this.#durableNames]) {
      for (const entry of names.values()) if (entry !== 'directory') files.add(entry);
    }
    for (const { changes } of this.#pendingNames) {
      for (const [, entry] of changes) if (entry !== undefined && entry !== 'directory') files.add(entry);
    }
    return files;
  }

  #file(path: string): SimulatedFile {
    const entry = this.#names.get(path);
    assert(entry instanceof SimulatedFile, `The simulated disk has no file ${path}`);
    return entry;
  }
}

function applyNames(names: Names, changes: readonly (readonly [string, Entry | undefined])[]): void {
  for (const [path, entry] of changes) {
    if (entry === undefined) names.delete(path);
    else names.set(path, entry);
  }
}
