/**
 * Finds the error codes in responses. Where they are follows from the schema of the message, so that no handler has to report what it answered.
 */
import type { AnyApi, Api } from '../../kafka-protocol/api.ts';
import type { Fields, FieldType } from '../../kafka-protocol/schema.ts';

/** Calls back for every field named errorCode of a response. */
export type VisitErrorCodes = (response: unknown, visit: (errorCode: number) => void) => void;

const VISITS_NOTHING: VisitErrorCodes = () => {};

export function errorCodeVisitor(api: AnyApi): VisitErrorCodes {
  return structVisitor((api as unknown as Api).response.fields) ?? VISITS_NOTHING;
}

function structVisitor(fields: Fields): VisitErrorCodes | undefined {
  const hasErrorCode = fields.errorCode !== undefined;
  const children: [string, VisitErrorCodes][] = [];
  for (const [name, { type }] of Object.entries(fields)) {
    const visitor = valueVisitor(type);
    if (visitor !== undefined) children.push([name, visitor]);
  }
  if (!hasErrorCode && children.length === 0) return undefined;
  return (value, visit) => {
    const struct = value as Readonly<Record<string, unknown>>;
    if (hasErrorCode) visit((struct.errorCode as number | undefined) ?? 0);
    for (const [name, visitor] of children) if (struct[name] !== undefined) visitor(struct[name], visit);
  };
}

function valueVisitor(type: FieldType): VisitErrorCodes | undefined {
  if (type.kind === 'struct') return structVisitor(type.fields);
  if (type.kind !== 'array') return undefined;
  const element = valueVisitor(type.element);
  if (element === undefined) return undefined;
  return (value, visit) => {
    if (value !== null) for (const item of value as readonly unknown[]) element(item, visit);
  };
}
