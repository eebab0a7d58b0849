/*
 * Carries the packets between brokers: a TUN device in the network namespace of the run. Broker F reaches broker T at 10.66.F.T; a packet to that address comes back into the machine with its two
 * addresses exchanged, so that it reaches T as if another machine had sent it, and T's answers go the same way. On the way packets are lost, doubled, delayed each by its own time (so that they
 * overtake each other) and changed, as the page that is shared with the harness says (layout in cable.ts); counters in it prove what took effect.
 *
 * cable CONTROL DEVICE; prints "ready".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define BROKERS_MAX 16
#define WAITING_MAX 8192
#define PACKET_BYTES_MAX 2048
/* Listening ports are below what the kernel gives to connecting sockets. */
#define EPHEMERAL_PORT_MIN 32768

struct link {
  /* settings; chances in millionths */
  volatile int64_t loss, duplicate, corrupt, delay_us, jitter_us;
  /* counters */
  volatile int64_t passed, lost, duplicated, corrupted, overtaken;
};
static struct link (*links)[BROKERS_MAX];

static struct waiting {
  int64_t at_us;
  uint64_t number;
  struct link *link;
  int length;
  uint8_t bytes[PACKET_BYTES_MAX];
} *waiting[WAITING_MAX];
static int waiting_count;
static uint64_t next_number, highest_written[BROKERS_MAX][BROKERS_MAX];

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}
static int64_t below(int64_t limit) { return limit <= 0 ? 0 : (int64_t)(drand48() * limit); }
static int hits(int64_t millionths) { return millionths > 0 && below(1000000) < millionths; }

static void enqueue(struct link *link, const uint8_t *bytes, int length) {
  if (waiting_count == WAITING_MAX) { link->lost++; return; }
  struct waiting *packet = malloc(sizeof *packet);
  packet->at_us = now_us() + link->delay_us + below(link->jitter_us);
  packet->number = next_number++;
  packet->link = link;
  packet->length = length;
  memcpy(packet->bytes, bytes, length);
  /* A corrupt payload is dropped by the receiver's TCP checksum; that this happens is part of what is shown. */
  if (length > 60 && hits(link->corrupt)) {
    packet->bytes[52 + below(length - 52)] ^= 1 << below(8);
    link->corrupted++;
  }
  waiting[waiting_count++] = packet;
}

static void take(uint8_t *bytes, int length) {
  if (length < 40 || bytes[0] >> 4 != 4) return;
  uint8_t *from = bytes + 12, *to = bytes + 16;
  if (to[0] != 10 || to[1] != 66 || to[2] >= BROKERS_MAX || to[3] >= BROKERS_MAX) return;
  int opener = to[2], listener = to[3], header = (bytes[0] & 15) * 4;
  int to_port = bytes[header + 2] << 8 | bytes[header + 3];
  struct link *link = to_port < EPHEMERAL_PORT_MIN ? &links[opener][listener] : &links[listener][opener];
  uint8_t address[4];
  memcpy(address, from, 4);
  memcpy(from, to, 4);
  memcpy(to, address, 4);
  if (hits(link->loss)) { link->lost++; return; }
  enqueue(link, bytes, length);
  if (hits(link->duplicate)) { link->duplicated++; enqueue(link, bytes, length); }
}

/* Writes what is due, in the order in which it is due; gives the time until the next. */
static int flush(int device) {
  for (;;) {
    int first = -1;
    for (int i = 0; i < waiting_count; i++) {
      if (first < 0 || waiting[i]->at_us < waiting[first]->at_us || (waiting[i]->at_us == waiting[first]->at_us && waiting[i]->number < waiting[first]->number)) first = i;
    }
    if (first < 0) return -1;
    struct waiting *packet = waiting[first];
    int64_t left = packet->at_us - now_us();
    if (left > 0) return (int)(left / 1000) + 1;
    int index = (int)(packet->link - &links[0][0]);
    uint64_t *highest = &highest_written[index / BROKERS_MAX][index % BROKERS_MAX];
    if (packet->number < *highest) packet->link->overtaken++;
    else *highest = packet->number;
    packet->link->passed++;
    if (write(device, packet->bytes, packet->length) < 0) packet->link->lost++;
    waiting[first] = waiting[--waiting_count];
    free(packet);
  }
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int page = open(arguments[1], O_RDWR);
  if (page < 0) { perror("control"); return 1; }
  links = mmap(NULL, sizeof(struct link) * BROKERS_MAX * BROKERS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
  if (links == MAP_FAILED) { perror("mmap"); return 1; }
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", arguments[2]);
  if (device < 0 || ioctl(device, TUNSETIFF, &request)) { perror("tun"); return 1; }
  char command[256];
  snprintf(command, sizeof command, "ip addr add 10.66.0.1/16 dev %s && ip link set %s up", arguments[2], arguments[2]);
  if (system(command)) return 1;
  srand48(getpid());
  puts("ready");
  fflush(stdout);
  for (int timeout = -1;;) {
    struct pollfd look = {.fd = device, .events = POLLIN};
    poll(&look, 1, timeout);
    uint8_t bytes[PACKET_BYTES_MAX];
    for (;;) {
      ssize_t length = read(device, bytes, sizeof bytes);
      if (length <= 0) break;
      take(bytes, (int)length);
    }
    timeout = flush(device);
  }
}
