/** What a broker of a simulated cluster knows of the cluster. */
import { MetadataStateMachine } from '../../../src/broker/cluster/metadata-state-machine.ts';
import { METADATA_GROUP_ID } from '../../../src/std/brands.ts';
import type { SimulatedNode } from './simulated-node.ts';

/** Undefined unless its process runs and has the metadata group. */
export function imageOf(node: SimulatedNode): MetadataStateMachine['image'] | undefined {
  const machine = node.driver?.get(METADATA_GROUP_ID)?.stateMachine;
  return machine instanceof MetadataStateMachine ? machine.image : undefined;
}
