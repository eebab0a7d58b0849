/**
 * Makes sure that one process at a time uses a data directory.
 *
 * Node has no flock. A name in Linux's abstract socket namespace does the same: the kernel gives it to one process and takes it back when that ends, however it ends, so there are no stale
 * locks. It is made of the directory's device and inode: other paths to the same directory are the same lock. Elsewhere a socket file in the directory stands in.
 */
import { mkdirSync, statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';

export class DirectoryLockedError extends Error {
  override name = 'DirectoryLockedError';
}

export class DirectoryLock {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Creates the directory if there is none, and holds it until the process ends or {@link release}. Rejects with {@link DirectoryLockedError}. */
  static async acquire(path: string): Promise<DirectoryLock> {
    mkdirSync(path, { recursive: true });
    const { dev, ino } = statSync(path);
    const isLinux = process.platform === 'linux';
    const name = isLinux ? `\0flotilla-${dev}-${ino}` : join(path, '.lock');
    try {
      return new DirectoryLock(await listen(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
    if (isLinux || (await answers(name))) {
      throw new DirectoryLockedError(`The data directory ${path} (log.dirs) is in use by another process`);
    }
    unlinkSync(name);
    return new DirectoryLock(await listen(name));
  }

  release(): Promise<void> {
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}

function listen(name: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen(name, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(name, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
