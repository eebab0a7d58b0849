/** What this machine can inject, probed once and written into every report: what it can not is said, not skipped silently. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { compileCable, compileShim } from './faults/compile.ts';
import { findMemoryLimits } from './faults/memory-limit.ts';
import type { Scenario } from './scenarios.ts';

export interface Capabilities {
  /** Library to preload; undefined if it can not be built. */
  readonly shim: string | undefined;
  /** Program that carries packets between brokers; undefined if it can not be built or devices can not be made. */
  readonly cable: string | undefined;
  /** Network and mounts of a run's own. */
  readonly hasNamespaces: boolean;
  /** Limits of a process' memory. */
  readonly hasMemoryLimits: boolean;
  /** What can not be injected, and why. */
  readonly missing: readonly string[];
}

/** `directory`: for what is compiled. */
export function probeCapabilities(directory: string): Capabilities {
  mkdirSync(directory, { recursive: true });
  const missing: string[] = [];
  const shim = compileShim(directory);
  if ('missing' in shim) {
    missing.push(`Power loss, disk faults, clock jumps and links between brokers are not injected: ${shim.missing}`);
  }
  const noNamespaces = whyNot(() =>
    tryCommand(
      `mkdir -p ${join(directory, 'm')} && mount -t tmpfs tmpfs ${join(directory, 'm')} && ip link set lo up`,
      true,
    ),
  );
  if (noNamespaces !== undefined) {
    missing.push(`Disks that are really full and faults of packets are not injected: ${noNamespaces}`);
  }
  let cable: string | undefined;
  if (noNamespaces === undefined) {
    const compiled = compileCable(directory);
    const noDevice = whyNot(() => tryCommand('ip tuntap add dev probe0 mode tun', true));
    if ('path' in compiled && noDevice === undefined) cable = compiled.path;
    else missing.push(`Faults of packets are not injected: ${'missing' in compiled ? compiled.missing : noDevice}`);
  }
  const limits = findMemoryLimits();
  if ('missing' in limits) missing.push(`Pressure on memory is not injected: ${limits.missing}`);
  return {
    shim: 'path' in shim ? shim.path : undefined,
    cable,
    hasNamespaces: noNamespaces === undefined,
    hasMemoryLimits: !('missing' in limits),
    missing,
  };
}

/** Why a scenario can not be run here; undefined if it can. */
export function missingFor(scenario: Scenario, capabilities: Capabilities): string | undefined {
  const lacks =
    (scenario.shim === true && capabilities.shim === undefined) ||
    (scenario.packets === true && capabilities.cable === undefined) ||
    (scenario.namespaces === true && !capabilities.hasNamespaces) ||
    (scenario.memoryLimits === true && !capabilities.hasMemoryLimits);
  return lacks ? 'this machine can not inject it' : undefined;
}

function tryCommand(command: string, inNamespaces: boolean): void {
  const args = ['sh', '-c', command];
  if (inNamespaces) args.unshift('unshare', '--net', '--mount');
  execFileSync(args[0]!, args.slice(1), { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
}

function whyNot(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return (stderr?.trim() || message).split('\n')[0];
  }
}
