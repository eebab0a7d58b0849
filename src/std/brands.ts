/**
 * Numbers that must not be mixed. A log index counts Raft entries of one group, an offset counts Kafka records of one
 * partition; adding one to the other is the bug of this field. All are safe integers.
 */
declare const brand: unique symbol;
type Brand<Name extends string> = number & { readonly [brand]: Name };

/** Position of an entry in one group's Raft log; the first entry has index 1, 0 means "before the log". */
export type LogIndex = Brand<'LogIndex'>;
/** Raft term; 0 before the first election. Equals Kafka's leader epoch. */
export type Term = Brand<'Term'>;
/** Position of a record in one partition; the first record has offset 0. */
export type Offset = Brand<'Offset'>;
/** Position in the order of all frames of one broker's WAL; the first frame has LSN 1. */
export type Lsn = Brand<'Lsn'>;

/** A broker's `node.id`. */
export type BrokerId = Brand<'BrokerId'>;
/** One placement of one replica of one group on one store; given out by metadata, never reused (DECISIONS I3). */
export type ReplicaId = Brand<'ReplicaId'>;
/** A Raft group: 0 is cluster metadata, every partition has its own; given out by metadata, never reused. */
export type GroupId = Brand<'GroupId'>;

export const logIndex = (value: number): LogIndex => value as LogIndex;
export const term = (value: number): Term => value as Term;
export const offset = (value: number): Offset => value as Offset;
export const lsn = (value: number): Lsn => value as Lsn;
export const brokerId = (value: number): BrokerId => value as BrokerId;
export const replicaId = (value: number): ReplicaId => value as ReplicaId;
export const groupId = (value: number): GroupId => value as GroupId;

/** The group that holds cluster metadata. */
export const METADATA_GROUP_ID = groupId(0);
