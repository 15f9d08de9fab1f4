/* Preloaded into a server: a call fails while a file of its name lies in the directory that FAULTS names.
 *
 * fdatasync fails with EIO, pwrite with ENOSPC after it has written half (what a full disk does to a large write).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int armed(const char *call)
{
    char path[4096];
    const char *directory = getenv("FAULTS");

    if (directory == NULL)
        return 0;
    snprintf(path, sizeof path, "%s/%s", directory, call);
    return access(path, F_OK) == 0;
}

int fdatasync(int fd)
{
    static int (*real)(int);

    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (armed("fdatasync")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

static ssize_t write_at(const char *name, int fd, const void *data, size_t count, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t);

    real = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    if (armed("pwrite")) {
        if (count > 4096)
            real(fd, data, count / 2, offset);
        errno = ENOSPC;
        return -1;
    }
    return real(fd, data, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    return write_at("pwrite", fd, data, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off_t offset)
{
    return write_at("pwrite64", fd, data, count, offset);
}
