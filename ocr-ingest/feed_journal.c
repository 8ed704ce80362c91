#include "ocr-ingest/feed_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/secret.h"

enum { LINE_MAX_BYTES = 320, SUM_BYTES = 6, ROWS_MAX = 20000000 };

static const char magic[] = "ocr-ingest-journal 1 ";

struct feed_journal {
    FILE *file;
    struct secret_key key;
    struct feed_entry *entry; /* by row */
    uint64_t cap;
    uint64_t rows;
    off_t synced; /* bytes that are on the disk for sure */
    bool mark;    /* nothing was written since the last sync */
    bool failed;  /* sticky: after a failed write nothing more may be sent */
};

static const char *const state_names[FEED_STATES] = {
    "new",     "keyed",    "refused", "pending",          "recorded", "duplicate", "review",
    "waiting", "conflict", "proven",  "duplicate_proven", "unproven", "bad_proof"};

const char *feed_state_name(enum feed_state s) {
    return s < FEED_STATES ? state_names[s] : "?";
}

bool feed_state_stored(enum feed_state s) {
    return s >= FEED_PENDING && s < FEED_STATES;
}

static bool state_by_name(const char *name, enum feed_state *out) {
    for (int i = 0; i < FEED_STATES; i++) {
        if (strcmp(state_names[i], name) == 0) {
            *out = (enum feed_state)i;
            return true;
        }
    }
    return false;
}

/* --- the table in memory --- */

static struct feed_entry *entry_for(struct feed_journal *j, uint64_t row) {
    if (row >= ROWS_MAX)
        return NULL;
    if (row >= j->cap) {
        uint64_t cap = j->cap != 0 ? j->cap : 1024;
        while (cap <= row)
            cap *= 2;
        struct feed_entry *e = reallocarray(j->entry, (size_t)cap, sizeof *e);
        if (e == NULL)
            return NULL;
        memset(e + j->cap, 0, (size_t)(cap - j->cap) * sizeof *e);
        j->entry = e;
        j->cap = cap;
    }
    if (row > j->rows)
        j->rows = row;
    return &j->entry[row];
}

const struct feed_entry *feed_journal_find(const struct feed_journal *j, uint64_t row) {
    return row < j->cap && j->entry[row].state != FEED_NEW ? &j->entry[row] : NULL;
}

uint64_t feed_journal_rows(const struct feed_journal *j) {
    return j->rows;
}

static bool set_text(char **to, const char *s) {
    free(*to);
    *to = NULL;
    if (s == NULL || s[0] == '\0' || strcmp(s, "-") == 0)
        return true;
    *to = strdup(s);
    return *to != NULL;
}

/* --- records --- */

