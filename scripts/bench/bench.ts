/**
 * `npm run bench`: measures Flotilla, alone or in turns with another system, with named workloads; prints ratio tables in Markdown, writes JSON and pictures. It starts and wipes its clusters
 * itself, in a directory and on ports of their own. `--list` shows the workloads, docs/performance.md how its figures are to be read.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { positiveNumber, wholeNumber } from '../option-values.ts';
import { CpuGroup } from './cpu-group.ts';
import { buildFlotilla, FlotillaKind } from './flotilla-system.ts';
import { GivenKind } from './given-system.ts';
import { describeEnvironment, takeSnapshot, usageBetween } from './machine.ts';
import { PeerKind, runPeerTool } from './peer-system.ts';
import { drawPictures } from './pictures.ts';
import { mergeCells, type Results } from './results.ts';
import { Runner } from './runner.ts';
import type { SystemKind } from './system.ts';
import { renderReport, warningsOf } from './tables.ts';
import { type Cell, type Scale, sleep, type Workload } from './workload.ts';
import { WORKLOADS } from './workloads/index.ts';

const FSYNC_PORT_OFFSET = 200;
/** Of each stretch of load that heats a cluster. */
const HEAT_SECONDS = 5;
const AGAIN_MAX = 10;
const MARK_BEGIN = '<!-- bench: begin -->';
const MARK_END = '<!-- bench: end -->';

interface Options {
  readonly list?: true;
  readonly workload?: string[];
  readonly short?: true;
  readonly rounds?: number;
  readonly seconds?: number;
  readonly warmupSeconds?: number;
  readonly again?: number;
  readonly minutes?: number;
  readonly peerScript?: string;
  readonly peer: 'default' | 'fsync' | 'both' | 'none';
  readonly fsyncProperty: string;
  readonly property: string[];
  readonly bootstrap?: string[];
  readonly pids?: string[];
  readonly replicationFactor: number;
  readonly directory?: string;
  readonly port: number;
  readonly peerPort: number;
  readonly json?: string;
  readonly markdown?: string;
  readonly pictures?: string;
  readonly render?: string[];
}

const words = (text: string, before: string[] = []): string[] => [
  ...before,
  ...text.split(',').filter((word) => word !== ''),
];
const options = new Command()
  .name('npm run bench --')
  .description('Measures Flotilla, alone or in turns with another system.')
  .option('--list', 'show the workloads and their cells')
  .option(
    '--workload <NAMES...>',
    'workloads or single cells (default: the everyday ones with --short, else all)',
    words,
  )
  .option('--short', 'fewer cells, shorter runs: below 3 minutes without --workload')
  .option('--rounds <N>', 'rounds; medians are printed (default: 3, with --short 1)', wholeNumber(1))
  .option('--seconds <N>', 'length of a measured stretch (default: 8, with --short 4)', positiveNumber)
  .option('--warmup-seconds <N>', 'load before each stretch (default: 2, with --short 1)', positiveNumber)
  .option(
    '--again <N>',
    'so many runs that were not quiet are done once more (default: 10, with --short 0)',
    wholeNumber(0),
  )
  .option('--minutes <N>', 'no run begins after so many minutes; what is left counts as failed', positiveNumber)
  .option('--peer-script <PATH>', 'script of the system to compare with; without it only Flotilla is measured')
  .addOption(
    new Option('--peer <VARIANT>', 'as it comes, with an fsync before each acknowledgement, both, or only its tools')
      .choices(['default', 'fsync', 'both', 'none'])
      .default('default'),
  )
  .option('--fsync-property <KEY=VALUE>', 'what makes the peer fsync', 'log.flush.interval.messages=1')
  .option('--property <KEY=VALUE>', 'property of the Flotilla brokers, for experiments; repeatable', words, [])
  .option('--bootstrap <TARGET...>', 'measure clusters that run already: [NAME=]HOST:PORT[,…] of each')
  .option('--pids <LIST...>', 'PID,… of the brokers of each cluster of --bootstrap: adds their CPU time')
  .option('--replication-factor <N>', 'replicas of the topics', wholeNumber(1), 3)
  .option('--directory <PATH>', 'where the clusters have their data (default: a new one among the temporary files)')
  .option('--port <N>', 'Flotilla uses ports from here to 300 above', wholeNumber(1024, 65_235), 25_000)
  .option('--peer-port <N>', 'the peer uses ports from here to 400 above', wholeNumber(1024, 65_135), 25_500)
  .option('--json <FILE>', 'write all figures of all runs, after each run')
  .option('--markdown <FILE>', 'write the tables; into a page with marks only between them')
  .option('--pictures <DIRECTORY>', 'write curves as SVG')
  .option('--render <FILES...>', 'measure nothing; make tables and pictures of these JSON files')
  .parse()
  .opts<Options>();

