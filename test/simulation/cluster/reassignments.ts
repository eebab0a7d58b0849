/** What an operator asks for in the middle of it all: partitions on other brokers, or in another order of preference. */
import { encodeMetadataCommand } from '../../../src/broker/cluster/metadata-command.ts';
import { METADATA_GROUP_ID } from '../../../src/std/brands.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import { imageOf } from './node-image.ts';
import type { SimulatedNode } from './simulated-node.ts';

/** Gives a partition another target through whoever leads the metadata group. False if nobody does, or nothing can be moved. */
export function reassign(nodes: readonly SimulatedNode[], random: SeededRandom, log: (line: string) => void): boolean {
  const controller = nodes.find(({ driver }) => driver?.get(METADATA_GROUP_ID)?.role === 'leader');
  const image = controller === undefined ? undefined : imageOf(controller);
  const group = controller?.driver?.get(METADATA_GROUP_ID);
  if (image === undefined || group?.isReady !== true || image.topics.size === 0) return false;
  const topic = random.pick([...image.topics.values()]);
  const placement = random.pick(topic.partitions);
  const held = placement.replicas.map(({ brokerId }) => brokerId);
  const others = [...image.brokers.keys()].filter((brokerId) => !held.includes(brokerId));
  // One that was moved away comes back often: to a broker that is not rid of what it had.
  const target = random.shuffle(held);
  if (others.length > 0) target[random.below(target.length)] = random.pick(others);
  log(`${topic.name}/${placement.partition} shall move from ${held} to ${target}`);
  const partitions = [
    { topicId: topic.topicId, partition: placement.partition, version: placement.version, brokerIds: target },
  ];
  group.propose(encodeMetadataCommand({ kind: 'setReplicas', partitions }), () => undefined);
  return true;
}
