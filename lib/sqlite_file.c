#include "lib/sqlite_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/sqlite_setup.h"

/* The journal goes into the file at CHECKPOINT_PAGES when its owner tidies up (a favoured file's at
 * FAVOURED_PAGES), at MOST_PAGES in any case.  It keeps its size: overwriting it is synced faster
 * than growing it, and a nation's journals together stay small. */
enum { CHECKPOINT_PAGES = 256, FAVOURED_PAGES = 1000, MOST_PAGES = 2000, BACKUP_STEP_PAGES = 1024 };

struct sqlite_file {
    struct sqlite3 *db;
    char *path;
    unsigned flags;
    const struct sqlite_schema *schema;
    bool suspect;
    bool committing; /* a commit may pass: it came through this file */
    bool favoured;
    int journal_pages;
};

/* ---- errors */

enum vrs_err sqlite_file_result(struct sqlite_file *f, int rc, const char *doing,
                                struct vrs_fault *fault) {
    enum vrs_err e = ERR_STORAGE;
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return VRS_OK;
    case SQLITE_CONSTRAINT:
        e = ERR_CONFLICT;
        break;
    case SQLITE_NOMEM:
        e = ERR_MEMORY;
        break;
    case SQLITE_BUSY:
        e = ERR_BUSY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        f->suspect = true;
        e = ERR_CORRUPT;
        break;
    case SQLITE_IOERR:
        f->suspect = true;
        break;
    case SQLITE_READONLY: /* its journal, see open_db */
        f->suspect = f->suspect || !(f->flags & SQLITE_FILE_READ_ONLY);
        break;
    default:
        break;
    }
    errno = f->db == NULL ? 0 : sqlite3_system_errno(f->db);
    return err_fail(fault, e, "%s: sqlite %d %s", doing, rc, sqlite3_errstr(rc));
}

static enum vrs_err set_up(struct sqlite_file *f, struct vrs_fault *fault) {
    const char *name = "";
    char got[32];
    int rc = sqlite_setup_connection(f->db, (f->flags & SQLITE_FILE_READ_ONLY) != 0, &name, got,
                                     sizeof got);
    if (rc == SQLITE_ERROR)
        return err_fail(fault, ERR_STORAGE, "%s reads back as '%s'", name, got);
    return sqlite_file_result(f, rc, name, fault);
}

/* ---- hooks */

/* No commit but through sqlite_file_commit: it alone knows the three outcomes. */
static int on_commit(void *arg) {
    const struct sqlite_file *f = arg;
    assert(f->committing);
    return f->committing ? 0 : 1;
}

static void move_pages(struct sqlite_file *f) {
    int rc = sqlite3_wal_checkpoint_v2(f->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    f->journal_pages = 0;
    if (rc != SQLITE_OK) {
        /* A full disk stops only the moving of pages: the journal still holds them. */
        f->suspect = f->suspect || (rc & 0xff) != SQLITE_FULL;
        log_event(LOG_WARN, "sqlite.checkpoint_failed", LF_INT("code", rc));
    }
}

/* In place of SQLite's own automatic checkpoint, which forgets its failures.  The commit that led
 * here is durable in the journal; a failed fsync of the file only makes the file suspect. */
static int on_journal_growth(void *arg, struct sqlite3 *db, const char *name, int pages) {
    struct sqlite_file *f = arg;
    (void)db;
    (void)name;
    f->journal_pages = pages;
    if (pages >= MOST_PAGES)
        move_pages(f);
    return SQLITE_OK;
}

/* ---- open and close */

/* SQLite would make it with the umask's rights. */
static enum vrs_err make_file(const char *path, struct vrs_fault *fault) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? VRS_OK : err_fail(fault, ERR_STORAGE, "create %s", path);
    (void)close(fd);
    return VRS_OK;
}

static off_t size_beside(const char *path, const char *suffix) {
    char *name = NULL;
    if (asprintf(&name, "%s%s", path, suffix) < 0)
        return -1;
    struct stat st;
    off_t size = stat(name, &st) == 0 ? st.st_size : 0;
    free(name);
    return size;
}