const scale: Scale = options.short === true ? 'short' : 'full';
if (options.list === true) listWorkloads();
else if (options.render !== undefined) {
  publish(options.render.map((file) => JSON.parse(readFileSync(file, 'utf8')) as Results));
} else await measure();

function listWorkloads(): void {
  for (const { name, about, everyday, cells } of WORKLOADS) {
    console.log(`${name}${everyday ? ' (everyday)' : ''}: ${about}`);
    console.log(
      `    ${cells(scale)
        .map(({ id }) => id)
        .join(' ')}`,
    );
  }
}

async function measure(): Promise<void> {
  const selection = select();
  const group = CpuGroup.enter();
  const directory =
    options.directory === undefined ? mkdtempSync(join(tmpdir(), 'flotilla-bench-')) : resolve(options.directory);
  const peerScript = options.peerScript === undefined ? undefined : resolve(options.peerScript);
  const kinds = await kindsOf(directory, peerScript);
  const results: Results = {
    environment: describeEnvironment(group.description),
    command: `npm run bench -- ${process.argv.slice(2).join(' ')}`,
    systems: kinds.map(({ name }) => name),
    cells: [],
  };
  const save = (): void => {
    results.environment.loadAtEnd = loadavg()[0]!;
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
  };
  const seconds = options.seconds ?? (scale === 'short' ? 4 : 8);
  const runner = new Runner({
    kinds,
    scale,
    seconds,
    rounds: options.rounds ?? (scale === 'short' ? 1 : 3),
    warmupSeconds: options.warmupSeconds ?? (scale === 'short' ? 1 : 2),
    heatSeconds: scale === 'short' ? seconds : HEAT_SECONDS,
    againMax: options.again ?? (scale === 'short' ? 0 : AGAIN_MAX),
    limitMinutes: options.minutes ?? Number.POSITIVE_INFINITY,
    replicationFactor: options.replicationFactor,
    directory: join(directory, 'files'),
    toolScript: peerScript,
    save,
  });
  const cleanUp = (): void => {
    if (options.directory === undefined) rmSync(directory, { recursive: true, force: true });
    group.leave();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // At once and without a turn of the event loop: whoever sends this may not wait.
      runner.wipeNow();
      cleanUp();
      console.error(`${signal}: the clusters are wiped`);
      process.exit(130);
    });
  }
  const quiet = takeSnapshot([], []);
  await sleep(1_000);
  const { othersShare } = usageBetween(quiet, takeSnapshot([], []));
  console.error(`Before anything is started others have ${(othersShare * 100).toFixed(0)} % of the CPU`);
  const startedMs = performance.now();
  try {
    await runner.run(selection, results);
  } finally {
    await runner.wipe();
    cleanUp();
  }
  console.error(`Took ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
  publish([results]);
  process.exit(results.cells.some(({ failures }) => (failures ?? []).length > 0) ? 1 : 0);
}

function publish(all: readonly Results[]): void {
  const cells = mergeCells(all).filter(({ runs, failures }) => runs.length + failures!.length > 0);
  const report = renderReport(
    cells,
    all.map(({ environment }) => environment),
  );
  const warnings = warningsOf(cells);
  const text =
    warnings.length === 0 ? report : `${warnings.map((warning) => `> ${warning}`).join('\n>\n')}\n\n${report}`;
  console.log(text);
  const pictures = options.pictures === undefined ? [] : drawPictures(cells, options.pictures);
  for (const file of pictures) console.error(`Wrote ${file}`);
  if (options.markdown !== undefined) writeMarkdown(options.markdown, `${text}${linksTo(pictures, options.markdown)}`);
}

/** The pictures as a section of the page at `page`; nothing if there are none. */
function linksTo(pictures: readonly string[], page: string): string {
  if (pictures.length === 0) return '';
  const links = pictures.map((file) => `![${basename(file, '.svg')}](${relative(dirname(page), file)})`);
  return `\n\n### Curves\n\n${links.join('\n\n')}`;
}