static void checksum(const struct feed_journal *j, const char *line, size_t n,
                     char out[2 * SUM_BYTES + 1]) {
    uint8_t mac[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(j->key.bytes, sizeof j->key.bytes, line, n, mac);
    crypto_hex(mac, SUM_BYTES, out);
}

static bool print_record(struct feed_journal *j, const char *text) {
    char sum[2 * SUM_BYTES + 1];
    checksum(j, text, strlen(text), sum);
    return fprintf(j->file, "%s %s\n", text, sum) > 0;
}

static enum vrs_err write_record(struct feed_journal *j, const char *text,
                                 struct vrs_fault *fault) {
    char mark[40];
    (void)snprintf(mark, sizeof mark, "Y %lld", (long long)j->synced);
    bool ok = !j->failed && (!j->mark || print_record(j, mark)) && print_record(j, text);
    j->mark = false;
    if (!ok) {
        j->failed = true;
        return err_fail(fault, ERR_STORAGE, "write the journal");
    }
    return VRS_OK;
}

static bool take_key(struct feed_journal *j, uint64_t row, const char *key, const char *mac) {
    struct feed_entry *e = strlen(key) == FEED_KEY_SIZE - 1 ? entry_for(j, row) : NULL;
    if (e == NULL || !crypto_unhex(mac, e->mac, FEED_MAC_BYTES))
        return false;
    memcpy(e->key, key, FEED_KEY_SIZE);
    e->state = FEED_KEYED;
    return set_text(&e->code, NULL) && set_text(&e->receipt, NULL);
}

static bool take_state(struct feed_journal *j, uint64_t row, const char *name, const char *code,
                       const char *receipt) {
    enum feed_state s = FEED_NEW;
    if (feed_journal_find(j, row) == NULL || !state_by_name(name, &s) || s < FEED_KEYED)
        return false;
    struct feed_entry *e = &j->entry[row];
    e->state = (uint8_t)s;
    return set_text(&e->code, code) && set_text(&e->receipt, receipt);
}

/* A whole line without its newline: its checksum is right and taken off. */
static bool sound(const struct feed_journal *j, char *line) {
    char sum[2 * SUM_BYTES + 1];
    char *last = strrchr(line, ' ');
    if (last == NULL)
        return false;
    checksum(j, line, (size_t)(last - line), sum);
    if (strcmp(sum, last + 1) != 0)
        return false;
    *last = '\0';
    return true;
}

/* A sound line; false: it says nothing that this program wrote. */
static bool take_line(struct feed_journal *j, char *line) {
    if (strncmp(line, "Y ", 2) == 0)
        return true;
    char *save = NULL;
    char *part[6] = {NULL};
    size_t n = 0;
    for (char *p = strtok_r(line, " ", &save); p != NULL && n < 6; p = strtok_r(NULL, " ", &save))
        part[n++] = p;
    char *end = NULL;
    uint64_t row = n >= 4 ? strtoull(part[1], &end, 10) : 0;
    if (end == NULL || *end != '\0' || row == 0 || row >= ROWS_MAX)
        return false;
    if (n == 4 && strcmp(part[0], "K") == 0)
        return take_key(j, row, part[2], part[3]);
    return n == 5 && strcmp(part[0], "S") == 0 && take_state(j, row, part[2], part[3], part[4]);
}

/* --- opening --- */

static enum vrs_err begin(struct feed_journal *j, const char *path, struct vrs_fault *fault) {
    char hex[2 * sizeof j->key.bytes + 1];
    crypto_random(j->key.bytes, sizeof j->key.bytes);
    crypto_hex(j->key.bytes, sizeof j->key.bytes, hex);
    bool ok = ftruncate(fileno(j->file), 0) == 0 && fseeko(j->file, 0, SEEK_SET) == 0 &&
              fprintf(j->file, "%s%s\n", magic, hex) > 0;
    secret_wipe(hex, sizeof hex);
    if (!ok)
        return err_fail(fault, ERR_STORAGE, "write %s", path);
    enum vrs_err e = feed_journal_sync(j, fault);
    return e != VRS_OK ? e : file_sync_dir_of(path, fault);
}

/* Whether a mark behind the damage says that the damaged place had been synced. */
static bool damaged_inside(struct feed_journal *j, off_t good) {
    char line[LINE_MAX_BYTES + 2];
    while (fgets(line, sizeof line, j->file) != NULL) {
        size_t n = strlen(line);
        if (n == 0 || line[n - 1] != '\n')
            continue;
        line[n - 1] = '\0';
        if (sound(j, line) && strncmp(line, "Y ", 2) == 0 && strtoll(line + 2, NULL, 10) > good)
            return true;
    }
    return false;
}

/* Reads what stands there, and cuts off an end that was torn by a crash (J3). */
static enum vrs_err resume(struct feed_journal *j, const char *path, struct vrs_fault *fault) {
    char line[LINE_MAX_BYTES + 2];
    off_t good = ftello(j->file);
    bool torn = false;
    while (!torn && fgets(line, sizeof line, j->file) != NULL) {
        size_t n = strlen(line);
        torn = n == 0 || line[n - 1] != '\n';
        if (torn)
            break;
        line[n - 1] = '\0';
        torn = !sound(j, line) || !take_line(j, line);
        if (!torn)
            good += (off_t)n;
    }
    if (torn && damaged_inside(j, good))
        return err_fail(fault, ERR_CORRUPT, "%s is damaged at byte %lld", path, (long long)good);
    if (ferror(j->file))
        return err_fail(fault, ERR_IO, "read %s", path);
    if (fseeko(j->file, good, SEEK_SET) != 0 || ftruncate(fileno(j->file), good) != 0)
        return err_fail(fault, ERR_STORAGE, "cut the end of %s", path);
    /* What a crash left unsynced was read as if it were on the disk: put it there. */
    return feed_journal_sync(j, fault);
}

enum vrs_err feed_journal_open(const char *path, struct feed_journal **out,
                               struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    int fd = -1;
    struct feed_journal *j = calloc(1, sizeof *j);
    if (j == NULL)
        return err_fail(fault, ERR_MEMORY, "journal");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        e = err_fail(fault, ERR_STORAGE, "open %s", path);
        goto out;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        e = err_fail(fault, ERR_BUSY, "%s is used by another run", path);
        goto out;
    }
    if (fchmod(fd, 0600) != 0 || fstat(fd, &st) != 0 || (j->file = fdopen(fd, "r+")) == NULL) {
        e = err_fail(fault, ERR_STORAGE, "open %s", path);
        goto out;
    }
    fd = -1;
    char line[sizeof magic + 2 * sizeof j->key.bytes + 2];
    const size_t head = sizeof magic - 1 + 2 * sizeof j->key.bytes + 1;
    bool read = fgets(line, sizeof line, j->file) != NULL;
    size_t prefix = read ? strlen(line) : 0;
    if (prefix > sizeof magic - 1)
        prefix = sizeof magic - 1;
    if (strncmp(read ? line : "", magic, prefix) != 0) {
        e = err_fail(fault, ERR_CORRUPT, "%s is not a journal", path);
    } else if (!read || (strlen(line) < head && line[strlen(line) - 1] != '\n')) {
        e = begin(j, path, fault); /* torn before its first sync: nothing was ever sent with it */
    } else {
        line[head - 1] = '\0';
        e = crypto_unhex(line + sizeof magic - 1, j->key.bytes, sizeof j->key.bytes)
                ? resume(j, path, fault)
                : err_fail(fault, ERR_CORRUPT, "%s is not a journal", path);
    }
    secret_wipe(line, sizeof line);
    if (e == VRS_OK) {
        *out = j;
        j = NULL;
    }
out:
    if (fd >= 0)
        (void)close(fd);
    feed_journal_close(&j);
    return e;
}

