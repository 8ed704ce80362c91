#include "lib/secret.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/log.h"

void secret_wipe(void *p, size_t n) {
    if (n > 0)
        explicit_bzero(p, n);
}

bool secret_equal(const void *a, const void *b, size_t n) {
    return CRYPTO_memcmp(a, b, n) == 0;
}

static size_t whole_pages(size_t n) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (n == 0)
        n = 1;
    return n > SIZE_MAX - page ? 0 : (n + page - 1) / page * page;
}

void *secret_alloc(size_t n) {
    size_t size = whole_pages(n);
    if (size == 0)
        return NULL;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (madvise(p, size, MADV_DONTDUMP) != 0) {
        (void)munmap(p, size);
        return NULL;
    }
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (mlock(p, size) != 0 && !atomic_flag_test_and_set(&warned))
        log_plain(LOG_WARN, "secret.not_locked");
    return p;
}

void secret_free(void *p, size_t n) {
    if (p == NULL)
        return;
    secret_wipe(p, n);
    (void)munmap(p, whole_pages(n));
}

/* The size stands in front of each block, so that free knows how much to wipe. */
union head {
    size_t size;
    max_align_t align;
};

static void *wiping_malloc(size_t n) {
    if (n > SIZE_MAX - sizeof(union head))
        return NULL;
    union head *h = malloc(sizeof *h + n);
    if (h == NULL)
        return NULL;
    h->size = n;
    return h + 1;
}

static void wiping_free(void *p) {
    if (p == NULL)
        return;
    union head *h = (union head *)p - 1;
    secret_wipe(h, sizeof *h + h->size);
    free(h);
}

static void *openssl_malloc(size_t n, const char *file, int line) {
    (void)file;
    (void)line;
    return wiping_malloc(n);
}

static void openssl_free(void *p, const char *file, int line) {
    (void)file;
    (void)line;
    wiping_free(p);
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line) {
    (void)file;
    (void)line;
    if (p == NULL)
        return wiping_malloc(n);
    if (n == 0) {
        wiping_free(p);
        return NULL;
    }
    size_t had = ((union head *)p - 1)->size;
    void *grown = wiping_malloc(n);
    if (grown == NULL)
        return NULL;
    memcpy(grown, p, had < n ? had : n);
    wiping_free(p);
    return grown;
}

void secret_install_allocators(void) {
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        log_plain(LOG_WARN, "secret.allocators_late");
    json_set_alloc_funcs(wiping_malloc, wiping_free);
    size_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        abort();
    json_object_seed(seed);
}
