/* Records, in order, what a process and its children do to the files under one folder, and fails calls on request.
 *
 * For LD_PRELOAD, so that what SQLite does is seen too. RECORDER_ROOT is the folder, RECORDER_LOG the log outside of
 * it; either both or neither. Whatever is written to a file opened at RECORDER_MARK becomes a mark in the log, except
 * a line "fail CALL SUFFIX ERRNO NTH COUNT": from the NTH such call on, on a file whose path ends in SUFFIX, COUNT calls fail
 * with ERRNO and do nothing ("none" ends that); a SUFFIX "*TEXT" is any path with TEXT in it. CALL is open, read, write, sync, truncate, rename, unlink or mkdir.
 * RECORDER_FAULT is such a line, without "fail", for the process from its beginning on.
 *
 * A record is: kind (1 byte), inode, offset, lengths of two strings (8 bytes each, little endian), and the strings.
 * recorder.py reads it. Each call runs, and is logged, under one lock in the process and one among processes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 65536
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static struct { char kind; uint64_t inode; char *path; } files[MOST]; /* kind: 'f' file, 'm' mark, 0 others */
static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX], mark[PATH_MAX], logged[PATH_MAX];
static size_t root_length;
static int log_fd = -1, depth;
static pid_t owner;
static struct { char call[16], suffix[256]; int error; long nth, count; } fault;

static void arm(const char *line) {
    memset(&fault, 0, sizeof fault);
    if (sscanf(line, "%15s %255s %d %ld %ld", fault.call, fault.suffix, &fault.error, &fault.nth, &fault.count) != 5)
        fault.count = 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *value;
    if ((value = getenv("RECORDER_ROOT"))) root_length = strlen(strncpy(root, value, sizeof root - 1));
    if ((value = getenv("RECORDER_LOG"))) strncpy(logged, value, sizeof logged - 1);
    if ((value = getenv("RECORDER_MARK"))) strncpy(mark, value, sizeof mark - 1);
    if ((value = getenv("RECORDER_FAULT"))) arm(value);
}

static int real_open(const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

static void enter(void) {
    pthread_mutex_lock(&turn);
    if (depth++ || !*logged) return;
    if (owner != getpid()) {
        owner = getpid();
        log_fd = real_open(logged, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    if (log_fd >= 0) flock(log_fd, LOCK_EX);
}

static void leave(void) {
    int saved = errno;
    if (!--depth && log_fd >= 0) flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&turn);
    errno = saved;
}

static void put(char kind, uint64_t inode, uint64_t offset, const void *a, uint64_t na, const void *b, uint64_t nb) {
    REAL(writev);
    char head[33];
    int saved = errno;
    head[0] = kind;
    memcpy(head + 1, &inode, 8); memcpy(head + 9, &offset, 8); memcpy(head + 17, &na, 8); memcpy(head + 25, &nb, 8);
    struct iovec parts[3] = {{head, 33}, {(void *)a, na}, {(void *)b, nb}};
    if (log_fd >= 0 && real(log_fd, parts, 3) != (ssize_t)(33 + na + nb)) abort();
    errno = saved;
}

/* The absolute path of PATH at DIRECTORY, in a buffer of the caller; whether it is under the root. */
static int whole(int directory, const char *path, char *out) {
    char base[PATH_MAX] = "", link[64];
    if (!root_length || !path) return 0;
    if (*path == '/') snprintf(out, PATH_MAX, "%s", path);
    else {
        if (directory == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(out, PATH_MAX, "%.*s/%s", PATH_MAX / 2, base, path);
    }
    return !strncmp(out, root, root_length) && (out[root_length] == '/' || !out[root_length]);
}

static const char *inner(const char *path) { return path[root_length] ? path + root_length + 1 : path + root_length; }

static int fails(const char *call, const char *path) {
    size_t n = path ? strlen(path) : 0, m = strlen(fault.suffix);
    if (!fault.count || !path || strcmp(fault.call, call)) return 0;
    if (*fault.suffix == '*' ? !strstr(path, fault.suffix + 1) : n < m || strcmp(path + n - m, fault.suffix)) return 0;
    if (--fault.nth > 0) return 0;
    if (fault.count > 0) fault.count--;
    errno = fault.error;
    return 1;
}

static int is_file(int fd) { return fd >= 0 && fd < MOST && files[fd].kind == 'f'; }

static void note(const void *text, size_t size) {
    char line[512] = "";
    memcpy(line, text, size < sizeof line - 1 ? size : sizeof line - 1);
    if (!strncmp(line, "fail ", 5)) arm(line + 5);
    else put('M', 0, 0, text, size, NULL, 0);
}

static int opened(int directory, const char *path, int flags, mode_t mode, int with_mode) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
    char full[PATH_MAX];
    int under = whole(directory, path, full), is_mark = *mark && path && !strcmp(path, mark);
    if (!under && !is_mark) {
        int other = real(directory, path, flags, with_mode ? mode : 0);
        if (other >= 0 && other < MOST) files[other].kind = 0;
        return other;
    }
    enter();
    struct stat status;
    int was = !is_mark && !lstat(full, &status), fd = -1;
    if (!fails("open", full)) fd = real(directory, path, flags, with_mode ? mode : 0);
    if (fd >= 0 && fd < MOST && !fstat(fd, &status)) {
        free(files[fd].path);
        files[fd].path = strdup(full);
        files[fd].kind = is_mark ? 'm' : 'f';
        files[fd].inode = status.st_ino;
        if (!is_mark && !was && (flags & O_CREAT)) put('C', status.st_ino, status.st_mode & 07777, inner(full), strlen(inner(full)), NULL, 0);
        else if (!is_mark && (flags & O_TRUNC)) put('T', status.st_ino, 0, NULL, 0, NULL, 0);
    }
    leave();
    return fd;
}

#define MODE mode_t mode = 0; int has = flags & (O_CREAT | __O_TMPFILE); \
    if (has) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode, has); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode, has); }