/* Without looking for a journal or a lock: `immutable`. */
static char *read_only_uri(const char *path) {
    static const char head[] = "file:";
    static const char tail[] = "?immutable=1";
    static const char hex[] = "0123456789ABCDEF";
    char *uri = malloc(strlen(path) * 3 + sizeof head + sizeof tail);
    if (uri == NULL)
        return NULL;
    memcpy(uri, head, sizeof head - 1);
    size_t n = sizeof head - 1;
    for (const char *c = path; *c != '\0'; c++) {
        if (strchr("%?#", *c) == NULL) {
            uri[n++] = *c;
            continue;
        }
        uri[n++] = '%';
        uri[n++] = hex[*c >> 4];
        uri[n++] = hex[*c & 15];
    }
    memcpy(uri + n, tail, sizeof tail);
    return uri;
}

static int version_of(struct sqlite_file *f, int64_t *version, int64_t *application) {
    char text[32];
    int rc = sqlite_setup_read(f->db, "PRAGMA user_version", text, sizeof text);
    *version = strtoll(text, NULL, 10);
    if (rc == SQLITE_OK)
        rc = sqlite_setup_read(f->db, "PRAGMA application_id", text, sizeof text);
    *application = strtoll(text, NULL, 10);
    return rc;
}

static enum vrs_err take_step(struct sqlite_file *f, size_t n, struct vrs_fault *fault) {
    const struct sqlite_step *step = &f->schema->steps[n];
    char done[96];
    (void)snprintf(done, sizeof done, "PRAGMA application_id=%" PRId32 "; PRAGMA user_version=%zu",
                   f->schema->application_id, n + 1);
    enum vrs_err e = sqlite_file_begin(f, fault);
    if (e != VRS_OK)
        return e;
    if (step->sql != NULL)
        e = sqlite_file_exec(f, step->sql, fault);
    if (e == VRS_OK && step->run != NULL && (e = step->run(f->db)) != VRS_OK)
        (void)err_fail(fault, e, "schema step %zu", n + 1);
    if (e == VRS_OK)
        e = sqlite_file_exec(f, done, fault);
    if (e == VRS_OK)
        return sqlite_file_commit(f, fault);
    sqlite_file_rollback(f);
    return e;
}

static enum vrs_err check_schema(struct sqlite_file *f, struct vrs_fault *fault) {
    int64_t version;
    int64_t application;
    int rc = version_of(f, &version, &application);
    if (rc != SQLITE_OK)
        return sqlite_file_result(f, rc, "schema version", fault);
    if (version == 0 && !(f->flags & SQLITE_FILE_CREATE))
        return err_fail(fault, ERR_NOT_FOUND, "%s was never finished", f->path);
    if (version != 0 && application != f->schema->application_id)
        return err_fail(fault, ERR_CORRUPT, "%s belongs to another program", f->path);
    if (version < 0 || (uint64_t)version > f->schema->count)
        return err_fail(fault, ERR_CONFIG, "%s has schema version %" PRId64 ", known is %zu",
                        f->path, version, f->schema->count);
    if ((f->flags & SQLITE_FILE_READ_ONLY) && (uint64_t)version < f->schema->count)
        return err_fail(fault, ERR_CONFIG, "%s has an old schema", f->path);
    for (size_t n = (size_t)version; n < f->schema->count; n++) {
        enum vrs_err e = take_step(f, n, fault);
        if (e != VRS_OK)
            return e;
    }
    return VRS_OK;
}

static void close_db(struct sqlite_file *f) {
    if (f->db == NULL)
        return;
    /* What failed is not written again through the same descriptors. */
    if (f->suspect)
        (void)sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int rc = sqlite3_close(f->db);
    assert(rc != SQLITE_BUSY); /* a statement of the owner is left */
    (void)rc;
    f->db = NULL;
}

