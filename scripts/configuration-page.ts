/** Writes docs/configuration.md from the tables that the broker itself reads. Its test fails while the page is out of date: `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BROKER_PROPERTIES } from '../src/broker/config/broker-properties.ts';
import type { ConfigDefinition } from '../src/broker/config/config-definition.ts';
import { DYNAMIC_BROKER_PROPERTIES, TOPIC_CONFIGS } from '../src/broker/config/topic-config.ts';

export const CONFIGURATION_PAGE = fileURLToPath(new URL('../docs/configuration.md', import.meta.url));

export function configurationPage(): string {
  const dynamic = DYNAMIC_BROKER_PROPERTIES as ReadonlySet<string>;
  const brokerRows = Object.entries<ConfigDefinition<unknown>>(BROKER_PROPERTIES).map(([name, definition]) =>
    row([
      code(name) + (dynamic.has(name) ? ' \\*' : ''),
      defaultOf(definition),
      definition.allowed,
      definition.documentation,
    ]),
  );
  const topicRows = Object.entries(TOPIC_CONFIGS).map(([name, definition]) =>
    row([
      code(name),
      definition.synonyms.map(({ property }) => code(property)).join(', ') || defaultOf(definition),
      definition.allowed,
      definition.documentation,
    ]),
  );
  return `# Configuration

A broker is started with one file in Java's properties format: \`flotilla-broker FILE.properties\`. Names are Kafka's where Kafka has one. A property that is not allowed stops the broker with its
name, its value and what is allowed; one that does not exist is a warning. \`cluster.sh start KEY=VALUE ...\` puts properties into the file of every broker. This page is generated from the code.

## Broker properties

Those with \\* can be changed at run time for the whole cluster (AlterConfigs on the broker with the empty name), because topics fall back to them.

| property | default | allowed | meaning |
|---|---|---|---|
${brokerRows.join('\n')}

## Topic configs

Set with CreateTopics and AlterConfigs. What is not set falls back to the broker property of the second column. What is not in this table is refused with INVALID_CONFIG, also if Kafka knows it: nothing
is accepted that would have no effect.

| config | falls back to | allowed | meaning |
|---|---|---|---|
${topicRows.join('\n')}
`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function code(text: string): string {
  return `\`${text}\``;
}

function defaultOf({ defaultText, required }: ConfigDefinition<unknown>): string {
  if (defaultText !== null) return code(defaultText);
  return required ? 'must be set' : '';
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(CONFIGURATION_PAGE, configurationPage());
