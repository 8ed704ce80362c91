#include "vrs-server/signer/heads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

enum { SYNC_MS = 1000, GROWN_BYTES = 16 << 20, UNWRITTEN_MAX = 4 << 20 };

/* Ends what was written and synced as a whole: what a power loss tore stands behind it. */
static const char whole[] = "whole";

struct signed_tree {
    char epoch[40];
    uint64_t size;
    struct merkle_hash root;
};

struct town {
    char municipality[7];
    size_t epochs;
    struct signed_tree *epoch; /* the last one is in use, the others are left behind */
};

struct heads {
    char path[512], fresh[520], dir[500];
    int fd;
    off_t end;          /* of what is written whole */
    struct town *towns; /* sorted */
    size_t count, cap;
    struct buffer unwritten;
    int64_t unsynced_since_ms; /* 0: nothing */
};

/* ---- in memory */

static struct town *town_of(struct heads *h, const char *municipality) {
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(h->towns[mid].municipality, municipality);
        if (c == 0)
            return &h->towns[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (h->count == h->cap) {
        size_t cap = h->cap == 0 ? 64 : 2 * h->cap;
        struct town *grown = reallocarray(h->towns, cap, sizeof *grown);
        if (grown == NULL)
            return NULL;
        h->towns = grown;
        h->cap = cap;
    }
    memmove(&h->towns[low + 1], &h->towns[low], (h->count - low) * sizeof *h->towns);
    h->count++;
    struct town *t = &h->towns[low];
    memset(t, 0, sizeof *t);
    memcpy(t->municipality, municipality, sizeof t->municipality);
    return t;
}

static struct signed_tree *add_epoch(struct town *t, const char *epoch) {
    struct signed_tree *grown = reallocarray(t->epoch, t->epochs + 1, sizeof *grown);
    if (grown == NULL)
        return NULL;
    t->epoch = grown;
    struct signed_tree *s = &t->epoch[t->epochs++];
    memset(s, 0, sizeof *s);
    (void)snprintf(s->epoch, sizeof s->epoch, "%s", epoch);
    return s;
}

/* *changed: there is something to write. */
static enum vrs_err take(struct heads *h, const struct log_signed_head *head, bool *changed,
                         const char **why) {
    struct town *t = town_of(h, head->municipality);
    *changed = false;
    if (t == NULL)
        return ERR_MEMORY;
    struct signed_tree *s = t->epochs > 0 ? &t->epoch[t->epochs - 1] : NULL;
    if (s == NULL || strcmp(s->epoch, head->epoch) != 0) {
        for (size_t i = 0; i < t->epochs; i++) {
            if (strcmp(t->epoch[i].epoch, head->epoch) == 0) {
                *why = "old_epoch";
                return ERR_TAMPERED;
            }
        }
        if ((s = add_epoch(t, head->epoch)) == NULL)
            return ERR_MEMORY;
    } else if (head->size < s->size) {
        *why = "smaller";
        return ERR_TAMPERED;
    } else if (head->size == s->size) {
        if (memcmp(&s->root, &head->root, sizeof s->root) != 0) {
            *why = "other_root";
            return ERR_TAMPERED;
        }
        return VRS_OK;
    }
    s->size = head->size;
    s->root = head->root;
    *changed = true;
    return VRS_OK;
}

static void put_line(struct buffer *b, const char *municipality, const struct signed_tree *s) {
    char root[2 * CRYPTO_HASH_BYTES + 1];
    crypto_hex(s->root.bytes, sizeof s->root.bytes, root);
    (void)buffer_printf(b, "%s %s %llu %s\n", municipality, s->epoch, (unsigned long long)s->size,
                        root);
}

enum vrs_err heads_take(struct heads *h, const struct log_signed_head *head, const char **why) {
    bool changed;
    struct signed_tree s = {.size = head->size, .root = head->root};
    enum vrs_err e = take(h, head, &changed, why);
    memcpy(s.epoch, head->epoch, sizeof s.epoch);
    if (e == VRS_OK && changed)
        put_line(&h->unwritten, head->municipality, &s);
    return e;
}

bool heads_last(const struct heads *h, const char *municipality, struct log_signed_head *out) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < h->count; i++) {
        const struct town *t = &h->towns[i];
        if (strcmp(t->municipality, municipality) != 0 || t->epochs == 0)
            continue;
        const struct signed_tree *s = &t->epoch[t->epochs - 1];
        memcpy(out->municipality, t->municipality, sizeof out->municipality);
        (void)snprintf(out->epoch, sizeof out->epoch, "%s", s->epoch);
        out->size = s->size;
        out->root = s->root;
        return true;
    }
    return false;
}

size_t heads_count(const struct heads *h) {
    return h->count;
}

/* ---- the file */

