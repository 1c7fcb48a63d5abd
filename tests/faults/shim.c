/* A disk and a clock that fail, for any process that is started with LD_PRELOAD: writes and syncs of chosen files are
   slow or end in an error, and the clock of day is set back. What fails is read from a page of memory that the test
   shares (FAULTS_PAGE names its file; shim.py writes it), so a fault begins and ends while the process runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    int64_t sync_error;   /* errno of fsync and fdatasync; 0: they work */
    int64_t write_error;  /* errno of write and pwrite */
    int64_t delay_us;     /* before each write and sync */
    int64_t clock_s;      /* added to the clock of day */
    char where[224];      /* files whose path holds this */
};

static volatile struct faults *faults(void) {
    static volatile struct faults *shared;
    if (!shared) {
        static struct faults none;
        const char *name = getenv("FAULTS_PAGE");
        int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
        void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0)
            close(file);
        shared = page == MAP_FAILED ? &none : page;
    }
    return shared;
}

static int concerns(int file, volatile struct faults *now) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strstr(path, (const char *)now->where) != NULL;
}

/* 1 where the call must fail, errno set. */
static int fails(int file, int is_sync) {
    volatile struct faults *now = faults();
    int64_t error = is_sync ? now->sync_error : now->write_error;
    if ((!error && !now->delay_us) || !concerns(file, now))
        return 0;
    if (now->delay_us)
        usleep((useconds_t)now->delay_us);
    errno = (int)error;
    return error != 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int fsync(int file) { REAL(fsync); return fails(file, 1) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); return fails(file, 1) ? -1 : real(file); }

ssize_t write(int file, const void *from, size_t size) {
    REAL(write);
    return fails(file, 0) ? -1 : real(file, from, size);
}

ssize_t pwrite(int file, const void *from, size_t size, off_t at) {
    REAL(pwrite);
    return fails(file, 0) ? -1 : real(file, from, size, at);
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
    REAL(pwrite64);
    return fails(file, 0) ? -1 : real(file, from, size, at);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME)
        now->tv_sec += faults()->clock_s;
    return result;
}
