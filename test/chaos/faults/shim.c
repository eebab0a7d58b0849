/*
 * Preloaded into broker processes: makes the disk, the wall clock and the links between brokers fail on demand. Everything is steered through one shared page per broker
 * (CHAOS_DIR/broker-N.control, layout in shim-control.ts); counters in it prove what took effect. Processes other than brokers are left alone.
 *
 * Power loss: a journal (CHAOS_DIR/broker-N.journal) keeps what each write, truncation, creation, renaming and removal under the broker's data directory replaced, and what was flushed: data
 * by fsync or fdatasync of the file, names by fsync of the directory. After the process is killed the harness takes back everything that was not flushed (power-loss.ts). O_DIRECT makes no
 * difference: without a flush the device's own cache may lose it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PORTS_MAX 64
#define FDS_MAX 65536
#define PAGE_BYTES 4096

struct control {
  _Atomic int64_t sync_failures;   /* so many flushes fail with EIO */
  _Atomic int64_t write_failures;  /* so many writes fail with EIO */
  _Atomic int64_t disk_full;       /* nonzero: writes fail with ENOSPC */
  _Atomic int64_t sync_delay_us;
  _Atomic int64_t write_delay_us;
  _Atomic int64_t sync_stalled;    /* nonzero: flushes wait */
  _Atomic int64_t clock_offset_ns;
  _Atomic int64_t journal;         /* nonzero: keep the journal */
  _Atomic int64_t die_before_sync; /* countdown; at 1 the process kills itself */
  _Atomic int64_t die_after_sync;
  _Atomic int64_t die_in_write;    /* at 1: half of the sectors are written, then it kills itself */
  _Atomic int64_t events;          /* order of everything in the journal, over all lives of the broker */
  _Atomic int64_t free_bytes;      /* nonzero: what the file system says that it has left */
  _Atomic int64_t bind_any;        /* the port that listens on all addresses, so that packets from the cable reach it */
  _Atomic int64_t point_operation; /* nonzero: the named point at which it dies: what is done (OP_...), 100 more: after it */
  _Atomic int64_t point_countdown; /* at how many of them it dies */
  _Atomic int64_t syncs, syncs_failed, writes, writes_failed, writes_full, delayed, stalled, clock_reads, connects, deaths;
  _Atomic int64_t looks_at_space;
  _Atomic int64_t reserved2[5];
  _Atomic int64_t ports[PORTS_MAX]; /* port << 32 | where it goes */
  _Atomic int64_t hosts[PORTS_MAX]; /* the address where it goes, as a number; 0: the same */
  char point_path[256];             /* a part of the path of the named point */
};

enum { OP_CREATE = 1, OP_RENAME = 2, OP_UNLINK = 3, OP_MKDIR = 4, OP_RMDIR = 5, OP_SYNC = 6, OP_WRITE = 7, OP_TRUNCATE = 8, OP_AFTER = 100 };

enum { FILE_SEEN = 1, WRITE = 2, DONE = 3, SYNC = 4, CREATE = 5, RENAME = 6, UNLINK = 7, MKDIR = 8, RMDIR = 9, TRUNCATE = 10, DIRSYNC = 11 };

struct record {
  uint32_t type;
  uint32_t text_bytes; /* of what follows */
  uint64_t event;
  uint64_t inode;
  uint64_t offset;     /* WRITE, TRUNCATE: position; DONE: event of the write; SYNC, DIRSYNC: first event that is not covered */
  uint64_t length;     /* WRITE: bytes written */
  uint64_t old_size;
};

static struct control *control;
static char root[PATH_MAX];
static char backups[PATH_MAX - 32];
static size_t root_length;
static int journal_fd = -1;
static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tracked { ino_t inode; int reader; int direct; } tracked[FDS_MAX];

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

__attribute__((constructor)) static void begin(void) {
  const char *directory = getenv("CHAOS_DIR"), *cluster = getenv("CHAOS_ROOT");
  if (!directory || !cluster) return;
  static char command[1 << 16];
  int fd = REAL(open)("/proc/self/cmdline", O_RDONLY);
  if (fd < 0) return;
  ssize_t length = read(fd, command, sizeof command - 1);
  close(fd);
  if (length <= 0) return;
  command[length] = 0;
  const char *last = command;
  for (ssize_t i = 0; i + 1 < length; i++) if (!command[i]) last = command + i + 1;
  const char *at = strstr(last, "/broker-");
  if (!at || !strstr(at, ".properties")) return;
  int broker = atoi(at + 8);
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/broker-%d.control", directory, broker);
  fd = REAL(open)(path, O_RDWR);
  if (fd < 0) return;
  void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page == MAP_FAILED) return;
  snprintf(root, sizeof root, "%s/broker-%d/data", cluster, broker);
  snprintf(backups, sizeof backups, "%s/broker-%d/chaos-backups", cluster, broker);
  root_length = strlen(root);
  snprintf(path, sizeof path, "%s/broker-%d.journal", directory, broker);
  journal_fd = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  control = page;
}

