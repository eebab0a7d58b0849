import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { groupHandlers } from '../src/broker/handlers/group-handlers.ts';
import { createHandlers } from '../src/broker/handlers/handlers.ts';
import { ALL_APIS, apiName } from '../src/kafka-protocol/api-keys.ts';
import { FakeBroker } from './fakes/fake-broker.ts';

/** `| 0 | Produce | 0–11 | …` */
const ROW = /^\| (\d+) \| (\w+) \| (\d+)(?:–(\d+))? \|/;

test('docs/kafka-compatibility.md names the APIs and versions that are served', () => {
  const handlers = createHandlers(new FakeBroker().services);
  for (const handler of groupHandlers({} as never)) handlers.add(handler);
  const page = readFileSync(new URL('../docs/kafka-compatibility.md', import.meta.url), 'utf8');
  const rows = page.split('\n').flatMap((line) => {
    const [, key, name, min, max = min] = ROW.exec(line) ?? [];
    return key === undefined ? [] : [{ key: Number(key), name, min: Number(min), max: Number(max) }];
  });
  expect(rows).toEqual(handlers.served().map(({ key, advertised }) => ({ key, name: apiName(key), ...advertised })));
  const served = ALL_APIS.find(({ name }) => name === 'Produce')!.versions;
  expect(page).toContain(`| Produce | 0–${served.max} | ${served.min}–${served.max} are served.`);
});
