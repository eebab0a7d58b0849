/** Who uses the groups: commands and reads, mostly at leaders, sometimes anywhere; all that is answered goes to the judge. */
import type { GroupId } from '../../src/std/brands.ts';
import { encodeCommand } from './list-state-machine.ts';
import { Violation } from './raft-oracle.ts';
import type { RaftStage } from './raft-stage.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import type { SimulatedGroups } from './simulated-groups.ts';

export interface WorkloadPace {
  /** Mean time between commands. */
  readonly commandEveryMs: number;
  readonly commandBytesMax: number;
}

export class RaftWorkload {
  readonly #stage: RaftStage;
  readonly #groups: SimulatedGroups;
  readonly #pace: WorkloadPace;
  readonly counts = { refused: 0, unknown: 0, reads: 0 };
  #isActive = true;
  #nextId = 1;

  constructor(stage: RaftStage, groups: SimulatedGroups, pace: WorkloadPace) {
    this.#stage = stage;
    this.#groups = groups;
    this.#pace = pace;
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#isActive = false;
  }

  #schedule(): void {
    const { time, random } = this.#stage;
    if (!this.#isActive) return;
    time.after(random.next() * 2 * this.#pace.commandEveryMs, () => {
      this.#use();
      this.#schedule();
    });
  }

  #use(): void {
    const { time, random, brokers } = this.#stage;
    const alive = this.#groups.all().filter(({ deleted, quietUntilMs }) => !deleted && time.now >= quietUntilMs);
    if (alive.length === 0) return;
    const { groupId } = random.pick(alive);
    const broker = random.chance(0.05) ? random.pick(brokers) : this.#groups.leaderOf(groupId);
    if (broker === undefined) return;
    const burst = random.chance(0.1) ? random.between(2, 30) : 1;
    for (let at = 0; at < burst; at++) this.propose(broker, groupId);
    if (random.chance(0.1)) this.#read(broker, groupId);
  }

  propose(broker: SimulatedBroker, groupId: GroupId, acked: () => void = () => undefined): void {
    const { random, oracle } = this.#stage;
    const group = broker.driver?.get(groupId);
    if (group === undefined) return;
    const id = this.#nextId++;
    const bytes = encodeCommand(id, random.between(8, this.#pace.commandBytesMax));
    const cut = random.chance(0.5) ? random.below(bytes.length) : bytes.length;
    const pieces = cut === bytes.length ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)];
    const options = random.chance(0.1) ? { requiredFlushes: group.membership.voters.length } : undefined;
    let outcomes = 0;
    const done: Parameters<typeof group.propose>[1] = (outcome) => {
      this.#guard(() => {
        if (++outcomes > 1) throw new Violation(`Command ${id} ends twice`);
        if (outcome.kind === 'applied') {
          oracle.acked(groupId, outcome.index, outcome.term, id, outcome.result);
          acked();
        } else if (outcome.kind === 'refused') {
          oracle.refused(groupId, id);
          this.counts.refused++;
        } else this.counts.unknown++;
      });
    };
    group.propose(pieces, done, options);
  }

  #read(broker: SimulatedBroker, groupId: GroupId): void {
    const { oracle, fail } = this.#stage;
    const group = broker.driver?.get(groupId);
    if (group === undefined) return;
    const mustSee = oracle.ackedIndex(groupId);
    group.readBarrier((confirmed) => {
      if (!confirmed) return;
      this.counts.reads++;
      if (group.appliedIndex >= mustSee) return;
      fail(new Violation(`A read of group ${groupId} sees ${group.appliedIndex}, ${mustSee} was acknowledged before`));
    });
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#stage.fail(error);
    }
  }
}
