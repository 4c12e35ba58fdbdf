/* Loaded before the C library: asks the kernel for a kind of thing that no kernel has, or for a
 * protocol that this one shall not have. The refusal is the kernel's own. Where a file is named that
 * says "1", it lacks nothing any more: as if a module were loaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *kind;
static volatile const char *loaded;

/* While it may still open files. */
__attribute__((constructor)) static void start(void)
{
    const char *name = getenv("HOPBOX_TEST_LOADED");
    int fd = name ? open(name, O_RDONLY) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(0, 1, PROT_READ, MAP_SHARED, fd, 0);
    loaded = at == MAP_FAILED ? 0 : at;
    kind = getenv("HOPBOX_TEST_LACKS");
}
static int lacks(void)
{
    return kind && !(loaded && *loaded == '1');
}
ssize_t write(int fd, const void *bytes, size_t len)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    char *at = lacks() ? memmem(bytes, len, kind, strlen(kind) + 1) : 0;
    if (at)
        *at ^= 0x20;
    return next(fd, bytes, len);
}
int socket(int domain, int type, int protocol)
{
    int (*next)(int, int, int) = dlsym(RTLD_NEXT, "socket");
    if (lacks() && !strcmp(kind, "nf_tables") && domain == 16 && protocol == 12) {
        errno = EPROTONOSUPPORT;
        return -1;
    }
    return next(domain, type, protocol);
}
