import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arbitraryHistory } from '../../../test/fakes/metadata-commands.ts';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import { SimulatedDisk } from '../../../test/simulation/simulated-disk.ts';
import { CatchUpDataError } from '../../raft/catch-up-data-error.ts';
import { StateDamageError } from '../../raft/state-damage-error.ts';
import type { CatchUpSource, StateCheckpoint } from '../../raft/state-machine.ts';
import { logIndex, term } from '../../std/brands.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { encodeMetadataCommand, type MetadataCommand } from './metadata-command.ts';
import { encodeMetadataState } from './metadata-state-codec.ts';
import { MetadataStateMachine } from './metadata-state-machine.ts';

class Machine {
  readonly time = new SimulatedTime();
  readonly disk: SimulatedDisk;
  readonly inlineBytesMax: number;
  #opened = false;

  constructor(inlineBytesMax: number) {
    this.inlineBytesMax = inlineBytesMax;
    this.disk = new SimulatedDisk(this.time);
  }

  /** On the disk as a power loss leaves it, if it was open before. */
  open(clusterId = 'cluster'): MetadataStateMachine {
    if (this.#opened) this.disk.crash(new SeededRandom(1));
    this.#opened = true;
    const { time: timers, inlineBytesMax } = this;
    return new MetadataStateMachine({ clusterId, disk: this.disk.mount(), timers, inlineBytesMax });
  }
}

function apply(stateMachine: MetadataStateMachine, commands: readonly MetadataCommand[]): void {
  for (const command of commands) {
    const index = logIndex(stateMachine.image.appliedIndex + 1);
    stateMachine.apply({ index, term: term(3), payload: Buffer.concat(encodeMetadataCommand(command)) });
  }
}

function producerIds(count: number): MetadataCommand {
  return { kind: 'allocateProducerIds', count };
}

async function* piecesOf(source: CatchUpSource): AsyncGenerator<Uint8Array> {
  for (let piece = await source.next(); piece !== undefined; piece = await source.next()) yield piece;
}

describe('MetadataStateMachine', () => {
  test('a checkpoint at any point, inline or in a file, survives power loss and continues to the same state', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryHistory, fc.nat(), fc.constantFrom(0, 1 << 20), async (history, at, inlineBytesMax) => {
        const machine = new Machine(inlineBytesMax);
        const cut = 1 + (at % history.length);
        const original = machine.open();
        apply(original, history.slice(0, cut));
        const checkpoint = await machine.time.settle(original.checkpoint());
        apply(original, history.slice(cut));
        const restored = machine.open();
        await machine.time.settle(restored.restore(checkpoint));
        expect(restored.image.appliedIndex).toBe(cut);
        apply(restored, history.slice(cut));
        expect(encodeMetadataState(restored.image)).toEqual(encodeMetadataState(original.image));
      }),
      { numRuns: 30 },
    );
  });

  test('a checkpoint describes the state at its call although apply goes on', async () => {
    const machine = new Machine(0);
    const stateMachine = machine.open();
    apply(stateMachine, [producerIds(5)]);
    const saving = stateMachine.checkpoint();
    apply(stateMachine, [producerIds(7)]);
    const checkpoint = await machine.time.settle(saving);
    expect(checkpoint.index).toBe(1);
    expect(stateMachine.bytesSinceCheckpoint()).toBeGreaterThan(0);
    const restored = machine.open();
    await machine.time.settle(restored.restore(checkpoint));
    expect(restored.image.nextProducerId).toBe(5);
  });

  test('keeps the file of a checkpoint until a later one is durable', async () => {
    const machine = new Machine(0);
    const stateMachine = machine.open();
    const files = () => machine.disk.paths().filter((path) => path.startsWith('metadata/state-'));
    const checkpoints: StateCheckpoint[] = [];
    for (let i = 0; i < 4; i++) {
      apply(stateMachine, [producerIds(1)]);
      checkpoints.push(await machine.time.settle(stateMachine.checkpoint()));
    }
    expect(files()).toHaveLength(4);
    stateMachine.checkpointDurable(logIndex(3));
    apply(stateMachine, [producerIds(1)]);
    checkpoints.push(await machine.time.settle(stateMachine.checkpoint()));
    expect(files()).toHaveLength(3);
    for (const checkpoint of checkpoints.slice(-3)) {
      const restored = machine.open();
      await machine.time.settle(restored.restore(checkpoint));
      expect(restored.image.appliedIndex).toBe(checkpoint.index);
    }
  });

  test('believes neither a damaged file nor the state of another cluster', async () => {
    const machine = new Machine(0);
    const stateMachine = machine.open();
    apply(stateMachine, [producerIds(1)]);
    const checkpoint = await machine.time.settle(stateMachine.checkpoint());
    await expect(machine.time.settle(machine.open('other').restore(checkpoint))).rejects.toThrow('Metadata of cluster');
    const path = machine.disk.paths().find((candidate) => candidate.startsWith('metadata/state-'))!;
    machine.disk.flipBit(path, 12, 3);
    await expect(machine.time.settle(machine.open().restore(checkpoint))).rejects.toThrow(StateDamageError);
  });

  test('begins with nothing after a restore that met damage, and leaves nothing of it', async () => {
    for (const loss of ['flip', 'lost'] as const) {
      const machine = new Machine(0);
      const stateMachine = machine.open();
      apply(stateMachine, [producerIds(1), producerIds(1)]);
      const checkpoint = await machine.time.settle(stateMachine.checkpoint());
      const path = machine.disk.paths().find((candidate) => candidate.startsWith('metadata/state-'))!;
      const again = machine.open();
      if (loss === 'flip') machine.disk.flipBit(path, 12, 3);
      else machine.disk.loseFile(path);
      await expect(machine.time.settle(again.restore(checkpoint))).rejects.toThrow(StateDamageError);
      await machine.time.settle(again.restore(undefined));
      expect([again.image.appliedIndex, machine.disk.paths()]).toEqual([0, []]);
      apply(again, [producerIds(1)]);
      const next = await machine.time.settle(again.checkpoint());
      const restored = machine.open();
      await machine.time.settle(restored.restore(next));
      expect(restored.image.appliedIndex).toBe(1);
    }
  });

  test('a catch-up brings the whole state, durable before it counts', async () => {
    const leader = new Machine(0);
    const source = leader.open();
    apply(source, [producerIds(5), { kind: 'clusterTime', timeMs: 77 }]);
    const stream = await source.openCatchUp();
    const machine = new Machine(0);
    const follower = machine.open();
    const { index, term: atTerm } = stream;
    const checkpoint = await machine.time.settle(
      follower.installCatchUp({ index, term: atTerm, pieces: () => piecesOf(stream) }),
    );
    expect(encodeMetadataState(follower.image)).toEqual(encodeMetadataState(source.image));
    const restored = machine.open();
    await machine.time.settle(restored.restore(checkpoint));
    expect(restored.image.clusterTimeMs).toBe(77);
    const cut = await source.openCatchUp();
    const half = (await cut.next())!.subarray(0, 10);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield half;
    }
    const victim = new Machine(0).open();
    await expect(victim.installCatchUp({ index, term: atTerm, pieces: broken })).rejects.toThrow(CatchUpDataError);
    expect(victim.image.appliedIndex).toBe(0);
  });

  test('tells listeners once per loop turn', async () => {
    const machine = new Machine(0);
    const stateMachine = machine.open();
    const seen: number[] = [];
    const stop = stateMachine.onImageChanged((image) => seen.push(image.nextProducerId));
    apply(stateMachine, [producerIds(1), producerIds(1), producerIds(1)]);
    expect(stateMachine.image.nextProducerId).toBe(3);
    expect(seen).toEqual([]);
    await machine.time.runFor(1);
    expect(seen).toEqual([3]);
    stop();
    apply(stateMachine, [producerIds(1)]);
    await machine.time.runFor(1);
    expect(seen).toEqual([3]);
  });
});
