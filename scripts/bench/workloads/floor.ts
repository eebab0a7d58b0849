/** What the same bytes cost without a broker on this machine: a bare socket, a bare gRPC stream, bare writes. CPU seconds for each GB, of each side. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { NodeDisk } from '../../../src/node/node-disk.ts';
import { FLOOR_OPTIONS, STREAM_PATH } from '../floor-receiver.ts';
import type { Cell, Context, Figure, Outcome, Workload } from '../workload.ts';

const KIB = 1024;
const identity = (bytes: Buffer): Buffer => bytes;
const RECEIVER = fileURLToPath(new URL('../floor-receiver.ts', import.meta.url));

interface Sent {
  readonly senderSeconds: number;
  readonly receiverSeconds: number;
  readonly elapsedMs: number;
}

function figuresOf({ senderSeconds, receiverSeconds, elapsedMs }: Sent, bytes: number): Figure[] {
  const cpu = (name: string, value: number): Figure => ({
    name,
    unit: 's/GB',
    better: 'lower',
    value: (value * 1e9) / bytes,
  });
  return [
    cpu('CPU of the sender', senderSeconds),
    cpu('CPU of the receiver', receiverSeconds),
    { name: 'throughput', unit: 'MB/s', better: 'higher', value: bytes / elapsedMs / 1000 },
  ];
}

/** A process of its own that receives `bytes` on a port that it names, and then says what CPU that took. */
async function withReceiver(
  kind: 'socket' | 'grpc',
  bytes: number,
  send: (port: number) => Promise<void>,
): Promise<Sent> {
  const receiver = fork(RECEIVER, [kind, `${bytes}`]);
  try {
    const [{ port }] = (await once(receiver, 'message')) as [{ port: number }];
    const received = once(receiver, 'message') as Promise<[{ cpuSeconds: number }]>;
    const startedMs = performance.now();
    const before = process.cpuUsage();
    await send(port);
    const [{ cpuSeconds }] = await received;
    const { user, system } = process.cpuUsage(before);
    return {
      senderSeconds: (user + system) / 1e6,
      receiverSeconds: cpuSeconds,
      elapsedMs: performance.now() - startedMs,
    };
  } finally {
    receiver.kill();
  }
}

async function sendOverSocket(port: number, bytes: number, chunkBytes: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  const chunk = Buffer.alloc(chunkBytes, 'x');
  for (let sent = 0; sent < bytes; sent += chunkBytes) if (!socket.write(chunk)) await once(socket, 'drain');
  socket.end();
}

async function sendOverGrpc(port: number, bytes: number, messageBytes: number): Promise<void> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), FLOOR_OPTIONS);
  const call = client.makeBidiStreamRequest(STREAM_PATH, identity, identity);
  const ended = once(call, 'end');
  call.resume();
  const message = Buffer.alloc(messageBytes, 'x');
  for (let sent = 0; sent < bytes; sent += messageBytes) if (!call.write(message)) await once(call, 'drain');
  call.end();
  await ended;
  client.close();
}

/** Writes to a preallocated file, each made durable before the next, as a WAL does. */
async function writeAndSync(
  context: Context,
  { bytes, writeBytes, direct }: { bytes: number; writeBytes: number; direct: boolean },
): Promise<Outcome> {
  const disk = await NodeDisk.open(context.directory);
  const name = 'floor-wal';
  const file = await disk.openFile(name, { create: true, direct });
  const fileBytes = 32 * 1024 * KIB;
  const buffer = disk.allocateAligned(writeBytes).fill(120);
  try {
    for (let at = 0; at < fileBytes; at += writeBytes) await file.write(at, [buffer]);
    await file.sync();
    const before = process.cpuUsage();
    const startedMs = performance.now();
    for (let at = 0; at < bytes; at += writeBytes) {
      await file.write(at % fileBytes, [buffer]);
      await file.sync();
    }
    const elapsedMs = performance.now() - startedMs;
    const { user, system } = process.cpuUsage(before);
    const [cpu, , throughput] = figuresOf(
      { senderSeconds: (user + system) / 1e6, receiverSeconds: 0, elapsedMs },
      bytes,
    );
    const each: Figure = {
      name: 'each',
      unit: 'ms',
      better: 'lower',
      value: elapsedMs / Math.ceil(bytes / writeBytes),
    };
    return { figures: [{ ...cpu!, name: 'CPU' }, throughput!, each] };
  } finally {
    await file.close();
    await disk.removeFile(name);
  }
}

/** Appends through the page cache, as partition files are written. */
async function appendToCache(context: Context, bytes: number): Promise<Outcome> {
  const path = join(context.directory, 'floor-append');
  const stream = createWriteStream(path);
  const chunk = Buffer.alloc(256 * KIB, 'x');
  const before = process.cpuUsage();
  const startedMs = performance.now();
  for (let sent = 0; sent < bytes; sent += chunk.length) if (!stream.write(chunk)) await once(stream, 'drain');
  stream.end();
  await once(stream, 'close');
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  rmSync(path);
  const [cpu, , throughput] = figuresOf({ senderSeconds: (user + system) / 1e6, receiverSeconds: 0, elapsedMs }, bytes);
  return { figures: [{ ...cpu!, name: 'CPU' }, throughput!] };
}

export const floor: Workload = {
  name: 'floor',
  about: 'The same bytes without a broker: CPU seconds for each GB, of each side',
  everyday: false,
  cells: (scale) => {
    const bytes = scale === 'short' ? 256 * KIB * KIB : 1024 * KIB * KIB;
    const cell = (id: string, label: string, run: (context: Context) => Promise<Outcome>): Cell => ({
      id: `floor-${id}`,
      label,
      machineOnly: true,
      run,
    });
    return [
      ...[64, 256].map((kib) =>
        cell(`socket-${kib}`, `bare socket, writes of ${kib} KiB`, async () => {
          const sent = await withReceiver('socket', bytes, (port) => sendOverSocket(port, bytes, kib * KIB));
          return { figures: figuresOf(sent, bytes) };
        }),
      ),
      ...[64, 256, 1024].map((kib) =>
        cell(`grpc-${kib}`, `bare gRPC stream (grpc-js, identity serializers), messages of ${kib} KiB`, async () => {
          const sent = await withReceiver('grpc', bytes, (port) => sendOverGrpc(port, bytes, kib * KIB));
          return { figures: figuresOf(sent, bytes) };
        }),
      ),
      ...[4, 64, 256].flatMap((kib) =>
        [true, false].map((direct) => {
          const label = `write and fdatasync of ${kib} KiB, preallocated, ${direct ? 'O_DIRECT' : 'page cache'}`;
          const total = kib === 4 ? bytes / 64 : bytes;
          return cell(`write-${kib}-${direct ? 'direct' : 'cached'}`, label, (context) =>
            writeAndSync(context, { bytes: total, writeBytes: kib * KIB, direct }),
          );
        }),
      ),
      cell('append', 'append to a file through the page cache, 256 KiB', (context) => appendToCache(context, bytes)),
    ];
  },
};
