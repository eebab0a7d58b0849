/**
 * The commands of cluster.sh: a cluster of brokers as processes of this machine. Every command exits non-zero with a sentence
 * when it did not do what it says.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { ClusterError } from './cluster/cluster-error.ts';
import { parseId, parseNodes, parseProperties, REPOSITORY } from './cluster/cluster-files.ts';
import { kill, pause, restart, resume, start, stop, wipe } from './cluster/lifecycle.ts';
import { logs } from './cluster/logs.ts';
import { scrub } from './cluster/scrub.ts';
import { status } from './cluster/status.ts';
import { progress } from './cluster/terminal.ts';

const program = new Command('cluster.sh')
  .description('Runs a Flotilla cluster on this machine.')
  .addHelpText(
    'after',
    `
Environment:
  FLOTILLA_DIR   data, logs and pids (default: .flotilla in the repository)
  FLOTILLA_PORT  broker N has Kafka on PORT+N-1, Raft 100 above, HTTP 200 above (default: 9092)`,
  )
  .showHelpAfterError('(./cluster.sh help shows the commands)')
  .exitOverride();

const ids = (texts: readonly string[]): number[] => [...new Set(texts.map(parseId))];

program
  .command('start')
  .description('start the cluster, with its data if there is one; returns when every broker serves')
  .argument('[KEY=VALUE...]', "properties for each broker's file")
  .option('--nodes <N>', 'number of brokers, 1 to 100 (default: 3)')
  .action((properties: string[], options: { nodes?: string }) =>
    start({
      nodes: options.nodes === undefined ? undefined : parseNodes(options.nodes),
      properties: parseProperties(properties),
    }),
  );
program
  .command('kill')
  .description('end brokers at once (SIGKILL)')
  .argument('<N...>', 'numbers of brokers')
  .action((texts: string[]) => kill(ids(texts)));
program
  .command('pause')
  .description('freeze brokers (SIGSTOP)')
  .argument('<N...>', 'numbers of brokers')
  .action((texts: string[]) => pause(ids(texts)));
program
  .command('resume')
  .description('let paused brokers go on (SIGCONT)')
  .argument('<N...>', 'numbers of brokers')
  .action((texts: string[]) => resume(ids(texts)));
program
  .command('restart')
  .description('start a broker again with its data, stopping it before if it runs; returns when it serves')
  .argument('<N>', 'number of the broker')
  .action((text: string) => restart(parseId(text)));
program
  .command('stop')
  .description('stop brokers, or all of them, gracefully: leaders move away first')
  .argument('[N...]', 'numbers of brokers')
  .action((texts: string[]) => stop(ids(texts)));
program
  .command('status')
  .description('show the brokers')
  .option('--json', 'as JSON', false)
  .action((options: { json: boolean }) => status(options));
program
  .command('scrub')
  .description(
    'read all partition files and compare the replicas; damage is repaired, and the exit code is 1 if there was any',
  )
  .option('--json', 'as JSON', false)
  .action((options: { json: boolean }) => scrub(options));
program
  .command('logs')
  .description("follow a broker's log")
  .argument('<N>', 'number of the broker')
  .action((text: string) => logs(parseId(text)));
program.command('wipe').description('stop all brokers and delete all data').action(wipe);
program
  .command('demo')
  .description('show on a scratch cluster what survives when brokers are killed')
  .helpOption(false)
  .allowUnknownOption()
  .argument('[options...]')
  .action((_: string[], __: object, command: Command) => demo(command.args));

/** The demo is a program of its own: it drives cluster.sh like a user. */
function demo(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [join(REPOSITORY, 'dist', 'scripts', 'demo', 'demo.js'), ...args], {
    stdio: 'inherit',
  });
  // Ctrl-C reaches the child too; it cleans up and decides the exit code.
  process.on('SIGINT', () => {});
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => {
      process.exitCode = code ?? 1;
      resolve();
    });
  });
}

// Who reads only the first lines of it (`| head`) has what he wanted; the command still finishes.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  progress('');
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    process.exitCode = 1;
    if (!(error instanceof ClusterError)) throw error;
    process.stderr.write(`cluster.sh: ${error.message}\n`);
  }
}
