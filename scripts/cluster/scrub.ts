/** `scrub`: every broker reads all its partition files at full speed and compares them with the other replicas; one row a replica. */
import { get } from 'node:http';
import type { ScrubReport, ScrubRow } from '../../src/broker/partition/scrubber.ts';
import { BrokerProcess } from './broker-process.ts';
import { ClusterError } from './cluster-error.ts';
import { ClusterFiles } from './cluster-files.ts';
import { brokers, type Column, print, progress, style, table } from './terminal.ts';

type Row = ScrubRow & { readonly broker: number };

/** What was found is also what was repaired, unless the state says otherwise. */
const COLUMNS: readonly Column<Row>[] = [
  { title: 'PARTITION', text: (row) => row.name },
  { title: 'BROKER', align: 'right', text: (row) => `${row.broker}` },
  { title: 'ROLE', text: (row) => row.role },
  { title: 'BYTES', align: 'right', text: (row) => `${row.bytes}` },
  { title: 'COMPARED', align: 'right', text: (row) => (row.role === 'leader' ? `${row.rangesCompared}` : '-') },
  { title: 'DAMAGED', align: 'right', text: (row) => `${row.found}` },
  { title: 'DIFFERENT', align: 'right', text: (row) => `${row.mismatches}` },
  { title: 'REPAIRED', align: 'right', text: (row) => `${row.repaired}` },
  { title: 'RESULT', text: resultOf, format: (row) => (isClean(row) ? 'green' : isWhole(row) ? 'yellow' : 'red') },
];

/** Fails if anything was found, repaired or not, or if a broker could not be asked. */
export async function scrub(options: { json: boolean }): Promise<void> {
  const files = ClusterFiles.open(process.env);
  const living = files.ids.filter((id) => {
    const live = new BrokerProcess(files, id).live();
    return live !== undefined && !live.stopped;
  });
  if (living.length === 0) throw new ClusterError('No broker runs');
  progress(`Reading all partition files of ${brokers(living)} ...`);
  const rows: Row[] = [];
  await Promise.all(
    living.map(async (broker) => {
      const report = await reportOf(files.url(broker, '/scrub/now'), broker);
      rows.push(...report.rows.map((row) => ({ ...row, broker })));
    }),
  );
  progress('');
  rows.sort(
    (some, other) => some.name.localeCompare(other.name, 'en', { numeric: true }) || some.broker - other.broker,
  );
  if (options.json) print(JSON.stringify(rows));
  else {
    print(table(COLUMNS, rows));
    print();
    print(style('dim', summaryOf(rows, files.nodes - living.length)));
  }
  if (!rows.every(isClean)) process.exitCode = 1;
  if (living.length < files.nodes) process.exitCode = 1;
}

function isClean(row: ScrubRow): boolean {
  return row.state === 'whole' && row.found === 0 && row.mismatches === 0;
}

function isWhole(row: ScrubRow): boolean {
  return row.state === 'whole' && row.repaired >= row.found + row.mismatches;
}

function resultOf(row: ScrubRow): string {
  if (isClean(row)) return 'intact';
  return isWhole(row) ? 'repaired' : row.state === 'whole' ? 'different' : row.state;
}

function summaryOf(rows: readonly Row[], notAsked: number): string {
  const bad = rows.filter((row) => !isClean(row));
  const repaired = bad.filter(isWhole);
  const asked = notAsked === 0 ? '' : `; ${notAsked} of the brokers could not be asked`;
  return `${rows.length - bad.length} of ${rows.length} replicas intact, ${repaired.length} repaired, ${bad.length - repaired.length} not${asked}`;
}

/** Answered when all is read, however long that takes. */
function reportOf(url: string, broker: number): Promise<ScrubReport> {
  return new Promise((resolve, reject) => {
    const failed = (reason: string): void => reject(new ClusterError(`Broker ${broker} did not answer: ${reason}`));
    get(url, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        body += part;
      });
      response.on('error', (error) => failed(error.message));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(body) as ScrubReport);
        else failed(body.trim());
      });
    }).on('error', (error) => failed(error.message));
  });
}
