/** What members of `consumer` groups subscribe to. The coordinator reads it for two questions only and never changes it: members' metadata is their own business. */
import { consumerProtocolSubscription, decodeVersioned } from '../../kafka-protocol/coordinator-records.ts';
import { ProtocolError } from '../../kafka-protocol/protocol-error.ts';

export const CONSUMER_PROTOCOL_TYPE = 'consumer';

/** Undefined if the bytes are no consumer's subscription. */
export function subscribedTopics(metadata: Uint8Array): readonly string[] | undefined {
  try {
    return decodeVersioned(consumerProtocolSubscription, metadata).topics;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

/** Same topics in any order. What else is in there (owned partitions, generation, user data) differs after every restart of a member and is no other subscription. */
export function isSameSubscription(a: Uint8Array, b: Uint8Array): boolean {
  const [topicsA, topicsB] = [subscribedTopics(a), subscribedTopics(b)];
  if (topicsA === undefined || topicsB === undefined) return Buffer.compare(a, b) === 0;
  const [setA, setB] = [new Set(topicsA), new Set(topicsB)];
  return setA.size === setB.size && topicsA.every((topic) => setB.has(topic));
}
