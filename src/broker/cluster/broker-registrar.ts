/**
 * Makes this broker known: registers its store and endpoints with the metadata group whenever the image says otherwise, and gives a broker that is not among the first voters its replica of the
 * metadata group.
 */

import type { Membership } from '../../raft/core/types.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import { METADATA_GROUP_ID, type ReplicaId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import { type ChangeClient, SERVICE } from './change-client.ts';
import { decodeMessage, encodeMessage } from './metadata-change.ts';
import type { BrokerEndpoints } from './metadata-command.ts';
import type { BrokerRegistration } from './metadata-image.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import { encodeReplicaDescriptor } from './replica-descriptor.ts';

const TIMEOUT_MS = 5_000;
const INTERVAL_MS = 250;

/** Another store took this broker's place: this one never counts again (DECISIONS I1). */
export class StoreReplacedError extends Error {
  override name = 'StoreReplacedError';
}

export interface BrokerRegistrarOptions {
  readonly broker: BrokerEndpoints;
  readonly groups: RaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly changes: ChangeClient;
  readonly timers: Timers;
  /** With a {@link StoreReplacedError}, or because something broke: the broker stops. */
  fail(error: unknown): void;
}

export class BrokerRegistrar {
  readonly task: BackgroundTask;
  readonly #options: BrokerRegistrarOptions;

  constructor(options: BrokerRegistrarOptions) {
    this.#options = options;
    const { groups, timers } = options;
    this.task = new BackgroundTask({
      timers,
      intervalMs: INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
    groups.serve(SERVICE.membership, () => {
      const group = groups.get(METADATA_GROUP_ID);
      const membership = group?.role === 'leader' ? group.membership : null;
      return Promise.resolve(encodeMessage({ membership }));
    });
  }

  /** The image has this broker as it is. */
  get isRegistered(): boolean {
    const { broker, stateMachine } = this.#options;
    const known = stateMachine.image.brokers.get(broker.brokerId);
    return known !== undefined && sameEndpoints(known, broker);
  }

  async #run(): Promise<void> {
    const { broker, groups, stateMachine, changes } = this.#options;
    if (stateMachine.image.retiredStores.has(broker.storeId)) throw this.#replaced();
    const hasReplica = groups.get(METADATA_GROUP_ID) !== undefined;
    if (hasReplica && this.isRegistered) return;
    const executed = await changes.execute<'registerBroker'>({ kind: 'registerBroker', broker }, TIMEOUT_MS);
    if (executed.kind === 'timedOut') return;
    const { metadataReplicaId } = executed.result;
    if (metadataReplicaId === undefined) throw this.#replaced();
    if (!hasReplica) await this.#join(metadataReplicaId);
  }

  #replaced(): StoreReplacedError {
    const { brokerId, storeId } = this.#options.broker;
    return new StoreReplacedError(
      `Store ${storeId} was replaced by another store of broker ${brokerId}. Its data is not part of the cluster any more; start the broker with an empty directory`,
    );
  }

  /** Creates the local replica once the leader's configuration has it: from then on the log comes by itself. */
  async #join(replicaId: ReplicaId): Promise<void> {
    const { groups, changes, brokerId } = { ...this.#options, brokerId: this.#options.broker.brokerId };
    const { leader } = changes;
    if (leader === undefined || leader === brokerId) return;
    let membership: Membership | null;
    try {
      const payload = await groups.request(leader, SERVICE.membership, encodeMessage({}), TIMEOUT_MS);
      membership = decodeMessage<{ membership: Membership | null }>(payload).membership;
    } catch {
      // The leader died or the link broke: the next run asks whoever leads then.
      return;
    }
    const isMember = membership?.learners.concat(membership.voters).some((member) => member.replicaId === replicaId);
    if (membership === null || isMember !== true) return;
    groups.create({
      groupId: METADATA_GROUP_ID,
      replicaId,
      membership,
      descriptor: encodeReplicaDescriptor({ kind: 'metadata' }),
    });
  }
}

function sameEndpoints(known: BrokerRegistration, broker: BrokerEndpoints): boolean {
  return (
    known.storeId === broker.storeId &&
    known.host === broker.host &&
    known.port === broker.port &&
    known.raftHost === broker.raftHost &&
    known.raftPort === broker.raftPort &&
    known.rack === broker.rack
  );
}
