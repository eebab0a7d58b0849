/**
 * Request and response headers, and whole messages with them.
 *
 *     request v1:  apiKey int16, apiVersion int16, correlationId int32, clientId nullable string (int16 length)
 *     request v2:  the same, then tagged fields; the client id keeps its int16 length
 *     response v0: correlationId int32
 *     response v1: the same, then tagged fields (always none: some clients skip exactly one byte)
 *
 * A flexible version of an API uses v2 and v1, any other v1 and v0. ApiVersions responses always have header v0, because
 * whoever reads them does not know yet which versions we speak.
 */
import type { AnyApi, Api, DecodedResponseOf, EncodableRequestOf, RequestOf, ResponseOf } from './api.ts';
import { ApiKey } from './api-keys.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import type { Message } from './codec.ts';
import { ProtocolError } from './protocol-error.ts';
import type { Decoded, Encodable, Fields } from './schema.ts';

/** The part of a request header that has the same form in every version of every API. */
export interface RequestPrefix {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
}

export interface RequestHeader extends RequestPrefix {
  readonly clientId: string | null;
}

export interface DecodedRequest<Body> {
  readonly header: RequestHeader;
  readonly body: Body;
}

const SIZE_BYTES = 4;

/** First look at a request, before it is known whether its API and version are served. Throws {@link ProtocolError}. */
export function decodeRequestPrefix(frame: Uint8Array): RequestPrefix {
  return readPrefix(new ByteReader(frame));
}

/**
 * Decodes a request (without its size) whose key is `api`'s and whose version is in `api.versions`: the caller has checked
 * both by {@link decodeRequestPrefix}. Byte fields of the body are views on `frame`. Throws {@link ProtocolError}.
 */
export function decodeRequest<A extends AnyApi>(api: A, frame: Uint8Array): DecodedRequest<RequestOf<A>> {
  const { request } = api as unknown as Api;
  const reader = new ByteReader(frame);
  const prefix = readPrefix(reader);
  const length = reader.stringLength();
  const clientId = length === -1 ? null : reader.utf8(length);
  if (request.isFlexible(prefix.apiVersion)) reader.skipTaggedFields();
  const body = request.read(reader, prefix.apiVersion) as RequestOf<A>;
  return { header: { ...prefix, clientId }, body };
}

/**
 * Encodes a response with its size in front, ready for the socket: write the buffers in order. Large byte strings of `body`
 * are referenced and must not change until they are sent.
 */
export function encodeResponse<A extends AnyApi>(
  api: A,
  version: number,
  correlationId: number,
  body: ResponseOf<A>,
): Uint8Array[] {
  const { key, response } = api as unknown as Api;
  return encodeFrame(response, body as Encodable<Fields>, version, (writer) => {
    writer.int32(correlationId);
    if (hasTaggedResponseHeader(key, response.isFlexible(version))) writer.uvarint(0);
  });
}

/** Encodes a request with its size in front; for clients of our own. */
export function encodeRequest<A extends AnyApi>(
  api: A,
  version: number,
  header: Pick<RequestHeader, 'correlationId' | 'clientId'>,
  body: EncodableRequestOf<A>,
): Uint8Array[] {
  const { key, request } = api as unknown as Api;
  return encodeFrame(request, body as Encodable<Fields>, version, (writer) => {
    writer.int16(key);
    writer.int16(version);
    writer.int32(header.correlationId);
    if (header.clientId === null) writer.int16(-1);
    else writer.string(header.clientId);
    if (request.isFlexible(version)) writer.uvarint(0);
  });
}

/** The correlation id of a response (without its size), by which a client finds the request it belongs to. */
export function decodeCorrelationId(frame: Uint8Array): number {
  return new ByteReader(frame).int32();
}

/** Decodes a response (without its size) to a request that was sent with `version`. Throws {@link ProtocolError}. */
export function decodeResponse<A extends AnyApi>(
  api: A,
  version: number,
  frame: Uint8Array,
): { readonly correlationId: number; readonly body: DecodedResponseOf<A> } {
  const { key, response } = api as unknown as Api;
  const reader = new ByteReader(frame);
  const correlationId = reader.int32();
  if (hasTaggedResponseHeader(key, response.isFlexible(version))) reader.skipTaggedFields();
  const body: Decoded<Fields> = response.read(reader, version);
  if (reader.remaining !== 0) throw new ProtocolError(`${reader.remaining} bytes behind the response`);
  return { correlationId, body: body as DecodedResponseOf<A> };
}

function readPrefix(reader: ByteReader): RequestPrefix {
  return { apiKey: reader.int16(), apiVersion: reader.int16(), correlationId: reader.int32() };
}

function hasTaggedResponseHeader(apiKey: number, flexible: boolean): boolean {
  return flexible && apiKey !== ApiKey.ApiVersions;
}

function encodeFrame(
  message: Message<Fields>,
  body: Encodable<Fields>,
  version: number,
  writeHeader: (writer: ByteWriter) => void,
): Uint8Array[] {
  const writer = new ByteWriter();
  writer.int32(0);
  writeHeader(writer);
  message.write(writer, body, version);
  const sizeBytes = writer.sizeBytes - SIZE_BYTES;
  const chunks = writer.finish();
  const first = chunks[0]!;
  new DataView(first.buffer, first.byteOffset).setInt32(0, sizeBytes);
  return chunks;
}
