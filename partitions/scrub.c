#include "partitions/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"

enum { WINDOW = 1 << 20, PATH_BYTES = 4200 };

/* --- looking --- */

/* Seals sorted by their first bytes; a table of the first two tells most places to be none. */
struct needles {
    const uint8_t **sorted;
    size_t count;
    uint32_t first[(1 << 16) + 1]; /* where those with this beginning start */
};

static int by_bytes(const void *a, const void *b) {
    return memcmp(*(const uint8_t *const *)a, *(const uint8_t *const *)b, ERASE_SEAL_BYTES);
}

static struct needles *needles_open(const struct buffer *seals) {
    struct needles *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->count = seals->len / ERASE_SEAL_BYTES;
    n->sorted = calloc(n->count + 1, sizeof *n->sorted);
    if (n->sorted == NULL) {
        free(n);
        return NULL;
    }
    for (size_t i = 0; i < n->count; i++)
        n->sorted[i] = seals->data + i * ERASE_SEAL_BYTES;
    qsort(n->sorted, n->count, sizeof *n->sorted, by_bytes);
    for (size_t i = 0, v = 0; v <= 1 << 16; v++) {
        while (i < n->count && (size_t)(n->sorted[i][0] << 8 | n->sorted[i][1]) < v)
            i++;
        n->first[v] = (uint32_t)i;
    }
    return n;
}

static void needles_close(struct needles *n) {
    free(n->sorted);
    free(n);
}

static uint64_t count_in(const struct needles *n, const uint8_t *at, size_t len) {
    uint64_t found = 0;
    for (size_t i = 0; i + ERASE_SEAL_BYTES <= len; i++) {
        size_t v = (size_t)at[i] << 8 | at[i + 1];
        for (uint32_t k = n->first[v]; k < n->first[v + 1]; k++)
            found += memcmp(n->sorted[k], at + i, ERASE_SEAL_BYTES) == 0;
    }
    return found;
}

static enum vrs_err look_fd(int fd, const struct needles *n, uint64_t *found, uint64_t *bytes) {
    uint8_t *window = malloc(WINDOW + ERASE_SEAL_BYTES);
    size_t held = 0; /* the end of the last window: one seal less a byte */
    ssize_t got = 0;
    if (window == NULL)
        return ERR_MEMORY;
    while ((got = read(fd, window + held, WINDOW)) > 0 || (got < 0 && errno == EINTR)) {
        if (got < 0)
            continue;
        size_t len = held + (size_t)got;
        *bytes += (uint64_t)got;
        *found += count_in(n, window, len);
        held = len < ERASE_SEAL_BYTES - 1 ? len : ERASE_SEAL_BYTES - 1;
        memmove(window, window + len - held, held);
    }
    free(window);
    return got == 0 ? VRS_OK : ERR_IO;
}

enum vrs_err scrub_look(const char *path, const struct buffer *seals, uint64_t *found,
                        uint64_t *bytes, struct vrs_fault *fault) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return VRS_OK;
    if (fd < 0)
        return err_fail(fault, ERR_IO, "open %s", path);
    struct needles *n = needles_open(seals);
    enum vrs_err e = n == NULL ? ERR_MEMORY : look_fd(fd, n, found, bytes);
    if (n != NULL)
        needles_close(n);
    (void)close(fd);
    return e == VRS_OK ? e : err_fail(fault, e, "look through %s", path);
}

static enum vrs_err look_all(const char *path, const struct buffer *seals, uint64_t *found,
                             uint64_t *bytes, struct vrs_fault *fault) {
    static const char *const ends[] = {"", "-wal", "-journal"};
    char one[PATH_BYTES + 16];
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && e == VRS_OK; i++) {
        (void)snprintf(one, sizeof one, "%s%s", path, ends[i]);
        e = scrub_look(one, seals, found, bytes, fault);
    }
    return e;
}

/* --- writing anew --- */

static enum vrs_err rewrite(const struct store_engine *engine, const char *path,
                            struct vrs_fault *fault) {
    char fresh[PATH_BYTES + 16], journal[PATH_BYTES + 16];
    struct store *s = NULL;
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    (void)snprintf(journal, sizeof journal, "%s-wal", path);
    if (unlink(fresh) != 0 && errno != ENOENT) /* left by a crash; never in use */
        return err_fail(fault, ERR_STORAGE, "remove %s", fresh);
    enum vrs_err e = engine->open(path, 0, &s, fault);
    if (e != VRS_OK)
        return e;
    e = engine->rewrite(s, fresh, fault);
    engine->close(&s); /* the journal is empty now: what it held is in the file that goes */
    if (e != VRS_OK)
        return e;
    if (unlink(journal) != 0 && errno != ENOENT)
        e = err_fail(fault, ERR_STORAGE, "remove %s", journal);
    if (e == VRS_OK && rename(fresh, path) != 0)
        e = err_fail(fault, ERR_STORAGE, "rename %s", fresh);
    return e == VRS_OK ? file_sync_dir_of(path, fault) : e;
}

enum vrs_err scrub_file(const struct store_engine *engine, const char *dir,
                        const char *municipality, const struct buffer *seals, uint64_t small_bytes,
                        struct scrub_result *out, struct vrs_fault *fault) {
    char path[PATH_BYTES];
    struct stat st;
    uint64_t left = 0;
    *out = (struct scrub_result){0};
    (void)snprintf(path, sizeof path, "%.4000s/%s.db", dir, municipality);
    if (stat(path, &st) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : err_fail(fault, ERR_IO, "look at %s", path);
    enum vrs_err e = look_all(path, seals, &out->found, &out->bytes, fault);
    if (e != VRS_OK || (out->found == 0 && (uint64_t)st.st_size > small_bytes))
        return e;
    e = rewrite(engine, path, fault);
    out->rewritten = e == VRS_OK;
    if (e == VRS_OK)
        e = look_all(path, seals, &left, &out->bytes, fault);
    return e == VRS_OK && left > 0 ? err_fail(fault, ERR_CORRUPT, "%s holds erased rows", path) : e;
}