static int is_journaled(void) { return control && control->journal; }

static int is_ours(const char *path) {
  return control && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The name of the data directory itself belongs to whoever set the broker up. */
static int is_below(const char *path) { return is_ours(path) && path[root_length] == '/' && path[root_length + 1]; }

static void die(void) {
  control->deaths++;
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* Counts down; true when it reaches zero by this call. */
static int due(_Atomic int64_t *countdown) {
  int64_t value = *countdown;
  while (value > 0) if (atomic_compare_exchange_weak(countdown, &value, value - 1)) return value == 1;
  return 0;
}

static int take(_Atomic int64_t *budget) {
  int64_t value = *budget;
  while (value > 0) if (atomic_compare_exchange_weak(budget, &value, value - 1)) return 1;
  return 0;
}

/* Dies at the named point; `path` may be NULL if the file of `fd` is meant. */
static void point(int operation, const char *path, int fd) {
  if (!control || control->point_operation != operation) return;
  char name[PATH_MAX];
  if (!path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0) return;
    name[length] = 0;
    path = name;
  }
  if (!is_ours(path) || !strstr(path + root_length, (const char *)control->point_path)) return;
  if (due(&control->point_countdown)) die();
}

static void delay(int64_t us) {
  if (us <= 0) return;
  control->delayed++;
  struct timespec span = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&span, NULL);
}

/* Appends to the journal; gives the event's number. `text` and `second` go behind each other, `second` with its zero. */
static uint64_t note(struct record r, const void *text, size_t text_bytes, const char *second) {
  size_t second_bytes = second ? strlen(second) + 1 : 0;
  r.text_bytes = text_bytes + second_bytes;
  pthread_mutex_lock(&journal_lock);
  r.event = control->events++;
  struct iovec parts[3] = {{&r, sizeof r}, {(void *)text, text_bytes}, {(void *)second, second_bytes}};
  if (syscall(SYS_writev, journal_fd, parts, 3) != (ssize_t)(sizeof r + r.text_bytes)) abort();
  pthread_mutex_unlock(&journal_lock);
  return r.event;
}

static void track(int fd, const char *path, int flags, int existed) {
  if (fd < 0 || fd >= FDS_MAX || !is_ours(path)) return;
  struct stat info;
  if (fstat(fd, &info) || !S_ISREG(info.st_mode)) return;
  if (tracked[fd].inode && tracked[fd].reader >= 0) syscall(SYS_close, tracked[fd].reader);
  tracked[fd] = (struct tracked){info.st_ino, -1, (flags & O_DIRECT) != 0};
  if (is_journaled()) {
    if (!existed) note((struct record){.type = CREATE, .inode = info.st_ino}, path, strlen(path) + 1, NULL);
    note((struct record){.type = FILE_SEEN, .inode = info.st_ino, .old_size = info.st_size}, path, strlen(path) + 1, NULL);
  }
}

/* libuv closes by a system call of its own, so that a descriptor may be another file or a socket by now. */
static struct tracked *tracked_of(int fd) {
  if (!control || fd < 0 || fd >= FDS_MAX || !tracked[fd].inode) return NULL;
  struct stat info;
  if (!fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_ino == tracked[fd].inode) return &tracked[fd];
  if (tracked[fd].reader >= 0) syscall(SYS_close, tracked[fd].reader);
  tracked[fd] = (struct tracked){0};
  return NULL;
}

/* What `length` bytes at `offset` replace goes into the journal; gives the event, to be noted as done. */
static uint64_t note_old(uint32_t type, int fd, struct tracked *file, uint64_t offset, uint64_t length) {
  struct stat info;
  if (fstat(fd, &info)) abort();
  uint64_t size = info.st_size, end = type == TRUNCATE ? size : offset + length;
  if (end > size) end = size;
  uint64_t old_bytes = end > offset ? end - offset : 0;
  char *old = old_bytes ? malloc(old_bytes) : NULL;
  if (old_bytes) {
    if (file->reader < 0) {
      char path[64];
      snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
      file->reader = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    }
    for (uint64_t got = 0; got < old_bytes;) {
      ssize_t n = pread(file->reader, old + got, old_bytes - got, offset + got);
      if (n <= 0) abort();
      got += n;
    }
  }
  uint64_t event = note((struct record){.type = type, .inode = file->inode, .offset = offset, .length = length, .old_size = size}, old, old_bytes, NULL);
  free(old);
  return event;
}