static bool write_all(int fd, const uint8_t *p, size_t n, off_t at) {
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static bool sync_dir(const struct heads *h) {
    int fd = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* All that is known into a new file that takes the old one's place. */
static enum vrs_err compact(struct heads *h) {
    struct buffer all;
    buffer_init(&all, SIZE_MAX / 2);
    for (size_t i = 0; i < h->count; i++)
        for (size_t k = 0; k < h->towns[i].epochs; k++)
            put_line(&all, h->towns[i].municipality, &h->towns[i].epoch[k]);
    (void)buffer_printf(&all, "%s\n", whole);
    int fd = open(h->fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !all.failed && write_all(fd, all.data, all.len, 0) && fsync(fd) == 0 &&
              rename(h->fresh, h->path) == 0 && sync_dir(h);
    if (ok) {
        if (h->fd >= 0)
            (void)close(h->fd);
        h->fd = fd;
        h->end = (off_t)all.len;
        h->unsynced_since_ms = 0;
        buffer_clear(&h->unwritten);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    buffer_fini(&all);
    return ok ? VRS_OK : ERR_STORAGE;
}

enum vrs_err heads_write(struct heads *h) {
    if (h->unwritten.failed) /* longer than a disk may be full: all of it, from memory */
        return compact(h);
    if (h->unwritten.len == 0)
        return VRS_OK;
    if (!write_all(h->fd, h->unwritten.data, h->unwritten.len, h->end))
        return ERR_STORAGE;
    h->end += (off_t)h->unwritten.len;
    buffer_clear(&h->unwritten);
    if (h->unsynced_since_ms == 0)
        h->unsynced_since_ms = clock_mono_ms();
    return VRS_OK;
}

static void sync_now(struct heads *h) {
    bool ok = h->end > GROWN_BYTES ? compact(h) == VRS_OK : fdatasync(h->fd) == 0;
    h->unsynced_since_ms = ok ? 0 : clock_mono_ms();
    if (!ok)
        log_plain(LOG_ERROR, "signer.heads_not_synced");
}

int heads_idle(struct heads *h) {
    if (h->unsynced_since_ms == 0)
        return -1;
    int64_t left = h->unsynced_since_ms + SYNC_MS - clock_mono_ms();
    if (left > 0)
        return (int)left;
    sync_now(h);
    return h->unsynced_since_ms == 0 ? -1 : SYNC_MS;
}

static bool copy_word(char **rest, char *out, size_t cap, const char *alphabet) {
    const char *word = strsep(rest, " ");
    size_t n = word != NULL ? strlen(word) : 0;
    if (n == 0 || n >= cap || strspn(word, alphabet) != n)
        return false;
    memcpy(out, word, n + 1);
    return true;
}

/* One line as put_line writes it, without its end. */
static bool read_line(char *line, struct log_signed_head *out) {
    char root[2 * CRYPTO_HASH_BYTES + 1], size[21], *end;
    memset(out, 0, sizeof *out);
    if (!copy_word(&line, out->municipality, sizeof out->municipality, "0123456789") ||
        !copy_word(&line, out->epoch, sizeof out->epoch, "0123456789abcdef-") ||
        !copy_word(&line, size, sizeof size, "0123456789") ||
        !copy_word(&line, root, sizeof root, "0123456789abcdef") || line != NULL)
        return false;
    out->size = strtoull(size, &end, 10);
    return strlen(out->municipality) == 6 && strlen(root) == sizeof root - 1 &&
           crypto_unhex(root, out->root.bytes, sizeof out->root.bytes);
}

/* A power loss leaves zeros where a file had grown and its bytes were not on the disk yet, or what
 * some other file had there: such a line, and a last one without its end, are left out.  They were
 * not synced, so nothing that must be remembered stands in them. */
static enum vrs_err read_file(struct heads *h, struct vrs_fault *fault) {
    char *line = NULL;
    size_t cap = 0, n = 0;
    ssize_t len;
    const char *why = "malformed";
    enum vrs_err e = VRS_OK;
    bool appended = false;
    FILE *f = fopen(h->path, "re");
    if (f == NULL)
        return errno == ENOENT ? VRS_OK : err_fail(fault, ERR_IO, "open %s", h->path);
    while (e == VRS_OK && (len = getline(&line, &cap, f)) > 0) {
        struct log_signed_head head;
        bool changed;
        n++;
        if (line[len - 1] != '\n' || memchr(line, '\0', (size_t)len) != NULL) {
            log_event(LOG_WARN, "signer.line_cut_off", LF_INT("line", n));
            continue;
        }
        line[len - 1] = '\0';
        if (!appended && strcmp(line, whole) == 0) {
            appended = true;
        } else if (read_line(line, &head)) {
            e = take(h, &head, &changed, &why);
        } else if (appended) {
            log_event(LOG_WARN, "signer.line_cut_off", LF_INT("line", n));
        } else {
            e = ERR_CORRUPT;
        }
    }
    free(line);
    (void)fclose(f);
    return e == VRS_OK || e == ERR_MEMORY
               ? e
               : err_fail(fault, ERR_CORRUPT, "%s, line %zu: %s", h->path, n, why);
}

enum vrs_err heads_open(const char *state_dir, struct heads **out, struct vrs_fault *fault) {
    *out = NULL;
    if (mkdir(state_dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_IO, "make %s", state_dir);
    struct heads *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_fail(fault, ERR_MEMORY, "heads");
    h->fd = -1;
    buffer_init(&h->unwritten, UNWRITTEN_MAX);
    enum vrs_err e = strlen(state_dir) < sizeof h->dir
                         ? VRS_OK
                         : err_fail(fault, ERR_CONFIG, "state_dir is too long");
    (void)snprintf(h->dir, sizeof h->dir, "%s", state_dir);
    (void)snprintf(h->path, sizeof h->path, "%s/heads", h->dir);
    (void)snprintf(h->fresh, sizeof h->fresh, "%s/heads.new", h->dir);
    if (e == VRS_OK)
        e = read_file(h, fault);
    if (e == VRS_OK && compact(h) != VRS_OK)
        e = err_fail(fault, ERR_STORAGE, "write %s", h->fresh);
    *out = h;
    if (e != VRS_OK)
        heads_close(out);
    return e;
}

void heads_close(struct heads **hp) {
    struct heads *h = *hp;
    if (h == NULL)
        return;
    if (h->fd >= 0) {
        if (heads_write(h) != VRS_OK)
            log_plain(LOG_ERROR, "signer.heads_not_written");
        sync_now(h);
        (void)close(h->fd);
    }
    for (size_t i = 0; i < h->count; i++)
        free(h->towns[i].epoch);
    free(h->towns);
    buffer_fini(&h->unwritten);
    free(h);
    *hp = NULL;
}
