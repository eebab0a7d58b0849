/** Which names a topic may have. */

const NAME_LENGTH_MAX = 249;

/** Letters, digits, `.`, `_` and `-`, at most 249, and not `.` or `..`. */
export function isTopicNameLegal(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && name !== '.' && name !== '..' && /^[a-zA-Z0-9._-]+$/.test(name);
}
