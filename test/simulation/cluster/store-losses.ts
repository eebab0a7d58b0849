/** Whose stores are lost or lie. Never more at a time than a minority of every group: beyond that nobody can promise anything. */
import { type ClusterFault, type ClusterPlan, minorityOf } from './cluster-plan.ts';
import type { SimulatedNode } from './simulated-node.ts';

export interface StoreLossesOptions {
  readonly plan: ClusterPlan;
  /** All replicas of everything are whole. */
  readonly isSettled: () => boolean;
}

const LOSSES: ReadonlySet<ClusterFault> = new Set([
  'wipe',
  'amnesia',
  'damageWal',
  'damageFiles',
  'staleSectors',
  'misdirectedWrites',
  'loseFiles',
]);

export class StoreLosses {
  readonly #options: StoreLossesOptions;
  /** Everything was there once: only then something may be lost. */
  #wasWhole = false;
  /** Until all replicas are back. */
  readonly #lost = new Set<SimulatedNode>();
  /** For the rest of the run. One that refuses to start is given an empty disk by somebody. */
  readonly #damaged = new Set<SimulatedNode>();

  constructor(options: StoreLossesOptions) {
    this.#options = options;
  }

  isDamaged(node: SimulatedNode): boolean {
    return this.#damaged.has(node);
  }

  /** Nothing is lost, or all of it is back. */
  isWhole(): boolean {
    return this.#damaged.size === 0 && (this.#lost.size === 0 || this.#options.isSettled());
  }

  /** Before anything is lost: what was lost earlier may be back. */
  noticeRecovery(): void {
    const { plan, isSettled } = this.#options;
    if (this.#wasWhole && this.#lost.size === 0) return;
    if (!plan.faults.some((fault) => LOSSES.has(fault)) || !isSettled()) return;
    this.#wasWhole = true;
    this.#lost.clear();
  }

  /** What the others lack does not matter: one of a majority is left that has it. */
  mayLose(node: SimulatedNode): boolean {
    if (!this.#wasWhole || this.#damaged.has(node) || this.#lost.has(node)) return false;
    return this.#damaged.size + this.#lost.size < minorityOf(this.#options.plan);
  }

  /** Nothing is lost yet, so that anybody's store may be. */
  mayLoseAny(): boolean {
    return this.#wasWhole && this.#damaged.size + this.#lost.size === 0 && minorityOf(this.#options.plan) > 0;
  }

  lost(node: SimulatedNode): void {
    this.#lost.add(node);
  }

  /** Whose disk shall lie: this node's, if one more may; otherwise that of one that lied before. Undefined: nobody's. */
  victim(node: SimulatedNode): SimulatedNode | undefined {
    if (this.mayLose(node)) this.#damaged.add(node);
    return this.#damaged.has(node) ? node : [...this.#damaged][0];
  }
}