static enum vrs_err open_db(struct sqlite_file *f, struct vrs_fault *fault) {
    bool read_only = (f->flags & SQLITE_FILE_READ_ONLY) != 0;
    bool has_journal = size_beside(f->path, "-wal") != 0 || size_beside(f->path, "-journal") != 0;
    if (read_only && has_journal)
        return err_fail(fault, ERR_STORAGE, "%s has a journal: not a copy at rest", f->path);
    char *uri = read_only ? read_only_uri(f->path) : NULL;
    if (read_only && uri == NULL)
        return err_fail(fault, ERR_MEMORY, "open %s", f->path);
    int mode = read_only ? SQLITE_OPEN_READONLY | SQLITE_OPEN_URI : SQLITE_OPEN_READWRITE;
    int rc = sqlite3_open_v2(read_only ? uri : f->path, &f->db,
                             mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, "unix");
    free(uri);
    if (rc != SQLITE_OK)
        return sqlite_file_result(f, rc, "open", fault);
    /* SQLite opens what cannot be opened for writing, were it for once, for reading. */
    if (!read_only && sqlite3_db_readonly(f->db, "main") != 0)
        return err_fail(fault, ERR_STORAGE, "%s opens for reading only", f->path);
    enum vrs_err e = set_up(f, fault);
    if (e != VRS_OK)
        return e;
    (void)sqlite3_commit_hook(f->db, on_commit, f);
    (void)sqlite3_wal_hook(f->db, on_journal_growth, f);
    if (has_journal)
        e = sqlite_file_checkpoint(f, fault);
    return e != VRS_OK ? e : check_schema(f, fault);
}

enum vrs_err sqlite_file_open(const char *path, unsigned flags, const struct sqlite_schema *schema,
                              struct sqlite_file **out, struct vrs_fault *fault) {
    *out = NULL;
    int ready = sqlite_setup_process();
    if (ready != SQLITE_OK)
        return err_fail(fault, ERR_INTERNAL, "sqlite was used before it was set up: %d", ready);
    struct stat st;
    bool absent = stat(path, &st) != 0;
    if (absent && errno != ENOENT)
        return err_fail(fault, ERR_STORAGE, "%s", path);
    if ((absent || st.st_size == 0) && !(flags & SQLITE_FILE_CREATE))
        return err_fail(fault, ERR_NOT_FOUND, "%s", path);
    enum vrs_err e = absent ? make_file(path, fault) : VRS_OK;
    if (e != VRS_OK)
        return e;
    struct sqlite_file *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return err_fail(fault, ERR_MEMORY, "open %s", path);
    }
    f->flags = flags;
    f->schema = schema;
    e = open_db(f, fault);
    /* A file that a crash cut off before its directory was synced is old and empty by now. */
    if (e == VRS_OK && (absent || st.st_size == 0))
        e = file_sync_dir_of(path, fault);
    if (e != VRS_OK) {
        sqlite_file_close(&f);
        return e;
    }
    *out = f;
    return VRS_OK;
}

void sqlite_file_close(struct sqlite_file **f) {
    if (*f == NULL)
        return;
    close_db(*f);
    free((*f)->path);
    free(*f);
    *f = NULL;
}

struct sqlite3 *sqlite_file_db(struct sqlite_file *f) {
    return f->db;
}

bool sqlite_file_suspect(const struct sqlite_file *f) {
    return f->suspect;
}

static void give_memory(struct sqlite_file *f) {
    (void)sqlite3_exec(f->db, f->favoured ? "PRAGMA cache_size=-16384" : "PRAGMA cache_size=-128",
                       NULL, NULL, NULL);
}

enum vrs_err sqlite_file_recover(struct sqlite_file *f, struct vrs_fault *fault) {
    f->suspect = true;
    close_db(f);
    enum vrs_err e = open_db(f, fault);
    if (e == VRS_OK)
        give_memory(f);
    if (e == VRS_OK)
        e = sqlite_file_checkpoint(f, fault);
    if (e == VRS_OK)
        f->suspect = false;
    else
        close_db(f);
    return e;
}

enum vrs_err sqlite_file_checkpoint(struct sqlite_file *f, struct vrs_fault *fault) {
    int left = -1;
    int done = -1;
    int rc = sqlite3_wal_checkpoint_v2(f->db, "main", SQLITE_CHECKPOINT_TRUNCATE, &left, &done);
    if (rc != SQLITE_OK) {
        f->suspect = true;
        return sqlite_file_result(f, rc, "checkpoint", fault);
    }
    if (left != 0) {
        f->suspect = true;
        return err_fail(fault, ERR_STORAGE, "checkpoint left %d pages", left);
    }
    return VRS_OK;
}

