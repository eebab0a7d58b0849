import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'dot-properties';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseBrokerConfig } from '../../src/broker/config/broker-config.ts';
import { BrokerProcess, lastReason } from './broker-process.ts';
import { ClusterFiles, parseId, parseNodes, parseProperties } from './cluster-files.ts';
import { readable } from './logs.ts';
import { inspectProcess } from './process-identity.ts';
import { brokers, type Column, table } from './terminal.ts';

let directory: string;
let environment: NodeJS.ProcessEnv;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-test-'));
  environment = { FLOTILLA_DIR: join(directory, 'c'), FLOTILLA_PORT: '21400' };
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const plan = (nodes?: number, properties: Record<string, string> = {}) =>
  ClusterFiles.plan(environment, { nodes, properties });

describe('ClusterFiles', () => {
  it('gives each broker properties that it can start with', () => {
    for (const [nodes, voters, replicas] of [
      [1, 1, 1],
      [2, 1, 2],
      [3, 3, 3],
      [4, 3, 3],
      [7, 5, 3],
    ] as const) {
      const files = plan(nodes);
      files.write();
      for (const id of files.ids) {
        const { config, warnings } = parseBrokerConfig(readFileSync(files.propertiesFile(id), 'utf8'));
        // Two brokers have one voter: the second joins, and until then nothing can have two replicas.
        expect(warnings).toHaveLength(replicas > voters ? 2 : 0);
        expect(config['node.id']).toBe(id);
        expect(config.advertised.port).toBe(21_400 + id - 1);
        expect(config['raft.listener'].port).toBe(21_500 + id - 1);
        expect(config['http.listener'].port).toBe(21_600 + id - 1);
        expect(config['controller.quorum.voters']).toHaveLength(voters);
        expect(config['default.replication.factor']).toBe(replicas);
        expect(config['log.dirs']).toBe(join(directory, 'c', `broker-${id}`, 'data'));
      }
      rmSync(join(directory, 'c'), { recursive: true });
    }
  });

  it('keeps properties for later starts, and lets later ones win over earlier ones and defaults', () => {
    plan(3, { 'log.level': 'debug', 'default.replication.factor': '1' }).write();
    plan(undefined, { 'log.level': 'warn' }).write();
    const files = ClusterFiles.open(environment);
    const properties = parse(readFileSync(files.propertiesFile(2), 'utf8'));
    expect(properties).toMatchObject({ 'log.level': 'warn', 'default.replication.factor': '1' });
  });

  it('has one number of brokers and one range of ports for life', () => {
    plan(1).write();
    expect(plan().nodes).toBe(1);
    expect(() => plan(3)).toThrow('has 1 brokers, not 3');
    environment.FLOTILLA_PORT = '21450';
    expect(() => plan()).toThrow('has its ports from 21400 on, but FLOTILLA_PORT is 21450');
    environment.FLOTILLA_PORT = undefined;
    expect(plan().port).toBe(21_400);
  });

  it('writes nothing before it is asked to, and says where there is no cluster', () => {
    plan(3);
    expect(existsSync(join(directory, 'c'))).toBe(false);
    expect(() => ClusterFiles.open(environment)).toThrow(`There is no cluster in ${join(directory, 'c')}`);
  });

  it('refuses numbers, ports and properties that make no sense', () => {
    expect(() => plan(3).checkId(4)).toThrow('There is no broker 4');
    expect(() => parseNodes('0')).toThrow('--nodes 0');
    expect(() => parseNodes('101')).toThrow('1 to 100');
    expect(() => parseId('1.5')).toThrow('"1.5"');
    expect(() => parseProperties(['a'])).toThrow('"a" is not KEY=VALUE');
    expect(() => parseProperties(['log.dirs=/tmp'])).toThrow('log.dirs is set by cluster.sh itself');
    expect(parseProperties(['a.b=c=d', 'e='])).toEqual({ 'a.b': 'c=d', e: '' });
    environment.FLOTILLA_PORT = 'x';
    expect(() => plan()).toThrow('FLOTILLA_PORT=x');
  });
});

describe('BrokerProcess', () => {
  it('takes no other process for its own when a pid was reused', () => {
    const files = plan(1);
    files.write();
    const broker = new BrokerProcess(files, 1);
    expect(broker.endedUnasked()).toBe(false);
    const identity = inspectProcess(process.pid)?.identity as string;
    writeFileSync(files.pidFile(1), identity);
    expect(broker.live()?.pid).toBe(process.pid);
    writeFileSync(files.pidFile(1), identity.replace(/^\d+ \S+/, `${process.pid} 12345`));
    expect(broker.live()).toBeUndefined();
    expect(broker.endedUnasked()).toBe(true);
    expect(() => broker.signal('SIGKILL')).toThrow('Broker 1 is not running');
    broker.forget();
    expect(broker.endedUnasked()).toBe(false);
  });

  it('sees a process run, freeze and end', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const pid = child.pid as number;
    const files = plan(1);
    files.write();
    writeFileSync(files.pidFile(1), inspectProcess(pid)?.identity as string);
    const broker = new BrokerProcess(files, 1);
    // The process is a copy of this one's shell until it has started for good.
    while (broker.require().rssBytes <= 2 ** 20) await new Promise((resolve) => setTimeout(resolve, 1));
    broker.signal('SIGSTOP');
    while (broker.live()?.stopped !== true) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(() => broker.require()).toThrow('Broker 1 is paused');
    broker.signal('SIGKILL');
    expect(await broker.waitForEnd(10_000)).toBe(true);
  });
});

describe('what people read', () => {
  it('says why a broker ended: its last error, or the sentence of one that does not start, which comes after errors that it logged', () => {
    const line = (level: number, msg: string) => JSON.stringify({ level, msg });
    const damaged = line(50, 'A flush in the WAL is damaged');
    expect(lastReason([line(50, 'old'), damaged, line(30, 'Member of the cluster')].join('\n'))).toBe(
      'A flush in the WAL is damaged',
    );
    expect(lastReason(`${damaged}\nThis broker needs an empty data directory\n`)).toBe(
      'This broker needs an empty data directory',
    );
    expect(lastReason('TypeError: x\n    at y.js:1\n\nNode.js v20.20.2\n')).toBe('    at y.js:1');
    expect(lastReason(line(30, 'Serving clients'))).toBeUndefined();
    expect(lastReason('')).toBeUndefined();
  });

  it('aligns a table', () => {
    const rows = [
      { a: 'x', b: 1 },
      { a: 'long', b: 100 },
    ];
    const columns: Column<{ a: string; b: number }>[] = [
      { title: 'A', text: (row) => row.a },
      { title: 'B', align: 'right', text: (row) => `${row.b}` },
    ];
    expect(table(columns, rows)).toBe('A       B\nx       1\nlong  100');
  });

  it('names brokers', () => {
    expect([brokers([2]), brokers([1, 3]), brokers([1, 2, 3])]).toEqual([
      'broker 2',
      'brokers 1 and 3',
      'brokers 1, 2 and 3',
    ]);
  });

  it('turns a JSON log line into words and leaves others alone', () => {
    expect(readable('{"level":40,"time":0,"pid":1,"hostname":"h","peer":2,"msg":"Link is down"}')).toBe(
      '00:00:00.000 warn  Link is down peer=2',
    );
    expect(readable('Segmentation fault')).toBe('Segmentation fault');
  });
});
