/** The receiving side of the floor measurements, in a process of its own: `socket` or `grpc`, and how many bytes will come. Says its port, and at the end the CPU seconds that receiving took. */
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';

export const STREAM_PATH = '/floor/Stream';
/** Windows that never stand in the way. */
export const FLOOR_OPTIONS = {
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
};

const identity = (bytes: Buffer): Buffer => bytes;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [kind, bytes] = [process.argv[2], Number(process.argv[3])];
  if (kind === 'socket') receiveFromSocket(bytes);
  else receiveFromGrpc(bytes);
}

function counter(total: number): (length: number) => void {
  let received = 0;
  let before: NodeJS.CpuUsage | undefined;
  return (length) => {
    before ??= process.cpuUsage();
    received += length;
    if (received < total) return;
    const { user, system } = process.cpuUsage(before);
    process.send!({ cpuSeconds: (user + system) / 1e6 });
  };
}

function receiveFromSocket(total: number): void {
  const count = counter(total);
  const server = createServer((socket) => socket.on('data', (chunk) => count(chunk.length)));
  server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as { port: number }).port }));
}

function receiveFromGrpc(total: number): void {
  const count = counter(total);
  const server = new Server(FLOOR_OPTIONS);
  const definition = {
    stream: {
      path: STREAM_PATH,
      requestStream: true,
      responseStream: true,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  };
  server.addService(definition, {
    stream: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (message: Buffer) => count(message.length));
      call.on('end', () => call.end());
    },
  });
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    process.send!({ port });
  });
}