int openat(int d, const char *path, int flags, ...) { MODE return opened(d, path, flags, mode, has); }
int openat64(int d, const char *path, int flags, ...) { MODE return opened(d, path, flags, mode, has); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 1); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    REAL(close);
    if (fd < 0 || fd >= MOST || !files[fd].kind) return real(fd);
    enter();
    files[fd].kind = 0;
    int done = real(fd);
    leave();
    return done;
}

static void copied(int from, int to) {
    if (to < 0 || to >= MOST || from < 0 || from >= MOST || from == to) return;
    enter();
    free(files[to].path);
    files[to] = files[from];
    files[to].path = files[from].path ? strdup(files[from].path) : NULL;
    leave();
}
int dup(int fd) { REAL(dup); int done = real(fd); copied(fd, done); return done; }
int dup2(int fd, int to) { REAL(dup2); int done = real(fd, to); copied(fd, done); return done; }
int dup3(int fd, int to, int flags) { REAL(dup3); int done = real(fd, to, flags); copied(fd, done); return done; }

static void written(int fd, const void *data, ssize_t size, off64_t offset) {
    if (size > 0) put('W', files[fd].inode, offset, NULL, 0, data, size);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (fd >= 0 && fd < MOST && files[fd].kind == 'm') { enter(); note(data, size); leave(); return size; }
    if (!is_file(fd)) return real(fd, data, size);
    enter();
    ssize_t done = fails("write", files[fd].path) ? -1 : real(fd, data, size);
    written(fd, data, done, done > 0 ? lseek(fd, 0, SEEK_CUR) - done : 0);
    leave();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    if (!is_file(fd)) return real(fd, data, size, offset);
    enter();
    ssize_t done = fails("write", files[fd].path) ? -1 : real(fd, data, size, offset);
    written(fd, data, done, offset);
    leave();
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(pwritev64);
    if (!is_file(fd)) return real(fd, parts, count, offset);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = pwrite64(fd, parts[i].iov_base, parts[i].iov_len, offset + sum);
        if (done < 0) return sum ? sum : -1;
        sum += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return sum;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    REAL(pwritev2);
    return is_file(fd) ? pwritev64(fd, parts, count, offset) : real(fd, parts, count, offset, flags);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!is_file(fd)) return real(fd, parts, count);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return sum ? sum : -1;
        sum += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return sum;
}

