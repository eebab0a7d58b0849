/** A cluster of its own beside the user's: three brokers in a scratch directory on free ports, driven through cluster.sh like a user's. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findFreePort } from '../cluster/free-port.ts';

const run = promisify(execFile);
/** dist/scripts/demo/ → the repository. */
const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));

export class ScratchCluster {
  readonly directory: string;
  readonly port: number;
  readonly nodes: number;

  private constructor(directory: string, port: number, nodes: number) {
    this.directory = directory;
    this.port = port;
    this.nodes = nodes;
  }

  static async create(nodes: number): Promise<ScratchCluster> {
    const directory = await mkdtemp(join(tmpdir(), 'flotilla-demo-'));
    return new ScratchCluster(directory, await findFreePort(nodes), nodes);
  }

  get brokers(): string[] {
    return Array.from({ length: this.nodes }, (_, i) => `127.0.0.1:${this.port + i}`);
  }

  /** Runs a cluster.sh command on this cluster; rejects with its output if it fails. */
  async command(...args: string[]): Promise<string> {
    const env = { ...process.env, FLOTILLA_DIR: this.directory, FLOTILLA_PORT: String(this.port) };
    try {
      const { stdout } = await run(join(REPOSITORY, 'cluster.sh'), args, { env });
      return stdout;
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string };
      throw new Error(`cluster.sh ${args.join(' ')} failed: ${stderr || stdout || String(error)}`);
    }
  }

  async destroy(): Promise<void> {
    await this.command('wipe');
    await rm(this.directory, { recursive: true, force: true });
  }
}
