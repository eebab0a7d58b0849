/**
 * A change of metadata as a broker asks for it, and what comes back: the messages between the broker that a client talks to and the leader of the metadata group. Every change can be repeated
 * after its outcome got lost (leader died, link broke) without taking effect twice: topics are created under an id that the asking broker chose and deleted by id.
 */
import { assert } from '../../std/assert.ts';
import type { BrokerId, ReplicaId } from '../../std/brands.ts';
import type { ConfigChange, NewTopic, NewTopicOutcome, Outcome } from './cluster.ts';
import type { BrokerEndpoints } from './metadata-command.ts';
import type { Tombstone } from './metadata-image.ts';

export interface NewPartitions {
  readonly name: string;
  /** Partitions that the topic shall have then. */
  readonly count: number;
  readonly assignments: readonly (readonly number[])[] | null;
}

export type MetadataChange =
  | {
      readonly kind: 'createTopics';
      readonly topics: readonly (NewTopic & { readonly topicId: string })[];
      readonly validateOnly: boolean;
      /** Asked for by a broker itself: may create internal topics. */
      readonly isInternal: boolean;
    }
  | { readonly kind: 'deleteTopics'; readonly topicIds: readonly string[] }
  | { readonly kind: 'createPartitions'; readonly topics: readonly NewPartitions[]; readonly validateOnly: boolean }
  | { readonly kind: 'alterConfigs'; readonly changes: readonly ConfigChange[]; readonly validateOnly: boolean }
  | { readonly kind: 'allocateProducerIds'; readonly count: number }
  | { readonly kind: 'registerBroker'; readonly broker: BrokerEndpoints }
  | { readonly kind: 'replicasRemoved'; readonly replicaIds: readonly ReplicaId[] }
  | {
      readonly kind: 'setReplicas';
      readonly topicId: string;
      readonly partition: number;
      readonly version: number;
      readonly brokerIds: readonly BrokerId[];
    }
  | {
      readonly kind: 'replicasFinal';
      readonly partitions: readonly {
        readonly topicId: string;
        readonly partition: number;
        readonly version: number;
      }[];
    }
  | {
      readonly kind: 'replaceReplica';
      readonly topicId: string;
      readonly partition: number;
      readonly version: number;
      readonly replicaId: ReplicaId;
    }
  | { readonly kind: 'buryReplicas'; readonly replicas: readonly Tombstone[] }
  | { readonly kind: 'clusterTime'; readonly timeMs: number }
  | { readonly kind: 'featureLevel'; readonly level: number };

/** What the leader answers, by kind of change. */
export interface ChangeResults {
  createTopics: readonly NewTopicOutcome[];
  deleteTopics: readonly Outcome[];
  createPartitions: readonly Outcome[];
  alterConfigs: readonly Outcome[];
  allocateProducerIds: { readonly first: number; readonly count: number };
  /** Undefined: the store was replaced by another one and never counts again. */
  registerBroker: { readonly metadataReplicaId?: ReplicaId };
  replicasRemoved: readonly Outcome[];
  setReplicas: Outcome;
  replicasFinal: readonly Outcome[];
  replaceReplica: Outcome;
  buryReplicas: readonly Outcome[];
  clusterTime: Outcome;
  featureLevel: Outcome;
}

export type ChangeKind = MetadataChange['kind'];
export type ChangeOf<Kind extends ChangeKind> = Extract<MetadataChange, { kind: Kind }>;

export type ChangeReply<Kind extends ChangeKind = ChangeKind> =
  /** In effect; `index` is an applied index of the metadata group that has it. */
  | { readonly kind: 'done'; readonly index: number; readonly result: ChangeResults[Kind] }
  /** Nothing was written. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** May or may not be in effect: ask again with `isRepeat`. */
  | { readonly kind: 'unknown'; readonly reason: string };

export interface ChangeRequest {
  readonly change: MetadataChange;
  /** An earlier attempt may have taken effect. */
  readonly isRepeat: boolean;
  readonly timeoutMs: number;
}

/** Changes that may wait for their turn on the leader; more are refused, and asked for again by whoever wants them. */
export const CHANGES_QUEUED_MAX = 1000;

const MESSAGE_VERSION = 1;

/** Requests between brokers about metadata are rare and small: JSON, with a version in front. */
export function encodeMessage(message: object): Uint8Array {
  return Buffer.from(JSON.stringify({ version: MESSAGE_VERSION, message }));
}

/** The message that {@link encodeMessage} of a broker of this message version was given. Throws on anything else. */
export function decodeMessage<Message extends object>(payload: Uint8Array): Message {
  const envelope: unknown = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString());
  assert(typeof envelope === 'object' && envelope !== null && 'message' in envelope, 'A message has no content');
  assert('version' in envelope && envelope.version === MESSAGE_VERSION, 'A message has another version');
  return envelope.message as Message;
}