void feed_journal_close(struct feed_journal **pj) {
    struct feed_journal *j = *pj;
    if (j == NULL)
        return;
    for (uint64_t i = 0; i < j->cap; i++) {
        free(j->entry[i].code);
        free(j->entry[i].receipt);
    }
    free(j->entry);
    if (j->file != NULL)
        (void)fclose(j->file);
    secret_wipe(j, sizeof *j);
    free(j);
    *pj = NULL;
}

/* --- using --- */

enum vrs_err feed_journal_key(struct feed_journal *j, uint64_t row, const void *content, size_t len,
                              char key[FEED_KEY_SIZE], struct vrs_fault *fault) {
    uint8_t mac[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(j->key.bytes, sizeof j->key.bytes, content, len, mac);
    const struct feed_entry *known = feed_journal_find(j, row);
    bool same = known != NULL && memcmp(known->mac, mac, FEED_MAC_BYTES) == 0;
    if (same)
        memcpy(key, known->key, FEED_KEY_SIZE);
    if (same && known->state != FEED_REFUSED)
        return VRS_OK;
    if (known != NULL && known->state != FEED_REFUSED)
        return err_fail(fault, ERR_R141, "row %" PRIu64, row); /* J2 */
    char hex[2 * FEED_MAC_BYTES + 1];
    char text[LINE_MAX_BYTES];
    if (!same)
        crypto_uuid4(key);
    crypto_hex(mac, FEED_MAC_BYTES, hex);
    if (row == 0 || !take_key(j, row, key, hex))
        return err_fail(fault, row >= ROWS_MAX ? ERR_F008 : ERR_MEMORY, "row %" PRIu64, row);
    (void)snprintf(text, sizeof text, "K %" PRIu64 " %s %s", row, key, hex);
    return write_record(j, text, fault);
}

enum vrs_err feed_journal_sync(struct feed_journal *j, struct vrs_fault *fault) {
    if (j->failed || fflush(j->file) != 0 || fdatasync(fileno(j->file)) != 0) {
        j->failed = true;
        return err_fail(fault, ERR_STORAGE, "sync the journal");
    }
    j->synced = ftello(j->file);
    j->mark = true;
    return VRS_OK;
}

/* What a journal line can hold: no spaces, "-" for nothing. */
static void plain(const char *s, char *out, size_t cap) {
    size_t n = 0;
    for (; s != NULL && *s != '\0' && n + 1 < cap; s++)
        if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
            *s == '_' || *s == ',')
            out[n++] = *s;
    if (n == 0)
        out[n++] = '-';
    out[n] = '\0';
}

enum vrs_err feed_journal_state(struct feed_journal *j, uint64_t row, enum feed_state s,
                                const char *code, const char *receipt, struct vrs_fault *fault) {
    char c[FEED_CODE_SIZE];
    char r[FEED_RECEIPT_SIZE];
    char text[LINE_MAX_BYTES];
    plain(code, c, sizeof c);
    plain(receipt, r, sizeof r);
    if (!take_state(j, row, feed_state_name(s), c, r))
        return err_fail(fault, ERR_MEMORY, "row %" PRIu64, row);
    (void)snprintf(text, sizeof text, "S %" PRIu64 " %s %s %s", row, feed_state_name(s), c, r);
    return write_record(j, text, fault);
}
