/* The clocks of a machine that slept or whose time was set, as clock_gettime(2) and gettimeofday(2) tell them.

   LD_PRELOAD this into a process, with ASLEEP_FILE naming a file of one or two int64: nanoseconds slept so far, during
   which CLOCK_MONOTONIC stood still and the wall clock went on; and nanoseconds by which the wall clock is wrong. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static volatile struct {
    int64_t slept, wrong;
} *clocks;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("ASLEEP_FILE");
    int handle = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *found = handle < 0 ? MAP_FAILED : mmap(NULL, sizeof *clocks, PROT_READ, MAP_SHARED, handle, 0);
    if (handle >= 0)
        close(handle);
    if (found == MAP_FAILED)
        abort();
    clocks = found;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, id, now);
    int64_t off = 0;
    if (clocks && (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW || id == CLOCK_MONOTONIC_COARSE))
        off = -clocks->slept;
    else if (clocks && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        off = clocks->wrong;
    if (!result && off) {
        int64_t left = now->tv_sec * SECOND + now->tv_nsec + off;
        now->tv_sec = left / SECOND;
        now->tv_nsec = left % SECOND;
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (told)
        *told = found.tv_sec;
    return found.tv_sec;
}
