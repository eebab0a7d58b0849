/** One Kafka API: its key, its versions and its two messages. Handlers are registered by it and typed by it. */
import { Message } from './codec.ts';
import { type Decoded, type Encodable, type Fields, parseVersions, type VersionRange } from './schema.ts';

export interface Api<Request extends Fields = Fields, Response extends Fields = Fields> {
  readonly key: number;
  /** Kafka's name, e.g. `ListOffsets`. */
  readonly name: string;
  /** Versions that can be decoded and answered. */
  readonly versions: VersionRange;
  /** Versions that ApiVersions names; differs from `versions` for Produce only. */
  readonly advertised: VersionRange;
  readonly request: Message<Request>;
  readonly response: Message<Response>;
}

/** An API of any shape, for tables of APIs. */
export type AnyApi = Pick<Api, 'key' | 'name' | 'versions' | 'advertised'> & {
  readonly request: Pick<Message<Fields>, 'name' | 'versions' | 'isFlexible'>;
  readonly response: Pick<Message<Fields>, 'name' | 'versions' | 'isFlexible'>;
};

/** The decoded request, as a handler gets it. */
export type RequestOf<A> = A extends Api<infer Request, Fields> ? Decoded<Request> : never;
/** The response, as a handler gives it. */
export type ResponseOf<A> = A extends Api<Fields, infer Response> ? Encodable<Response> : never;
/** The response as a client decodes it. */
export type DecodedResponseOf<A> = A extends Api<Fields, infer Response> ? Decoded<Response> : never;
/** The request as a client gives it. */
export type EncodableRequestOf<A> = A extends Api<infer Request, Fields> ? Encodable<Request> : never;

interface ApiDefinition<Request extends Fields, Response extends Fields> {
  readonly key: number;
  readonly name: string;
  readonly versions: string;
  readonly advertised?: string;
  /** First flexible version, as a range; absent if the API never became flexible. */
  readonly flexible?: string;
  readonly request: Request;
  readonly response: Response;
}

export function defineApi<const Request extends Fields, const Response extends Fields>(
  definition: ApiDefinition<Request, Response>,
): Api<Request, Response> {
  const { key, name } = definition;
  const versions = parseVersions(definition.versions);
  const flexible = definition.flexible === undefined ? { min: 1, max: 0 } : parseVersions(definition.flexible);
  return {
    key,
    name,
    versions,
    advertised: definition.advertised === undefined ? versions : parseVersions(definition.advertised),
    request: new Message(`${name}Request`, versions, flexible, definition.request),
    response: new Message(`${name}Response`, versions, flexible, definition.response),
  };
}