void sqlite_file_tidy(struct sqlite_file *f) {
    int enough = f->favoured ? FAVOURED_PAGES : CHECKPOINT_PAGES;
    if (f->db != NULL && !f->suspect && f->journal_pages >= enough)
        move_pages(f);
}

void sqlite_file_favour(struct sqlite_file *f, bool on) {
    if (f->favoured == on)
        return;
    f->favoured = on;
    if (f->db == NULL)
        return;
    give_memory(f);
    if (!on)
        (void)sqlite_file_rest(f);
}

bool sqlite_file_rest(struct sqlite_file *f) {
    if (f->favoured)
        return false;
    if (f->db != NULL)
        (void)sqlite3_db_release_memory(f->db);
    return true;
}

/* ---- transactions */

enum vrs_err sqlite_file_exec(struct sqlite_file *f, const char *sql, struct vrs_fault *fault) {
    return sqlite_file_result(f, sqlite3_exec(f->db, sql, NULL, NULL, NULL), sql, fault);
}

enum vrs_err sqlite_file_begin(struct sqlite_file *f, struct vrs_fault *fault) {
    if (f->suspect || f->db == NULL)
        return err_fail(fault, ERR_STORAGE, "recovery comes first");
    return sqlite_file_exec(f, "BEGIN", fault);
}

enum vrs_err sqlite_file_commit(struct sqlite_file *f, struct vrs_fault *fault) {
    /* An error inside the transaction may have ended it already. */
    if (f->suspect || sqlite3_get_autocommit(f->db)) {
        sqlite_file_rollback(f);
        return err_fail(fault, ERR_STORAGE, "the transaction had failed");
    }
    f->committing = true;
    int rc = sqlite3_exec(f->db, "COMMIT", NULL, NULL, NULL);
    f->committing = false;
    if (rc == SQLITE_OK)
        return VRS_OK;
    enum vrs_err e = sqlite_file_result(f, rc, "commit", fault);
    /* Still open: it was refused before anything was written. */
    if (!sqlite3_get_autocommit(f->db)) {
        sqlite_file_rollback(f);
        return e == ERR_CORRUPT ? e : ERR_STORAGE;
    }
    f->suspect = true;
    return err_fail(fault, ERR_UNKNOWN, "commit: sqlite %d %s", rc, sqlite3_errstr(rc));
}

void sqlite_file_rollback(struct sqlite_file *f) {
    if (f->db == NULL || sqlite3_get_autocommit(f->db))
        return;
    if (sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        f->suspect = true;
}

/* ---- copies and facts */

static int copy_pages(struct sqlite3 *from, struct sqlite3 *to) {
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (b == NULL)
        return sqlite3_extended_errcode(to);
    int rc;
    do {
        rc = sqlite3_backup_step(b, BACKUP_STEP_PAGES);
    } while (rc == SQLITE_OK);
    int end = sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? end : rc;
}

enum vrs_err sqlite_file_backup(struct sqlite_file *f, const char *path, struct vrs_fault *fault) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_fail(fault, errno == EEXIST ? ERR_CONFLICT : ERR_STORAGE, "create %s", path);
    struct sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(
        path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, "unix");
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to,
                          "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF;"
                          "PRAGMA synchronous=FULL",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = copy_pages(f->db, to);
    int end = sqlite3_close(to);
    enum vrs_err e = VRS_OK;
    if (rc != SQLITE_OK || end != SQLITE_OK)
        e = err_fail(fault, ERR_STORAGE, "copy to %s: sqlite %d", path, rc != SQLITE_OK ? rc : end);
    else if (fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "sync %s", path);
    (void)close(fd);
    if (e == VRS_OK)
        e = file_sync_dir_of(path, fault);
    if (e != VRS_OK)
        (void)unlink(path);
    return e;
}

enum vrs_err sqlite_file_describe(struct sqlite_file *f, struct buffer *out) {
    (void)buffer_printf(out, "checkpoint_pages=%d\n", CHECKPOINT_PAGES);
    int rc = sqlite_setup_describe(f->db, out);
    if (rc != SQLITE_OK)
        return sqlite_file_result(f, rc, "describe", NULL);
    return out->failed ? ERR_MEMORY : VRS_OK;
}
