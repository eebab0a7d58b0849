/** Names and ids of topics: what is allowed, as Kafka has it. */
import type { Random } from '../../std/environment.ts';

const NAME_LENGTH_MAX = 249;
/** Topics that the brokers write themselves. */
const INTERNAL_TOPICS: ReadonlySet<string> = new Set(['__consumer_offsets', '__transaction_state']);

export function isInternalTopic(name: string): boolean {
  return INTERNAL_TOPICS.has(name);
}

/** What is wrong with a topic name; undefined if nothing. */
export function topicNameProblem(name: string): string | undefined {
  if (name.length === 0) return 'Topic name is illegal, it can not be empty';
  if (name === '.' || name === '..') return `Topic name can not be "${name}"`;
  if (name.length > NAME_LENGTH_MAX) {
    return `Topic name is illegal, it can not be longer than ${NAME_LENGTH_MAX} characters`;
  }
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) {
    return `Topic name "${name}" is illegal, it contains a character other than ASCII alphanumerics, '.', '_' and '-'`;
  }
  return undefined;
}

/** Two topics must not be equal in this form: metric names can not tell '.' from '_'. Undefined: the name can not collide. */
export function collisionForm(name: string): string | undefined {
  return /[._]/.test(name) ? name.replaceAll('.', '_') : undefined;
}

/** A random version 4 UUID in Kafka's base64url form, none of those that Kafka avoids (a leading '-' looks like an option on a command line). */
export function newTopicId(random: Random): string {
  for (;;) {
    const bytes = Buffer.from(random.bytes(16));
    bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
    const text = bytes.toString('base64url');
    if (!text.startsWith('-')) return text;
  }
}