/** A page that has the two marks keeps everything outside of them. */
function writeMarkdown(file: string, text: string): void {
  const page = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const begin = page.indexOf(MARK_BEGIN);
  const end = page.indexOf(MARK_END);
  if (begin < 0 || end < begin) return writeFileSync(file, text);
  writeFileSync(file, `${page.slice(0, begin)}${MARK_BEGIN}\n\n${text.trim()}\n\n${page.slice(end)}`);
}

/** The workloads asked for, each with the cells asked for. */
function select(): { workload: Workload; cells: readonly Cell[] }[] {
  const wanted = options.workload;
  if (wanted === undefined) {
    return WORKLOADS.filter(({ everyday }) => scale === 'full' || everyday).map((workload) => ({
      workload,
      cells: workload.cells(scale),
    }));
  }
  const selection: { workload: Workload; cells: Cell[] }[] = [];
  for (const name of wanted) {
    const { workload, cells } = find(name);
    const last = selection.at(-1);
    // Cells of a workload stay together: they may share a cluster.
    if (last?.workload === workload) last.cells.push(...cells);
    else selection.push({ workload, cells: [...cells] });
  }
  return selection;
}

function find(name: string): { workload: Workload; cells: readonly Cell[] } {
  for (const workload of WORKLOADS) {
    if (workload.name === name) return { workload, cells: workload.cells(scale) };
    // A single cell may be one that only the full variant has.
    const cell = [...workload.cells(scale), ...workload.cells('full')].find(({ id }) => id === name);
    if (cell !== undefined) return { workload, cells: [cell] };
  }
  throw new Error(`There is no workload or cell "${name}"; --list shows them`);
}

async function kindsOf(directory: string, peerScript: string | undefined): Promise<SystemKind[]> {
  if (options.bootstrap !== undefined) {
    return options.bootstrap.map((text, i) => {
      const pids = (options.pids?.[i] ?? '').split(',').filter((pid) => pid !== '');
      return new GivenKind(text, pids.map(Number), i);
    });
  }
  console.error('Building');
  await buildFlotilla();
  const kinds: SystemKind[] = [
    new FlotillaKind({ name: 'Flotilla', directory, port: options.port, properties: options.property }),
  ];
  if (peerScript === undefined) return kinds;
  await runPeerTool(peerScript, ['install']);
  const peer = { script: peerScript, directory };
  if (options.peer === 'default' || options.peer === 'both') {
    kinds.push(new PeerKind({ ...peer, name: 'Kafka', port: options.peerPort, properties: [] }));
  }
  if (options.peer === 'fsync' || options.peer === 'both') {
    const port = options.peerPort + FSYNC_PORT_OFFSET;
    kinds.push(new PeerKind({ ...peer, name: 'Kafka-fsync', port, properties: [options.fsyncProperty] }));
  }
  return kinds;
}
