/** Which seeds run, and what is done with each: the same for every scenario. */
export interface RunRange {
  readonly first: number;
  /** Infinity with `minutes`. */
  readonly last: number;
  readonly minutes: number | undefined;
  readonly trace: boolean;
  /** Every so many seeds one is run a second time and must do exactly the same. */
  readonly repeatEvery: number;
  readonly keepGoing: boolean;
}
