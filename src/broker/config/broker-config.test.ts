import { describe, expect, test } from 'vitest';
import { BrokerConfigError, parseBrokerConfig } from './broker-config.ts';

const MINIMAL = `
node.id=1
controller.quorum.voters=1@127.0.0.1:9192
log.dirs=/var/lib/flotilla
`;

function refusal(lines: string): string {
  try {
    parseBrokerConfig(`${MINIMAL}\n${lines}`);
  } catch (error) {
    if (error instanceof BrokerConfigError) return error.message;
    throw error;
  }
  throw new Error('The configuration was accepted');
}

describe('parseBrokerConfig()', () => {
  test('fills in defaults behind what must be set', () => {
    const { config, warnings } = parseBrokerConfig(
      `${MINIMAL}default.replication.factor=1\noffsets.topic.replication.factor=1\n`,
    );
    expect(warnings).toEqual([]);
    expect(config['node.id']).toBe(1);
    expect(config['message.max.bytes']).toBe(1_048_588);
    expect(config['log.retention.ms']).toBeUndefined();
    expect(config.advertised).toEqual({ host: '127.0.0.1', port: 9092 });
    expect(config['controller.quorum.voters']).toEqual([{ brokerId: 1, host: '127.0.0.1', port: 9192 }]);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('reads what Java would read: escapes, continuations, the last of duplicates', () => {
    const { config } = parseBrokerConfig(
      `\uFEFFnode.id : 7\ncontroller.quorum.voters=1@a\\:1:9192,\\\n   2@b:9192, 3@c:9192\nlog.dirs=/a\nlog.dirs=/b\n`.replace(
        'a\\:1:',
        'a\\:',
      ),
    );
    expect(config['node.id']).toBe(7);
    expect(config['log.dirs']).toBe('/b');
    expect(config['controller.quorum.voters'].map((voter) => voter.host)).toEqual(['a', 'b', 'c']);
  });

  test('says which property is missing', () => {
    expect(() => parseBrokerConfig('node.id=1')).toThrow(
      /Property controller.quorum.voters is not set. Allowed: 1, 3 or 5 times/,
    );
  });

  test.each([
    ['node.id=one', /Property node.id=one is not allowed: "one" is not an integer. Allowed: an integer from 0/],
    ['num.partitions=0', /num.partitions=0 is not allowed: 0 is not an integer from 1 to 10000/],
    ['log.retention.ms=99999999999999999999', /log.retention.ms=9{20} is not allowed/],
    ['delete.topic.enable=yes', /delete.topic.enable=yes is not allowed: "yes" is neither true nor false/],
    ['listeners=127.0.0.1:9092', /listeners=127.0.0.1:9092 is not allowed: .* is not PLAINTEXT:\/\/host:port/],
    ['listeners=SSL://127.0.0.1:9092', /Security protocol SSL is not served/],
    ['listeners=PLAINTEXT://a:1,PLAINTEXT://a:1', /"PLAINTEXT:\/\/a:1" is listed twice/],
    ['listeners=PLAINTEXT://a:1,PLAINTEXT://b:2', /2 listeners are given/],
    ['listeners=PLAINTEXT://a:70000', /Port 70000 is above 65535/],
    ['listeners=PLAINTEXT://127.0.0.1:9192', /raft.listener.* is not allowed: listeners has the same address/],
    ['listeners=PLAINTEXT://0.0.0.0:9092', /advertised.listeners must say/],
    ['advertised.listeners=PLAINTEXT://:9092', /An advertised address needs a host/],
    ['raft.listener=10.0.0.1:9192', /Brokers do not authenticate each other/],
    ['raft.listener=127.0.0.1:9193', /controller.quorum.voters.*It has port 9192 for this broker/],
    ['controller.quorum.voters=1@a:1,1@b:2,3@c:3', /Voter 1 is listed twice/],
    ['controller.quorum.voters=1@a:1,2@a:1,3@c:3', /Address a:1 is listed twice/],
    ['controller.quorum.voters=1@a:1,2@b:2', /2 voters are given, but a metadata quorum has 1, 3 or 5/],
    ['controller.quorum.voters=a:1', /"a:1" is not id@host:port/],
    ['controller.quorum.voters=1@:9192', /needs a host and a port/],
    ['log.dirs=/a,/b', /Several directories are given/],
    ['log.dirs=', /log.dirs= is not allowed: It is empty/],
    ['log.cleanup.policy=compact', /Log compaction is not served/],
    ['compression.type=gzip', /Recompression is not served/],
    ['message.max.bytes=200000000', /message.max.bytes=200000000 is not allowed: It is above socket.request.max.bytes/],
    ['raft.liveness.timeout.ms=200', /One lost heartbeat would end a leadership/],
    ['wal.segment.bytes=100000000', /wal.max.bytes=268435456 is not allowed/],
  ])('refuses %s with the name, the value and what is allowed', (line, message) => {
    expect(refusal(line)).toMatch(message);
    expect(refusal(line)).toMatch(/Allowed: /);
  });

  test('accepts a raft listener for others where the network is declared trusted', () => {
    const { config } = parseBrokerConfig(
      `${MINIMAL}raft.listener=0.0.0.0:9192\nraft.advertised.listener=10.0.0.1:9192\nraft.network.trusted=true\n`,
    );
    expect(config.raftAdvertised).toEqual({ host: '10.0.0.1', port: 9192 });
  });

  test('names the closest known property for an unknown one, and ignores it', () => {
    const { warnings } = parseBrokerConfig(`${MINIMAL}log.retension.ms=1\ncompletely.different.thing=1\n`);
    expect(warnings.slice(0, 2)).toEqual([
      'Unknown property log.retension.ms does nothing; the closest known one is log.retention.ms',
      'Unknown property completely.different.thing does nothing',
    ]);
  });

  test('warns of replication factors that the listed brokers can not fulfill', () => {
    expect(parseBrokerConfig(`${MINIMAL}default.replication.factor=1\n`).warnings).toEqual([
      'Consumer groups need offsets.topic.replication.factor=3 brokers, but only 1 are listed in controller.quorum.voters; they wait until more have joined',
    ]);
  });
});
