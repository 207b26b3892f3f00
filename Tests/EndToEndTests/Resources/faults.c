/* What a test does to a program that it starts, without any rights: a wall clock that jumps, and a disk that takes
 * nothing. Preloaded into the program; the file that BOOTGATE_FAULTS names says what is wrong at the moment, and the
 * test may change it at any time. The disk is what lies below BOOTGATE_FAULT_FOLDER. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    /* Seconds that are added to the wall clock. */
    volatile int64_t clock;
    /* What writing to the folder fails with; 0: it does not fail. */
    volatile int64_t error;
};

static const struct faults none;
static const struct faults *faults = &none;
static const char *folder = "";

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("BOOTGATE_FAULTS");
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return;
    void *memory = mmap(NULL, sizeof(struct faults), PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (memory == MAP_FAILED)
        return;
    const char *name = getenv("BOOTGATE_FAULT_FOLDER");
    folder = name ? name : "";
    faults = memory;
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* The clock. */

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += faults->clock;
    return result;
}

int gettimeofday(struct timeval *time, void *zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}

/* The kernel waits by the clock as it stands at each moment. */
int sem_timedwait(sem_t *semaphore, const struct timespec *limit)
{
    for (;;) {
        struct timespec now, slice;
        if (sem_trywait(semaphore) == 0)
            return 0;
        if (errno != EAGAIN)
            return -1;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > limit->tv_sec || (now.tv_sec == limit->tv_sec && now.tv_nsec >= limit->tv_nsec)) {
            errno = ETIMEDOUT;
            return -1;
        }
        clock_gettime(CLOCK_MONOTONIC, &slice);
        slice.tv_nsec += 10000000;
        if (slice.tv_nsec >= 1000000000) {
            slice.tv_nsec -= 1000000000;
            slice.tv_sec += 1;
        }
        if (sem_clockwait(semaphore, CLOCK_MONOTONIC, &slice) == 0)
            return 0;
        if (errno == EINTR)
            return -1;
    }
}

/* The disk. */

static int is_inside(const char *path)
{
    size_t length = strlen(folder);
    return length > 0 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int fails(int descriptor)
{
    char link[64], path[4096];
    ssize_t count;
    int error = (int)faults->error, before = errno;
    if (error == 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    count = readlink(link, path, sizeof path - 1);
    if (count < 0)
        count = 0;
    path[count] = 0;
    errno = before;
    if (!is_inside(path))
        return 0;
    errno = error;
    return 1;
}

/* A disk without room makes no new files; one that is read-only opens none for writing. */
static int fails_to_open(const char *path, int flags)
{
    int error = (int)faults->error, isNew;
    if (error == 0 || !is_inside(path))
        return 0;
    isNew = (flags & O_CREAT) && access(path, F_OK) != 0;
    if (!isNew && (error != EROFS || (flags & O_ACCMODE) == O_RDONLY))
        return 0;
    errno = error;
    return 1;
}

ssize_t write(int descriptor, const void *bytes, size_t count)
{
    return fails(descriptor) ? -1 : (ssize_t)syscall(SYS_write, descriptor, bytes, count);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset)
{
    return fails(descriptor) ? -1 : (ssize_t)syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset)
{
    return pwrite64(descriptor, bytes, count, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
    return fails(descriptor) ? -1 : (ssize_t)syscall(SYS_writev, descriptor, parts, count);
}

int ftruncate64(int descriptor, off64_t size) { return fails(descriptor) ? -1 : REAL(ftruncate64)(descriptor, size); }

int ftruncate(int descriptor, off_t size) { return fails(descriptor) ? -1 : REAL(ftruncate)(descriptor, size); }

int mkdir(const char *path, mode_t mode)
{
    if (fails_to_open(path, O_CREAT))
        return -1;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int unlink(const char *path)
{
    if (faults->error == EROFS && is_inside(path)) {
        errno = EROFS;
        return -1;
    }
    return REAL(unlink)(path);
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if (fails_to_open(path, flags))                                                                                \
            return -1;                                                                                                 \
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);                                                  \
    }

OPEN(open)
OPEN(open64)
