import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PersistentMap } from './persistent-map.ts';

const keys = fc.constantFrom(...Array.from({ length: 40 }, (_, i) => `topic-${i}`));
const steps = fc.array(fc.record({ set: fc.array(fc.tuple(keys, fc.integer())), remove: fc.array(keys) }));

describe('PersistentMap', () => {
  test('behaves like a Map, and every earlier version stays as it was', () => {
    fc.assert(
      fc.property(steps, (changes) => {
        let model = new Map<string, number>();
        let map = PersistentMap.empty<string, number>();
        const versions = [{ map, model }];
        for (const { set, remove } of changes) {
          model = new Map(model);
          for (const [key, value] of set) model.set(key, value);
          for (const key of remove) model.delete(key);
          map = map.withChanges(set, remove);
          versions.push({ map, model });
        }
        for (const version of versions) {
          expect(new Map(version.map)).toEqual(version.model);
          expect(version.map.size).toBe(version.model.size);
          for (const [key, value] of version.model) expect(version.map.get(key)).toBe(value);
          expect([...version.map.keys()].length).toBe(version.model.size);
        }
      }),
    );
  });

  test('changedSince() names exactly the keys that differ', () => {
    fc.assert(
      fc.property(steps, steps, (first, second) => {
        const apply = (map: PersistentMap<string, number>, changes: typeof first): PersistentMap<string, number> =>
          changes.reduce((current, { set, remove }) => current.withChanges(set, remove), map);
        const before = apply(PersistentMap.empty<string, number>(), first);
        const after = apply(before, second);
        const differing = new Set(
          [...before.keys(), ...after.keys()].filter((key) => before.get(key) !== after.get(key)),
        );
        const changed = [...after.changedSince(before)];
        expect(new Set(changed)).toEqual(differing);
        expect(changed.length).toBe(differing.size);
      }),
    );
  });

  test('keys that are numbers work too', () => {
    const map = PersistentMap.from(Array.from({ length: 1000 }, (_, i): [number, number] => [i * 7, i]));
    expect(map.size).toBe(1000);
    expect(map.get(693)).toBe(99);
    expect(map.withChanges([], [693]).has(693)).toBe(false);
  });
});
