/** How a group agrees on an assignor: a pure vote over what its members support. */

export interface Protocol {
  readonly name: string;
  readonly metadata: Uint8Array;
}

/** Names that every member supports, in the first member's order of preference. */
export function commonProtocols(members: readonly { readonly protocols: readonly Protocol[] }[]): string[] {
  const [first, ...others] = members;
  if (first === undefined) return [];
  return first.protocols
    .map(({ name }) => name)
    .filter((name) => others.every(({ protocols }) => protocols.some((protocol) => protocol.name === name)));
}

/**
 * The protocol of the next generation: each member votes for the first of its protocols that all support; most votes win, ties go to the name that was voted for first.
 * Undefined if the members have none in common.
 */
export function selectProtocol(members: readonly { readonly protocols: readonly Protocol[] }[]): string | undefined {
  const candidates = new Set(commonProtocols(members));
  const votes = new Map<string, number>();
  for (const { protocols } of members) {
    const choice = protocols.find(({ name }) => candidates.has(name));
    if (choice !== undefined) votes.set(choice.name, (votes.get(choice.name) ?? 0) + 1);
  }
  let winner: string | undefined;
  for (const [name, count] of votes) {
    if (winner === undefined || count > votes.get(winner)!) winner = name;
  }
  return winner;
}

/** Same names with the same metadata in the same order: a member that rejoins so changes nothing. */
export function sameProtocols(a: readonly Protocol[], b: readonly Protocol[]): boolean {
  return (
    a.length === b.length &&
    a.every((protocol, i) => {
      const other = b[i]!;
      return protocol.name === other.name && Buffer.compare(protocol.metadata, other.metadata) === 0;
    })
  );
}
