/** Which store may speak as a broker (DECISIONS I1), for the transport's handshake. */
import type { BrokerId } from '../../std/brands.ts';
import type { MetadataState } from './metadata-state.ts';

/**
 * Why a peer of the right cluster must be refused; undefined if it may speak. `liveStoreOf`: store of the live link to a broker, if there is one.
 *
 * A new store under an old broker id is let in, but only to register: then its replicas get new ids, so it can never speak for those that were lost. A store that was replaced stays out, and so does
 * a second process under the id of a broker that lives.
 */
export function refuseStore(
  image: Pick<MetadataState, 'retiredStores'>,
  peer: { readonly brokerId: BrokerId; readonly storeId: string },
  liveStoreOf: (broker: BrokerId) => string | undefined,
): string | undefined {
  if (image.retiredStores.has(peer.storeId)) {
    return `store ${peer.storeId} of broker ${peer.brokerId} was replaced by another one and is not part of the cluster any more`;
  }
  const live = liveStoreOf(peer.brokerId);
  if (live === undefined || live === peer.storeId) return undefined;
  return `broker ${peer.brokerId} is live with store ${live}: two brokers must not have the same node.id`;
}
