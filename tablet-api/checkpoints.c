#include "tablet-api/checkpoints.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/worker.h"

enum {
    DIR_BYTES = 480,
    FILES_SYNCED_ALONE = 8, /* above it the file system as a whole, once */
    GROWN_LINES = 20000,    /* since a file was thinned out: it is looked through again */
    QUEUED_MAX = 200
};

#define HOUR_MS INT64_C(3600000)
static const int64_t week_ms = 7 * 24 * HOUR_MS, kept_ms = INT64_C(2600) * 24 * HOUR_MS;

/* What is known of a municipality's file. */
struct place {
    char municipality[7];
    bool unsynced;
    uint64_t lines, lines_thinned;
    struct log_signed_head last; /* of the last line */
};

struct checkpoints {
    char dir[DIR_BYTES];
    int dir_fd;
    bool dir_changed;
    struct place *places; /* sorted */
    size_t count, cap;
    struct worker *worker;
};

static struct metric kept_total = {.name = "vrs_checkpoints_total",
                                   .help = "Signed heads kept in the second place",
                                   .type = METRIC_COUNTER,
                                   .registered = ATOMIC_FLAG_INIT};

/* ---- lines */

static bool write_line(const struct log_signed_head *h, char line[CHECKPOINT_LINE_BYTES]) {
    struct buffer text;
    json_t *json = proof_head_json(h);
    buffer_init(&text, CHECKPOINT_LINE_BYTES);
    bool ok = json != NULL && json_write(&text, json) && text.len < CHECKPOINT_LINE_BYTES;
    memset(line, ' ', CHECKPOINT_LINE_BYTES);
    if (ok)
        memcpy(line, text.data, text.len);
    line[CHECKPOINT_LINE_BYTES - 1] = '\n';
    buffer_fini(&text);
    json_decref(json);
    return ok;
}

static bool read_line(const char *line, struct log_signed_head *out) {
    json_t *json = NULL;
    bool ok = json_parse(line, CHECKPOINT_LINE_BYTES, &json, NULL) == VRS_OK &&
              proof_head_from_json(json, out) == VRS_OK;
    json_decref(json);
    return ok;
}

/* The value of a member whose text has no quotes in it. */
static bool member(const char *line, const char *name, char *out, size_t cap) {
    char quoted[32];
    int n = snprintf(quoted, sizeof quoted, "\"%s\":\"", name);
    const char *at = memmem(line, CHECKPOINT_LINE_BYTES, quoted, (size_t)n);
    const char *end = line + CHECKPOINT_LINE_BYTES;
    size_t len = 0;
    if (at == NULL)
        return false;
    for (at += n; at < end && *at != '"' && len + 1 < cap; at++)
        out[len++] = *at;
    out[len] = '\0';
    return at < end && *at == '"';
}

static int64_t line_ms(const char *line) {
    char at[32];
    int64_t ms;
    return member(line, "signed_at", at, sizeof at) && clock_parse_rfc3339(at, &ms) ? ms : 0;
}

/* ---- a file */

