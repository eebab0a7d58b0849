/** `status`: one row a broker, for people or as JSON. */
import { BrokerProcess } from './broker-process.ts';
import { ClusterFiles } from './cluster-files.ts';
import { type Column, megabytes, print, style, table } from './terminal.ts';

type State = 'ready' | 'starting' | 'paused' | 'stopped' | 'dead';

export interface BrokerRow {
  readonly id: number;
  readonly pid: number | null;
  readonly alive: boolean;
  /** starting: alive, but serves nothing (yet), e.g. for want of a quorum. dead: ended by itself or by kill. */
  readonly state: State;
  readonly rssBytes: number | null;
  /** Ports. */
  readonly kafka: number;
  readonly raft: number;
  readonly http: number;
  /** Groups led; null if the broker does not answer. */
  readonly leaders: number | null;
}

const COLORS = { ready: 'green', starting: 'yellow', paused: 'yellow', stopped: 'dim', dead: 'red' } as const;

const COLUMNS: readonly Column<BrokerRow>[] = [
  { title: 'BROKER', align: 'right', text: (row) => `${row.id}` },
  { title: 'STATE', text: (row) => row.state, format: (row) => COLORS[row.state] },
  { title: 'PID', align: 'right', text: (row) => `${row.pid ?? '-'}` },
  { title: 'RSS', align: 'right', text: (row) => megabytes(row.rssBytes) },
  { title: 'KAFKA', align: 'right', text: (row) => `${row.kafka}` },
  { title: 'RAFT', align: 'right', text: (row) => `${row.raft}` },
  { title: 'HTTP', align: 'right', text: (row) => `${row.http}` },
  { title: 'LEADS', align: 'right', text: (row) => `${row.leaders ?? '-'}` },
];

export async function status(options: { json: boolean }): Promise<void> {
  const files = ClusterFiles.open(process.env);
  const rows = await Promise.all(files.ids.map((id) => rowOf(files, id)));
  if (options.json) {
    print(JSON.stringify(rows));
    return;
  }
  const alive = rows.filter((row) => row.alive).length;
  print(table(COLUMNS, rows));
  print();
  print(style('dim', `${alive} of ${files.nodes} brokers alive, bootstrap servers ${files.bootstrapServers}`));
}

async function rowOf(files: ClusterFiles, id: number): Promise<BrokerRow> {
  const broker = new BrokerProcess(files, id);
  const live = broker.live();
  const answer = live === undefined || live.stopped ? undefined : await broker.status();
  const state = (): State => {
    if (live === undefined) return broker.endedUnasked() ? 'dead' : 'stopped';
    if (live.stopped) return 'paused';
    return answer?.ready === true ? 'ready' : 'starting';
  };
  return {
    id,
    pid: live?.pid ?? null,
    alive: live !== undefined,
    state: state(),
    rssBytes: live?.rssBytes ?? null,
    ...files.ports(id),
    leaders: answer?.leaders ?? null,
  };
}
