/**
 * What a broker says about itself over HTTP:
 *
 *     /metrics   Prometheus
 *     /healthz   200: the process lives and its event loop turns
 *     /readyz    200: it serves: metadata known, registered, every group of its own has a leader that counts it as in sync; else 503 and the reason
 *     /status    JSON: {nodeId, clusterId, leaders, ready, reason}
 *     /scrub     JSON: {pass, isRunning, rows}: the last search for damage in partition files, or the one that runs
 *     /scrub/now begins one at full speed; answers when it is complete, as /scrub does
 */
import type { RaftGroups } from '../raft/raft-group.ts';
import { METADATA_GROUP_ID } from '../std/brands.ts';
import type { HttpReply } from '../std/http.ts';
import type { Cluster } from './cluster/cluster.ts';

export interface Scrubs {
  readonly report: object;
  /** Resolves at the end. */
  scrubNow(): Promise<object>;
}

export interface AdminHttpOptions {
  readonly cluster: Cluster;
  readonly groups: RaftGroups;
  /** False before the start is complete and from the begin of a graceful stop. */
  isServing(): boolean;
  scrub(): Scrubs | undefined;
  /** Text in Prometheus's exposition format. */
  metrics(): Promise<string>;
  readonly metricsContentType: string;
}

export class AdminHttp {
  readonly #options: AdminHttpOptions;

  constructor(options: AdminHttpOptions) {
    this.#options = options;
  }

  async answer(path: string): Promise<HttpReply> {
    switch (path) {
      case '/metrics':
        return { status: 200, contentType: this.#options.metricsContentType, body: await this.#options.metrics() };
      case '/healthz':
        return plain(200, 'ok');
      case '/readyz': {
        const reason = this.reasonNotReady();
        return reason === undefined ? plain(200, 'ready') : plain(503, reason);
      }
      case '/status':
        return json(this.#status());
      case '/scrub':
      case '/scrub/now': {
        const scrub = this.#options.scrub();
        if (scrub === undefined) return plain(503, 'It is starting');
        return json(path === '/scrub/now' ? await scrub.scrubNow() : scrub.report);
      }
      default:
        return plain(404, 'Served are /metrics, /healthz, /readyz, /status and /scrub');
    }
  }

  /** Undefined when this broker serves everything it should. */
  reasonNotReady(): string | undefined {
    const { cluster, groups } = this.#options;
    if (!this.#options.isServing()) return 'It is starting or stopping';
    if (!cluster.image.brokers.has(cluster.brokerId)) return 'It is not registered in the cluster yet';
    for (const group of groups.all()) {
      const { groupId, membership } = group;
      const isVoter = membership.voters.some((voter) => voter.brokerId === cluster.brokerId);
      if (group.role === 'leader' && group.isReady) continue;
      const what = groupId === METADATA_GROUP_ID ? 'The metadata group' : `Group ${groupId}`;
      const announced = groups.leaderOf(groupId);
      if (announced === undefined) return `${what} has no known leader`;
      if (isVoter && !announced.inSync.includes(cluster.brokerId)) return `${what} is not caught up here`;
      // Until it votes it replaces nobody: whoever replaces disks one by one has to wait for it. Metadata has learners for life.
      const isLearner = membership.learners.some((learner) => learner.brokerId === cluster.brokerId);
      if (isLearner && groupId !== METADATA_GROUP_ID) return `${what} is still being filled here`;
    }
    return undefined;
  }

  #status(): object {
    const { cluster, groups } = this.#options;
    const reason = this.reasonNotReady();
    let leaders = 0;
    for (const { role } of groups.all()) if (role === 'leader') leaders++;
    return {
      nodeId: cluster.brokerId,
      clusterId: cluster.image.clusterId,
      controllerId: cluster.controllerId ?? null,
      liveBrokers: cluster.liveBrokers(),
      leaders,
      ready: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
    };
  }
}

function json(content: object): HttpReply {
  return { status: 200, contentType: 'application/json', body: `${JSON.stringify(content)}\n` };
}

function plain(status: number, sentence: string): HttpReply {
  return { status, contentType: 'text/plain', body: `${sentence}\n` };
}