static int open_file(const struct checkpoints *c, const char *municipality, int flags) {
    return openat(c->dir_fd, municipality, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool read_at(int fd, uint64_t line, char out[CHECKPOINT_LINE_BYTES]) {
    return pread(fd, out, CHECKPOINT_LINE_BYTES, (off_t)(line * CHECKPOINT_LINE_BYTES)) ==
           CHECKPOINT_LINE_BYTES;
}

static uint64_t lines_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size / CHECKPOINT_LINE_BYTES : 0;
}

/* A line goes when it is older than a week and another one of its hour follows, or when it is older
 * than all that must be kept. */
static bool goes(int64_t at_ms, int64_t next_ms, int64_t now_ms) {
    if (at_ms < now_ms - kept_ms)
        return true;
    return at_ms < now_ms - week_ms && next_ms / HOUR_MS == at_ms / HOUR_MS;
}

/* Copies what stays; *stayed its lines.  Into nothing (out < 0): only counts. */
static bool copy_staying(int in, uint64_t lines, int out, uint64_t *stayed) {
    char line[2][CHECKPOINT_LINE_BYTES];
    int64_t now_ms = clock_now_ms();
    *stayed = 0;
    if (lines > 0 && !read_at(in, 0, line[0]))
        return false;
    for (uint64_t i = 0; i < lines; i++) {
        const char *this = line[i % 2];
        char *next = line[(i + 1) % 2];
        bool last = i + 1 == lines;
        if (!last && !read_at(in, i + 1, next))
            return false;
        if (!last && goes(line_ms(this), line_ms(next), now_ms))
            continue;
        if (out >= 0 && write(out, this, CHECKPOINT_LINE_BYTES) != CHECKPOINT_LINE_BYTES)
            return false;
        (*stayed)++;
    }
    return true;
}

/* The thinned file takes the place of the whole one.  When that fails the whole one stays. */
static void thin_out(struct checkpoints *c, struct place *p) {
    char fresh[16];
    uint64_t stayed = 0, copied = 0;
    int in = open_file(c, p->municipality, O_RDONLY), out = -1;
    (void)snprintf(fresh, sizeof fresh, "%s.new", p->municipality);
    bool ok = in >= 0 && copy_staying(in, p->lines, -1, &stayed);
    if (ok && stayed < p->lines) {
        out = open_file(c, fresh, O_WRONLY | O_CREAT | O_TRUNC);
        ok = out >= 0 && copy_staying(in, p->lines, out, &copied) && copied == stayed &&
             fsync(out) == 0 && renameat(c->dir_fd, fresh, c->dir_fd, p->municipality) == 0;
        c->dir_changed = true;
        if (ok)
            p->lines = stayed;
        else
            log_event(LOG_ERROR, "checkpoints.not_thinned",
                      LF_STR("municipality", p->municipality));
    }
    p->lines_thinned = p->lines;
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
}

/* What a crash cut off of the last line, or what a power loss left as zeros where the file had
 * grown, was told to nobody. */
static uint64_t lines_written(int fd) {
    char line[CHECKPOINT_LINE_BYTES];
    uint64_t lines = lines_of(fd);
    while (lines > 0 && read_at(fd, lines - 1, line) && memchr(line, '\0', sizeof line) != NULL)
        lines--;
    return lines;
}

static enum vrs_err load(struct checkpoints *c, struct place *p) {
    char line[CHECKPOINT_LINE_BYTES];
    struct stat st;
    int fd = open_file(c, p->municipality, O_RDWR);
    if (fd < 0)
        return errno == ENOENT ? VRS_OK : ERR_IO;
    p->lines = lines_written(fd);
    off_t whole = (off_t)(p->lines * CHECKPOINT_LINE_BYTES);
    enum vrs_err e =
        fstat(fd, &st) == 0 && (st.st_size == whole || ftruncate(fd, whole) == 0) ? VRS_OK : ERR_IO;
    if (e == VRS_OK && p->lines > 0 &&
        (!read_at(fd, p->lines - 1, line) || !read_line(line, &p->last)))
        e = ERR_CORRUPT;
    (void)close(fd);
    if (e == VRS_OK)
        thin_out(c, p);
    return e;
}

static enum vrs_err place_of(struct checkpoints *c, const char *municipality, struct place **out) {
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int k = strcmp(c->places[mid].municipality, municipality);
        if (k == 0) {
            *out = &c->places[mid];
            return VRS_OK;
        }
        if (k < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 64 : 2 * c->cap;
        struct place *grown = reallocarray(c->places, cap, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        c->places = grown;
        c->cap = cap;
    }
    struct place fresh;
    memset(&fresh, 0, sizeof fresh);
    (void)snprintf(fresh.municipality, sizeof fresh.municipality, "%s", municipality);
    enum vrs_err e = load(c, &fresh);
    if (e != VRS_OK) {
        log_event(LOG_ERROR, "checkpoints.unreadable", LF_STR("municipality", municipality),
                  LF_ERR(e));
        return e;
    }
    memmove(&c->places[low + 1], &c->places[low], (c->count - low) * sizeof *c->places);
    c->count++;
    c->places[low] = fresh;
    *out = &c->places[low];
    return VRS_OK;
}

/* An epoch other than the last one's: was it left behind before? */
static enum vrs_err epoch_known(const struct checkpoints *c, const struct place *p,
                                const char *epoch, bool *known) {
    char line[CHECKPOINT_LINE_BYTES], there[40];
    int fd = open_file(c, p->municipality, O_RDONLY);
    enum vrs_err e = fd >= 0 ? VRS_OK : ERR_IO;
    *known = false;
    for (uint64_t i = 0; e == VRS_OK && !*known && i < p->lines; i++) {
        if (!read_at(fd, i, line) || !member(line, "epoch", there, sizeof there))
            e = ERR_CORRUPT;
        else
            *known = strcmp(there, epoch) == 0;
    }
    if (fd >= 0)
        (void)close(fd);
    return e;
}

static enum vrs_err append(struct checkpoints *c, struct place *p,
                           const struct log_signed_head *h) {
    char line[CHECKPOINT_LINE_BYTES];
    off_t at = (off_t)(p->lines * CHECKPOINT_LINE_BYTES);
    if (!write_line(h, line))
        return ERR_BAD_FIELD;
    int fd = open_file(c, p->municipality, O_WRONLY | O_CREAT);
    if (fd < 0)
        return ERR_STORAGE;
    bool ok = pwrite(fd, line, sizeof line, at) == (ssize_t)sizeof line;
    if (!ok && ftruncate(fd, at) != 0)
        log_plain(LOG_ERROR, "checkpoints.not_cut_back"); /* the next append overwrites it */
    (void)close(fd);
    if (!ok)
        return ERR_STORAGE;
    c->dir_changed |= p->lines == 0;
    p->lines++;
    p->last = *h;
    p->unsynced = true;
    metric_add(&kept_total, 1);
    return VRS_OK;
}

enum vrs_err checkpoints_keep(struct checkpoints *c, const struct log_signed_head *h,
                              enum checkpoint_found *out) {
    struct place *p;
    bool known = false;
    *out = CHECKPOINT_KEPT;
    enum vrs_err e = place_of(c, h->municipality, &p);
    if (e == VRS_OK && p->lines > 0 && strcmp(p->last.epoch, h->epoch) == 0) {
        bool same = memcmp(p->last.root.bytes, h->root.bytes, sizeof h->root.bytes) == 0;
        if (h->size < p->last.size || (h->size == p->last.size && !same))
            *out = CHECKPOINT_FORK;
        else if (h->size == p->last.size)
            *out = CHECKPOINT_THERE;
    } else if (e == VRS_OK && p->lines > 0) {
        e = epoch_known(c, p, h->epoch, &known);
        if (known)
            *out = CHECKPOINT_FORK;
    }
    if (e != VRS_OK || *out != CHECKPOINT_KEPT)
        return e;
    if (p->lines > p->lines_thinned + GROWN_LINES)
        thin_out(c, p);
    return append(c, p, h);
}

enum vrs_err checkpoints_sync(struct checkpoints *c) {
    size_t n = 0;
    bool ok = true;
    for (size_t i = 0; i < c->count; i++)
        n += c->places[i].unsynced;
    if (n > FILES_SYNCED_ALONE)
        ok = syncfs(c->dir_fd) == 0;
    for (size_t i = 0; ok && n <= FILES_SYNCED_ALONE && i < c->count; i++) {
        if (!c->places[i].unsynced)
            continue;
        int fd = open_file(c, c->places[i].municipality, O_WRONLY);
        ok = fd >= 0 && fdatasync(fd) == 0;
        if (fd >= 0)
            (void)close(fd);
    }
    if (ok && c->dir_changed)
        ok = fsync(c->dir_fd) == 0;
    if (!ok)
        return ERR_STORAGE;
    c->dir_changed = false;
    for (size_t i = 0; i < c->count; i++)
        c->places[i].unsynced = false;
    return VRS_OK;
}

/* The first line signed after since_ms. */
static bool first_after(int fd, uint64_t lines, int64_t since_ms, uint64_t *out) {
    char line[CHECKPOINT_LINE_BYTES];
    uint64_t low = 0, high = lines;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (!read_at(fd, mid, line))
            return false;
        if (line_ms(line) > since_ms)
            high = mid;
        else
            low = mid + 1;
    }
    *out = low;
    return true;
}

static size_t trimmed(const char line[CHECKPOINT_LINE_BYTES]) {
    size_t n = CHECKPOINT_LINE_BYTES;
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\n'))
        n--;
    return n;
}

enum vrs_err checkpoints_read(struct checkpoints *c, const char *municipality, int64_t since_ms,
                              struct buffer *out) {
    char line[CHECKPOINT_LINE_BYTES], at[32];
    if (strlen(municipality) != 6 || strspn(municipality, "0123456789") != 6)
        return ERR_NOT_FOUND;
    int fd = open_file(c, municipality, O_RDONLY);
    if (fd < 0)
        return ERR_NOT_FOUND;
    uint64_t lines = lines_of(fd), i = lines > CHECKPOINT_PAGE ? lines - CHECKPOINT_PAGE : 0;
    bool ok = since_ms < 0 || first_after(fd, lines, since_ms, &i);
    uint64_t stop = lines - i > CHECKPOINT_PAGE ? i + CHECKPOINT_PAGE : lines;
    (void)buffer_puts(out, "{\"checkpoints\":[");
    for (bool first = true; ok && i < stop; i++, first = false) {
        ok = read_at(fd, i, line);
        if (ok && !first)
            (void)buffer_puts(out, ",");
        if (ok)
            (void)buffer_put(out, line, trimmed(line));
    }
    (void)close(fd);
    (void)buffer_puts(out, "]");
    if (ok && stop < lines && member(line, "signed_at", at, sizeof at))
        (void)buffer_printf(out, ",\"next\":\"%s\"", at);
    (void)buffer_puts(out, "}");
    return !ok ? ERR_IO : out->failed ? ERR_MEMORY : VRS_OK;
}

/* ---- life */

enum vrs_err checkpoints_open(struct event_base *base, const char *dir, struct checkpoints **out,
                              struct vrs_fault *fault) {
    *out = NULL;
    if (strlen(dir) >= DIR_BYTES)
        return err_fail(fault, ERR_CONFIG, "state_dir is too long");
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_IO, "make %s", dir);
    struct checkpoints *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_fail(fault, ERR_MEMORY, "checkpoints");
    (void)snprintf(c->dir, sizeof c->dir, "%s", dir);
    c->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum vrs_err e = c->dir_fd >= 0 ? VRS_OK : err_fail(fault, ERR_IO, "open %s", dir);
    if (e == VRS_OK && base != NULL)
        e = worker_open(base, "checkpoints", QUEUED_MAX, NULL, c, &c->worker);
    metric_register(&kept_total);
    *out = c;
    if (e != VRS_OK)
        checkpoints_close(out);
    return e;
}

void checkpoints_close(struct checkpoints **cp) {
    struct checkpoints *c = *cp;
    if (c == NULL)
        return;
    if (c->worker != NULL)
        worker_close(&c->worker);
    if (c->dir_fd >= 0)
        (void)close(c->dir_fd);
    free(c->places);
    free(c);
    *cp = NULL;
}

struct worker *checkpoints_worker(struct checkpoints *c) {
    return c->worker;
}
