/** Memory that a broker holds for others, by what it is for, with the limit that its keeper goes by; what was under way when a limit was met may come on top. */
export interface MemoryPool {
  readonly name: MemoryPoolName;
  readonly usedBytes: number;
  readonly limitBytes: number;
}

/**
 * requests: being read or served. responses: not sent yet. proposed: not applied yet. received: from leaders elsewhere, not flushed yet. tail: newest records, and what waits for partition files. entries: recent
 * entries of the WAL.
 */
export type MemoryPoolName = 'requests' | 'responses' | 'proposed' | 'received' | 'tail' | 'entries';
