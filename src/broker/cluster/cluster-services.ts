/**
 * The cluster part of one broker, put together: what handlers use ({@link ClusterController}) and what runs beside them (registration, membership of the metadata group, reassignment, leader
 * balance, cluster time, removals).
 */

import type { RaftGroup, RaftGroups } from '../../raft/raft-group.ts';
import type { Clock, Random, Timers } from '../../std/environment.ts';
import type { Log } from '../../std/log.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import type { BackgroundTask } from './background-task.ts';
import { BrokerRegistrar } from './broker-registrar.ts';
import type { ClusterDefaults } from './change-executor.ts';
import { ClusterClock } from './cluster-clock.ts';
import { ClusterController } from './cluster-controller.ts';
import { LeaderBalancer } from './leader-balancer.ts';
import type { BrokerEndpoints } from './metadata-command.ts';
import type { MetadataImage, TopicImage } from './metadata-image.ts';
import { metadataMembershipTask } from './metadata-membership.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import { PartitionRegistry } from './partition-registry.ts';
import { Reassignment } from './reassignment.ts';
import { RemovalReporter } from './removal-reporter.ts';
import { type DamagedReplica, ReplicaReplacement } from './replica-replacement.ts';

export interface ClusterServicesOptions {
  /** This broker as it shall be registered. */
  readonly broker: BrokerEndpoints;
  readonly groups: RaftGroups;
  /** The one that the driver's factory gives for the metadata group. */
  readonly stateMachine: MetadataStateMachine;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly defaults: ClusterDefaults;
  /** See PartitionRegistryOptions. */
  openPartition(group: RaftGroup, topic: TopicImage, partition: number): PartitionLog;
  configure?(partition: PartitionLog, topic: TopicImage): void;
  closePartition?(partition: PartitionLog): void;
  /** Whether anything in the image is deleted by time. */
  needsClusterTime(image: MetadataImage): boolean;
  readonly log: Log;
  /** Replicas of this broker that lost something; those that may have lost a vote are replaced. */
  damagedReplicas(): readonly DamagedReplica[];
  /** Something broke, or another store took this broker's place: the broker stops. */
  fail(error: unknown): void;
}

export class ClusterServices {
  readonly controller: ClusterController;
  readonly registry: PartitionRegistry;
  readonly registrar: BrokerRegistrar;
  readonly replacement: ReplicaReplacement;
  readonly #tasks: readonly BackgroundTask[];

  constructor(options: ClusterServicesOptions) {
    const { broker, groups, stateMachine, clock, timers, random, defaults } = options;
    const { brokerId, storeId } = broker;
    const fail = (error: unknown): void => options.fail(error);
    this.registry = new PartitionRegistry({
      brokerId,
      storeId,
      groups,
      timers,
      openPartition: (group, topic, partition) => options.openPartition(group, topic, partition),
      configure: (partition, topic) => options.configure?.(partition, topic),
      closePartition: (partition) => options.closePartition?.(partition),
      onRemoved: (replicaIds) => removals.report(replicaIds),
      fail,
    });
    const { registry } = this;
    this.controller = new ClusterController({
      brokerId,
      groups,
      stateMachine,
      registry,
      clock,
      timers,
      random,
      defaults,
    });
    const { changes } = this.controller;
    const removals = new RemovalReporter({ changes, stateMachine, timers, fail });
    const reassignment = new Reassignment({ registry, stateMachine, changes, timers, fail });
    const membership = metadataMembershipTask({ groups, stateMachine, timers, fail });
    const balancer = new LeaderBalancer({ brokerId, groups, registry, stateMachine, clock, timers, fail });
    const clusterClock = new ClusterClock({
      brokerId,
      groups,
      stateMachine,
      changes,
      clock,
      timers,
      isNeeded: (image) => options.needsClusterTime(image),
      liveBrokers: () => this.controller.liveBrokers(),
      fail,
    });
    this.registrar = new BrokerRegistrar({ broker, groups, stateMachine, changes, timers, fail });
    this.replacement = new ReplicaReplacement({
      brokerId,
      storeId,
      groups,
      stateMachine,
      changes,
      timers,
      log: options.log,
      damagedReplicas: () => options.damagedReplicas(),
      fail,
    });
    this.#tasks = [
      this.replacement.task,
      this.registrar.task,
      removals.task,
      membership,
      reassignment.task,
      balancer.task,
      clusterClock.task,
    ];
    let brokers = stateMachine.image.brokers;
    let topics = stateMachine.image.topics;
    stateMachine.onImageChanged((image) => {
      if (image.brokers !== brokers) membership.trigger();
      if (image.topics !== topics || image.brokers !== brokers) reassignment.task.trigger();
      ({ brokers, topics } = image);
    });
  }

  /** Called once the local replicas were recovered and the transport runs. */
  start(): void {
    this.controller.start();
    for (const task of this.#tasks) task.start();
  }

  stop(): void {
    for (const task of this.#tasks) task.stop();
    this.registry.close();
    this.controller.close();
  }
}
