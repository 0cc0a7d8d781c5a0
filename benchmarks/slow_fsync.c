/* Makes every fsync of a process take longer, as on the disks of a cloud: a benchmark on a fast disk can say what it would
 * be there.
 *
 *     cc -shared -fPIC -O2 -o slow_fsync.so benchmarks/slow_fsync.c -ldl
 *     SLOW_FSYNC_US=1000 LD_PRELOAD=./slow_fsync.so python -m benchmarks.journal
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int sync_function(int);

static int slowly(const char *name, int descriptor) {
    const char *text = getenv("SLOW_FSYNC_US");
    long us = text ? atol(text) : 0;
    struct timespec pause = {us / 1000000, us % 1000000 * 1000};
    int result = ((sync_function *)dlsym(RTLD_NEXT, name))(descriptor);
    nanosleep(&pause, NULL);
    return result;
}

int fsync(int descriptor) { return slowly("fsync", descriptor); }
int fdatasync(int descriptor) { return slowly("fdatasync", descriptor); }