static void note_done(uint64_t event) { note((struct record){.type = DONE, .offset = event}, NULL, 0, NULL); }

static int has_write_fault(void) {
  control->writes++;
  delay(control->write_delay_us);
  if (take(&control->write_failures)) { control->writes_failed++; errno = EIO; return 1; }
  if (control->disk_full) { control->writes_full++; errno = ENOSPC; return 1; }
  return 0;
}

static ssize_t tracked_write(int fd, struct tracked *file, const struct iovec *parts, int count, off_t offset) {
  if (has_write_fault()) return -1;
  point(OP_WRITE, NULL, fd);
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  uint64_t event = is_journaled() ? note_old(WRITE, fd, file, offset, length) : 0;
  if (due(&control->die_in_write)) {
    size_t half = length / 2 / 512 * 512;
    for (int i = 0; i < count && half > 0; i++) {
      size_t part = parts[i].iov_len < half ? parts[i].iov_len : half;
      /* An O_DIRECT file takes no half block; then nothing of it is written. */
      if (syscall(SYS_pwrite64, fd, parts[i].iov_base, part, offset) < 0) break;
      offset += part;
      half -= part;
    }
    die();
  }
  ssize_t result = REAL(pwritev64)(fd, parts, count, offset);
  if (is_journaled()) note_done(event);
  point(OP_WRITE + OP_AFTER, NULL, fd);
  return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  struct tracked *file = tracked_of(fd);
  return file ? tracked_write(fd, file, parts, count, offset) : REAL(pwritev64)(fd, parts, count, offset);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  struct tracked *file = tracked_of(fd);
  struct iovec part = {(void *)bytes, length};
  return file ? tracked_write(fd, file, &part, 1, offset) : REAL(pwrite64)(fd, bytes, length, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct tracked *file = tracked_of(fd);
  if (!file) return REAL(writev)(fd, parts, count);
  off_t at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
  ssize_t result = tracked_write(fd, file, parts, count, at);
  if (result > 0) lseek(fd, at + result, SEEK_SET);
  return result;
}
ssize_t write(int fd, const void *bytes, size_t length) {
  if (!tracked_of(fd)) return REAL(write)(fd, bytes, length);
  struct iovec part = {(void *)bytes, length};
  return writev(fd, &part, 1);
}

static int resize(int fd, off_t size) {
  struct tracked *file = tracked_of(fd);
  if (!file) return REAL(ftruncate64)(fd, size);
  if (has_write_fault()) return -1;
  point(OP_TRUNCATE, NULL, fd);
  uint64_t event = is_journaled() ? note_old(TRUNCATE, fd, file, size, 0) : 0;
  int result = REAL(ftruncate64)(fd, size);
  if (is_journaled()) note_done(event);
  point(OP_TRUNCATE + OP_AFTER, NULL, fd);
  return result;
}
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }
int ftruncate(int fd, off_t size) { return resize(fd, size); }

static int flush(int fd, int (*real)(int)) {
  if (!control || fd < 0 || fd >= FDS_MAX) return real(fd);
  struct tracked *file = tracked_of(fd);
  char directory[PATH_MAX] = "";
  struct stat info;
  if (!file) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, directory, sizeof directory - 1);
    if (length <= 0) return real(fd);
    directory[length] = 0;
    if (!is_ours(directory) || fstat(fd, &info) || !S_ISDIR(info.st_mode)) return real(fd);
  }
  control->syncs++;
  if (due(&control->die_before_sync)) die();
  point(OP_SYNC, NULL, fd);
  delay(control->sync_delay_us);
  if (control->sync_stalled) control->stalled++;
  while (control->sync_stalled) usleep(2000);
  if (take(&control->sync_failures)) { control->syncs_failed++; errno = EIO; return -1; }
  uint64_t before = control->events;
  int result = real(fd);
  if (result == 0 && is_journaled()) {
    if (file) note((struct record){.type = SYNC, .inode = file->inode, .offset = before}, NULL, 0, NULL);
    else note((struct record){.type = DIRSYNC, .offset = before}, directory, strlen(directory) + 1, NULL);
  }
  if (due(&control->die_after_sync)) die();
  point(OP_SYNC + OP_AFTER, NULL, fd);
  return result;
}
int fsync(int fd) { return flush(fd, REAL(fsync)); }
int fdatasync(int fd) { return flush(fd, REAL(fdatasync)); }

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    mode_t mode = 0;                                                      \
    if (flags & (O_CREAT | O_TMPFILE)) {                                  \
      va_list rest;                                                       \
      va_start(rest, flags);                                              \
      mode = va_arg(rest, mode_t);                                        \
      va_end(rest);                                                       \
    }                                                                     \
    int existed = !(flags & O_CREAT) || !control || !access(path, F_OK);  \
    if (!existed) point(OP_CREATE, path, -1);                             \
    int fd = REAL(name)(path, flags, mode);                               \
    track(fd, path, flags, existed);                                      \
    if (!existed) point(OP_CREATE + OP_AFTER, path, -1);                  \
    return fd;                                                            \
  }