/* What the kernel copies itself is done by hand, so that there is something to log. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    if (!is_file(out)) return real(in, from, out, to, size, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
    REAL(sendfile64);
    if (!is_file(out)) return real(out, in, from, size);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *from, size_t size) { return sendfile64(out, in, from, size); }

#define READS(signature, name, fd, ...) signature { REAL(name); \
    if (!fault.count || !is_file(fd)) return real(fd, __VA_ARGS__); \
    enter(); int bad = fails("read", files[fd].path); leave(); \
    return bad ? -1 : real(fd, __VA_ARGS__); }
READS(ssize_t read(int fd, void *data, size_t size), read, fd, data, size)
READS(ssize_t pread(int fd, void *data, size_t size, off_t offset), pread, fd, data, size, offset)
READS(ssize_t pread64(int fd, void *data, size_t size, off64_t offset), pread64, fd, data, size, offset)
READS(ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t offset), preadv64, fd, v, n, offset)
READS(ssize_t preadv2(int fd, const struct iovec *v, int n, off_t offset, int flags), preadv2, fd, v, n, offset, flags)

#define ON_FILE(signature, name, call, kind, offset, ...) signature { REAL(name); \
    if (!is_file(fd)) return real(__VA_ARGS__); \
    enter(); int done = fails(call, files[fd].path) ? -1 : real(__VA_ARGS__); \
    if (!done) { put(kind, files[fd].inode, offset, NULL, 0, NULL, 0); } \
    leave(); return done; }
ON_FILE(int ftruncate(int fd, off_t size), ftruncate, "truncate", 'T', size, fd, size)
ON_FILE(int ftruncate64(int fd, off64_t size), ftruncate64, "truncate", 'T', size, fd, size)
ON_FILE(int fsync(int fd), fsync, "sync", 'S', 0, fd)
ON_FILE(int fdatasync(int fd), fdatasync, "sync", 'S', 0, fd)
ON_FILE(int fchmod(int fd, mode_t mode), fchmod, "chmod", 'A', mode, fd, mode)

static int allotted(int fd, int mode, off64_t offset, off64_t size) {
    REAL(fallocate64);
    struct stat status;
    enter();
    int done = fails("write", files[fd].path) ? -1 : real(fd, mode, offset, size);
    if (!done && !(mode & FALLOC_FL_KEEP_SIZE) && !fstat(fd, &status)) put('T', files[fd].inode, status.st_size, NULL, 0, NULL, 0);
    leave();
    return done;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    REAL(fallocate64);
    return is_file(fd) ? allotted(fd, mode, offset, size) : real(fd, mode, offset, size);
}
int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(posix_fallocate64);
    return is_file(fd) ? (allotted(fd, 0, offset, size) ? errno : 0) : real(fd, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

static int two(char kind, const char *call, int d1, const char *from, int d2, const char *to, unsigned flags) {
    static int (*rename2)(int, const char *, int, const char *, unsigned), (*link2)(int, const char *, int, const char *, int);
    char a[PATH_MAX], b[PATH_MAX];
    int one = whole(d1, from, a), other = whole(d2, to, b), done = -1;
    if (!rename2) rename2 = dlsym(RTLD_NEXT, "renameat2");
    if (!link2) link2 = dlsym(RTLD_NEXT, "linkat");
    if (one || other) enter();
    struct stat status = {0};
    if (one) lstat(a, &status);
    if (!((one || other) && fails(call, b)))
        done = kind == 'R' ? rename2(d1, from, d2, to, flags) : link2(d1, from, d2, to, flags);
    if (!done && (one || other)) {
        if (one && other) put(kind, status.st_ino, flags, inner(a), strlen(inner(a)), inner(b), strlen(inner(b)));
        else abort(); /* nothing is moved into or out of the folder while it is recorded */
    }
    if (one || other) leave();
    return done;
}
int rename(const char *a, const char *b) { return two('R', "rename", AT_FDCWD, a, AT_FDCWD, b, 0); }
int renameat(int d, const char *a, int e, const char *b) { return two('R', "rename", d, a, e, b, 0); }
int renameat2(int d, const char *a, int e, const char *b, unsigned f) { return two('R', "rename", d, a, e, b, f); }
int link(const char *a, const char *b) { return two('L', "link", AT_FDCWD, a, AT_FDCWD, b, 0); }
int linkat(int d, const char *a, int e, const char *b, int f) { return two('L', "link", d, a, e, b, f); }

#define ON_NAME(kind, call, d, path, offset, second, second_size, ...) \
    char full[PATH_MAX]; \
    if (!whole(d, path, full)) return real(__VA_ARGS__); \
    struct stat status = {0}; \
    enter(); int done = fails(call, full) ? -1 : real(__VA_ARGS__); \
    if (!done) { lstat(full, &status); put(kind, status.st_ino, offset, inner(full), strlen(inner(full)), second, second_size); } \
    leave(); return done;
int unlink(const char *path) { REAL(unlink); ON_NAME('U', "unlink", AT_FDCWD, path, 0, NULL, 0, path) }
int unlinkat(int d, const char *path, int f) { REAL(unlinkat); ON_NAME('U', "unlink", d, path, 0, NULL, 0, d, path, f) }
int rmdir(const char *path) { REAL(rmdir); ON_NAME('U', "unlink", AT_FDCWD, path, 0, NULL, 0, path) }
int mkdir(const char *path, mode_t m) { REAL(mkdir); ON_NAME('D', "mkdir", AT_FDCWD, path, status.st_mode & 07777, NULL, 0, path, m) }
int mkdirat(int d, const char *path, mode_t m) { REAL(mkdirat); ON_NAME('D', "mkdir", d, path, status.st_mode & 07777, NULL, 0, d, path, m) }
int chmod(const char *path, mode_t m) { REAL(chmod); ON_NAME('A', "chmod", AT_FDCWD, path, m, NULL, 0, path, m) }
int fchmodat(int d, const char *path, mode_t m, int f) { REAL(fchmodat); ON_NAME('A', "chmod", d, path, m, NULL, 0, d, path, m, f) }
int symlink(const char *target, const char *path) { REAL(symlink); ON_NAME('Y', "link", AT_FDCWD, path, 0, target, strlen(target), target, path) }
int symlinkat(const char *target, int d, const char *path) { REAL(symlinkat); ON_NAME('Y', "link", d, path, 0, target, strlen(target), target, d, path) }
int truncate(const char *path, off_t size) { REAL(truncate); ON_NAME('T', "truncate", AT_FDCWD, path, size, NULL, 0, path, size) }
int truncate64(const char *path, off64_t size) { return truncate(path, size); }
