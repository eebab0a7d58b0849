/** Owns formation's questions and answers as gRPC calls: presence ↔ protobuf, wrong addresses, unknown versions. */
import { create } from '@bufbuild/protobuf';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { fromHex, toHex } from '../../std/hex.ts';
import type { VoterAddress } from '../identity/cluster-identity.ts';
import type { ClusterFormation, FormationNetwork, Presence } from '../identity/formation.ts';
import { IdentityError } from '../identity/identity-error.ts';
import { PROTOCOL_VERSION } from './handshake.ts';
import {
  HelloRequestSchema,
  HelloResponseSchema,
  type Presence as PresenceMessage,
  PresenceSchema,
  VoterSchema,
} from './peer_pb.ts';
import { HelloRefusedError, type PeerEndpoint } from './peer-endpoint.ts';
import { type ProbeResult, probePort } from './probe.ts';

const ASK_TIMEOUT_MS = 1_000;
const STORE_ID_BYTES = 16;
const VOTERS_MAX = 64;
const HOST_LENGTH_MAX = 255;

/** Formation's network over the Raft port. */
export function formationNetwork(endpoint: PeerEndpoint, timers: Timers): FormationNetwork {
  return {
    async ask(voter: VoterAddress, presence: Presence): Promise<Presence> {
      // Costs a hundredth of what gRPC needs to find out the same, at a time when every broker is busy starting.
      const result = await new Promise<ProbeResult>((resolve) => probePort(voter, timers, ASK_TIMEOUT_MS, resolve));
      if (result !== 'listening') throw new Error(`The port of voter ${voter.brokerId} is ${result}`);
      const request = create(HelloRequestSchema, {
        presence: encodePresence(presence),
        targetBrokerId: voter.brokerId,
      });
      try {
        const response = await endpoint.hello(voter, request, ASK_TIMEOUT_MS);
        return decodePresence(response.presence);
      } catch (error) {
        if (error instanceof HelloRefusedError) throw new IdentityError(error.message);
        throw error;
      }
    },
  };
}

/** Lets the Raft port answer for `formation`, for as long as the broker lives. `onHello` hears of everybody that asks. */
export function answerHello(
  endpoint: PeerEndpoint,
  own: BrokerId,
  formation: ClusterFormation,
  onHello: (presence: Presence) => void = () => {},
): void {
  endpoint.onHello = (request) => {
    const presence = decodePresence(request.presence);
    if (request.targetBrokerId !== own) {
      throw new HelloRefusedError(
        `Broker ${presence.brokerId} looks for broker ${request.targetBrokerId} at an address where broker ${own} is`,
      );
    }
    formation.heard(presence);
    onHello(presence);
    return create(HelloResponseSchema, { presence: encodePresence(formation.presence()) });
  };
}

function encodePresence(presence: Presence): PresenceMessage {
  const voters = presence.cluster?.initialVoters ?? [];
  return create(PresenceSchema, {
    versionMin: PROTOCOL_VERSION.min,
    versionMax: PROTOCOL_VERSION.max,
    brokerId: presence.brokerId,
    storeId: fromHex(presence.storeId),
    clusterId: presence.cluster?.clusterId ?? '',
    initialVoters: voters.map((voter) =>
      create(VoterSchema, {
        brokerId: voter.brokerId,
        storeId: fromHex(voter.storeId),
        host: voter.host,
        port: voter.port,
      }),
    ),
    votersDigest: presence.votersDigest,
    candidateClusterId: presence.candidateClusterId,
    raftHost: presence.address?.host ?? '',
    raftPort: presence.address?.port ?? 0,
  });
}

/** Throws a {@link HelloRefusedError} on what no broker of a known version says. */
function decodePresence(message: PresenceMessage | undefined): Presence {
  if (message === undefined) throw new HelloRefusedError('The peer does not say who it is');
  if (message.versionMin > PROTOCOL_VERSION.max || message.versionMax < PROTOCOL_VERSION.min) {
    throw new HelloRefusedError(
      `Peer protocol versions do not overlap: ${message.versionMin} to ${message.versionMax} against ${PROTOCOL_VERSION.min} to ${PROTOCOL_VERSION.max}`,
    );
  }
  const voters = message.initialVoters;
  const shapely =
    message.storeId.length === STORE_ID_BYTES &&
    voters.length <= VOTERS_MAX &&
    message.raftHost.length <= HOST_LENGTH_MAX &&
    message.raftPort <= 65_535 &&
    voters.every((voter) => voter.storeId.length === STORE_ID_BYTES);
  if (!shapely) throw new HelloRefusedError('The peer describes itself with a field of a wrong size');
  return {
    brokerId: brokerId(message.brokerId),
    storeId: toHex(message.storeId),
    cluster:
      message.clusterId === ''
        ? undefined
        : {
            clusterId: message.clusterId,
            initialVoters: voters.map((voter) => ({
              brokerId: brokerId(voter.brokerId),
              storeId: toHex(voter.storeId),
              host: voter.host,
              port: voter.port,
            })),
          },
    votersDigest: message.votersDigest,
    candidateClusterId: message.candidateClusterId,
    ...(message.raftHost === '' ? {} : { address: { host: message.raftHost, port: message.raftPort } }),
  };
}