OPEN(open)
OPEN(open64)

/* Keeps what `path` names alive under another name; gives that name, or "" if there is nothing. */
static void back_up(const char *path, char *name) {
  name[0] = 0;
  if (access(path, F_OK)) return;
  mkdir(backups, 0755);
  snprintf(name, PATH_MAX, "%s/%lld", backups, (long long)control->events++);
  if (link(path, name)) name[0] = 0;
}

static int renamed(const char *from, const char *to) {
  if (!is_journaled() || !is_below(to)) return REAL(rename)(from, to);
  char names[PATH_MAX * 2], backup[PATH_MAX];
  back_up(to, backup);
  int result = REAL(rename)(from, to);
  if (result == 0) {
    size_t from_bytes = strlen(from) + 1, to_bytes = strlen(to) + 1;
    memcpy(names, from, from_bytes);
    memcpy(names + from_bytes, to, to_bytes);
    note((struct record){.type = RENAME}, names, from_bytes + to_bytes, backup);
  }
  return result;
}
int rename(const char *from, const char *to) {
  point(OP_RENAME, to, -1);
  int result = renamed(from, to);
  point(OP_RENAME + OP_AFTER, to, -1);
  return result;
}
static int unlinked(const char *path) {
  if (!is_journaled() || !is_below(path)) return REAL(unlink)(path);
  char backup[PATH_MAX];
  back_up(path, backup);
  int result = REAL(unlink)(path);
  if (result == 0) note((struct record){.type = UNLINK}, path, strlen(path) + 1, backup);
  return result;
}
int unlink(const char *path) {
  point(OP_UNLINK, path, -1);
  int result = unlinked(path);
  point(OP_UNLINK + OP_AFTER, path, -1);
  return result;
}
int mkdir(const char *path, mode_t mode) {
  point(OP_MKDIR, path, -1);
  int result = REAL(mkdir)(path, mode);
  if (result == 0 && is_journaled() && is_below(path)) note((struct record){.type = MKDIR}, path, strlen(path) + 1, NULL);
  point(OP_MKDIR + OP_AFTER, path, -1);
  return result;
}
int rmdir(const char *path) {
  point(OP_RMDIR, path, -1);
  int result = REAL(rmdir)(path);
  if (result == 0 && is_journaled() && is_below(path)) note((struct record){.type = RMDIR}, path, strlen(path) + 1, NULL);
  point(OP_RMDIR + OP_AFTER, path, -1);
  return result;
}

static int look_at_space(const char *path, struct statfs *space, int (*real)(const char *, struct statfs *)) {
  int result = real(path, space);
  if (result || !is_ours(path) || !control->free_bytes) return result;
  control->looks_at_space++;
  space->f_bavail = space->f_bfree = control->free_bytes / space->f_bsize;
  return 0;
}
int statfs(const char *path, struct statfs *space) { return look_at_space(path, space, REAL(statfs)); }
int statfs64(const char *path, struct statfs64 *space) { return look_at_space(path, (struct statfs *)space, REAL(statfs)); }

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  if (control && address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in other = *(const struct sockaddr_in *)address;
    for (int i = 0; i < PORTS_MAX && control->ports[i]; i++) {
      int64_t entry = control->ports[i];
      if (ntohs(other.sin_port) != entry >> 32) continue;
      other.sin_port = htons(entry & 0xffff);
      if (control->hosts[i]) other.sin_addr.s_addr = htonl((uint32_t)control->hosts[i]);
      control->connects++;
      return REAL(connect)(fd, (struct sockaddr *)&other, sizeof other);
    }
  }
  return REAL(connect)(fd, address, length);
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
  if (control && control->bind_any && address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in other = *(const struct sockaddr_in *)address;
    if (ntohs(other.sin_port) == control->bind_any) {
      other.sin_addr.s_addr = htonl(INADDR_ANY);
      return REAL(bind)(fd, (struct sockaddr *)&other, sizeof other);
    }
  }
  return REAL(bind)(fd, address, length);
}

static int64_t clock_offset(void) {
  int64_t offset = control ? control->clock_offset_ns : 0;
  if (offset) control->clock_reads++;
  return offset;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = REAL(clock_gettime)(clock, now);
  if (result || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  int64_t offset = clock_offset();
  if (!offset) return 0;
  int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + offset;
  now->tv_sec = ns / 1000000000LL;
  now->tv_nsec = ns % 1000000000LL;
  return 0;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}
