import { describe, expect, it } from 'vitest';
import { ErrorCode, errorName, isRetriable } from './error-codes.ts';

describe('ErrorCode', () => {
  it('has one name for each of the consecutive codes', () => {
    const codes = Object.values(ErrorCode).sort((left, right) => left - right);
    expect(codes).toEqual(Array.from({ length: codes.length }, (_, at) => at - 1));
  });

  it('names codes and tells which ones clients repeat', () => {
    expect(errorName(6)).toBe('NOT_LEADER_OR_FOLLOWER');
    expect(errorName(-1)).toBe('UNKNOWN_SERVER_ERROR');
    expect(errorName(4711)).toBe('UNKNOWN_4711');
    expect(isRetriable(ErrorCode.NOT_LEADER_OR_FOLLOWER)).toBe(true);
    expect(isRetriable(ErrorCode.MESSAGE_TOO_LARGE)).toBe(false);
  });
});
