/** Owns the glue between the generated description of the peer service and grpc-js: paths, streaming flags, codecs. */
import { type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import type { MethodDefinition } from '@grpc/grpc-js';
import { decodeFrame, encodeFrame, type IncomingFrame, type OutgoingFrame } from './frame-codec.ts';
import { seal, unseal } from './message-checksum.ts';
import { type HelloRequest, HelloRequestSchema, type HelloResponse, HelloResponseSchema, Peer } from './peer_pb.ts';

export const HELLO_METHOD: MethodDefinition<HelloRequest, HelloResponse> = {
  ...shapeOf(Peer.method.hello),
  requestSerialize: serializer(HelloRequestSchema),
  requestDeserialize: (bytes) => fromBinary(HelloRequestSchema, unseal(bytes)),
  responseSerialize: serializer(HelloResponseSchema),
  responseDeserialize: (bytes) => fromBinary(HelloResponseSchema, unseal(bytes)),
};

/** What one side writes has another type than what the other reads, so the two directions are cast apart here. */
export const LINK_METHOD = {
  ...shapeOf(Peer.method.link),
  requestSerialize: encodeFrame,
  requestDeserialize: decodeFrame,
  responseSerialize: encodeFrame,
  responseDeserialize: decodeFrame,
};

export const PEER_SERVICE = {
  hello: HELLO_METHOD,
  link: LINK_METHOD as unknown as MethodDefinition<IncomingFrame, OutgoingFrame>,
};

function shapeOf(method: DescMethod): { path: string; requestStream: boolean; responseStream: boolean } {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
  };
}

function serializer<M extends Message>(schema: GenMessage<M>): (message: M) => Buffer {
  return (message) => seal(toBinary(schema, message));
}
