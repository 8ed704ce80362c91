#include "lib/sqlite_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/secret.h"

/* ---- the process: allocator, opening without access times, SQLite's own log */

/* The size stands in front of each block, so that all of it can be wiped: rows, bindings and pages
 * leave no copy in freed memory. */
enum { BLOCK_HEAD = 16 };

static void *wiping_malloc(int n) {
    uint8_t *p = malloc((size_t)n + BLOCK_HEAD);
    if (p == NULL)
        return NULL;
    memcpy(p, &n, sizeof n);
    return p + BLOCK_HEAD;
}

static int wiping_size(void *p) {
    int n;
    memcpy(&n, (uint8_t *)p - BLOCK_HEAD, sizeof n);
    return n;
}

static void wiping_free(void *p) {
    if (p == NULL)
        return;
    uint8_t *start = (uint8_t *)p - BLOCK_HEAD;
    secret_wipe(start, (size_t)wiping_size(p) + BLOCK_HEAD);
    free(start);
}

static void *wiping_realloc(void *p, int n) {
    void *grown = wiping_malloc(n);
    if (grown == NULL)
        return NULL;
    int old = wiping_size(p);
    memcpy(grown, p, (size_t)(old < n ? old : n));
    wiping_free(p);
    return grown;
}

static int wiping_roundup(int n) {
    return (n + 7) & ~7;
}

static int wiping_init(void *arg) {
    (void)arg;
    return SQLITE_OK;
}

static void wiping_shutdown(void *arg) {
    (void)arg;
}

static sqlite3_mem_methods wiping_methods = {
    .xMalloc = wiping_malloc,
    .xFree = wiping_free,
    .xRealloc = wiping_realloc,
    .xSize = wiping_size,
    .xRoundup = wiping_roundup,
    .xInit = wiping_init,
    .xShutdown = wiping_shutdown,
};

/* Only the owner of a file may ask for this; a read of a foreign file is not worth failing. */
static int open_without_atime(const char *path, int flags, int mode) {
    int fd = open(path, flags | O_NOATIME | O_CLOEXEC, (mode_t)mode);
    if (fd < 0 && errno == EPERM)
        fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    return fd;
}

/* SQLite's texts name statements and files, never bound values. */
static void log_from_sqlite(void *arg, int code, const char *text) {
    (void)arg;
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT: /* an answer, not a failure */
    case SQLITE_SCHEMA:     /* prepared again */
        return;
    case SQLITE_NOTICE:
        log_event(LOG_INFO, "sqlite.notice", LF_INT("code", code), LF_STR("text", text));
        return;
    default:
        log_event(LOG_WARN, "sqlite.trouble", LF_INT("code", code), LF_STR("text", text));
    }
}

static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static int process_rc;

static void process_init(void) {
    int rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &wiping_methods);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    /* No pages are set aside at open: with a thousand files open most of them would lie idle. */
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_LOG, log_from_sqlite, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_initialize();
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    if (rc == SQLITE_OK && vfs != NULL)
        rc = vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_without_atime);
    process_rc = vfs == NULL ? SQLITE_ERROR : rc;
}

int sqlite_setup_process(void) {
    (void)pthread_once(&process_once, process_init);
    return process_rc;
}

/* ---- settings: one table drives setting, reading back and describing */

/* Written with `set`, read with `get`, must then be `want`. */
struct setting {
    const char *name;
    const char *set;
    const char *get;
    const char *want;
    bool writing; /* meaningless for a read-only copy */
};

/* The lock comes before the journal mode: a journal first used under it needs no -shm. */
static const struct setting settings[] = {
    {"locking_mode", "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA locking_mode", "exclusive", false},
    {"trusted_schema", "PRAGMA trusted_schema=OFF", "PRAGMA trusted_schema", "0", false},
    {"cell_size_check", "PRAGMA cell_size_check=ON", "PRAGMA cell_size_check", "1", false},
    {"foreign_keys", "PRAGMA foreign_keys=ON", "PRAGMA foreign_keys", "1", false},
    {"mmap_size", "PRAGMA mmap_size=0", "PRAGMA mmap_size", "0", false},
    {"temp_store", "PRAGMA temp_store=MEMORY", "PRAGMA temp_store", "2", false},
    {"cache_size", "PRAGMA cache_size=-128", "PRAGMA cache_size", "-128", false},
    {"secure_delete", "PRAGMA secure_delete=ON", "PRAGMA secure_delete", "1", true},
    {"journal_mode", "PRAGMA journal_mode=WAL", "PRAGMA journal_mode", "wal", true},
    {"synchronous", "PRAGMA synchronous=FULL", "PRAGMA synchronous", "2", true},
    {"journal_size_limit", "PRAGMA journal_size_limit=8388608", "PRAGMA journal_size_limit",
     "8388608", true},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const struct {
    const char *name;
    int op;
    int want;
} switches[] = {
    {"defensive", SQLITE_DBCONFIG_DEFENSIVE, 1},
    {"load_extension", SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    {"triggers", SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
    {"views", SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {"trusted_schema_switch", SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {"double_quoted_strings", SQLITE_DBCONFIG_DQS_DML, 0},
};
enum { SWITCHES = sizeof switches / sizeof switches[0] };

int sqlite_setup_read(struct sqlite3 *db, const char *sql, char *out, size_t cap) {
    sqlite3_stmt *stmt = NULL;
    out[0] = '\0';
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        const unsigned char *text = rc == SQLITE_ROW ? sqlite3_column_text(stmt, 0) : NULL;
        if (text != NULL)
            (void)snprintf(out, cap, "%s", (const char *)text);
    }
    int end = sqlite3_finalize(stmt);
    return end != SQLITE_OK ? end : SQLITE_OK;
}

static int set_and_read_back(struct sqlite3 *db, const struct setting *s, char *got, size_t cap) {
    const char *set = s->set;
    const char *want = s->want;
#ifdef VRS_TEST_CONTROLS
    /* The negative control of the power-loss tests: a build that must lose what it acknowledged. */
    const char *sync = getenv("VRS_TEST_SYNC");
    if (sync != NULL && strcmp(s->name, "synchronous") == 0) {
        bool off = strcmp(sync, "off") == 0;
        set = off ? "PRAGMA synchronous=OFF" : "PRAGMA synchronous=NORMAL";
        want = off ? "0" : "1";
    }
#endif
    int rc = sqlite3_exec(db, set, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite_setup_read(db, s->get, got, cap);
    if (rc == SQLITE_OK && strcmp(got, want) != 0)
        rc = SQLITE_ERROR;
    return rc;
}

int sqlite_setup_connection(struct sqlite3 *db, bool read_only, const char **name, char *got,
                            size_t cap) {
    got[0] = '\0';
    for (int i = 0; i < SWITCHES; i++) {
        int on = -1;
        *name = switches[i].name;
        int rc = sqlite3_db_config(db, switches[i].op, switches[i].want, &on);
        (void)snprintf(got, cap, "%d", on);
        if (rc != SQLITE_OK || on != switches[i].want)
            return rc != SQLITE_OK ? rc : SQLITE_ERROR;
    }
    (void)sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    for (int i = 0; i < SETTINGS; i++) {
        if (settings[i].writing && read_only)
            continue;
        *name = settings[i].name;
        int rc = set_and_read_back(db, &settings[i], got, cap);
        if (rc != SQLITE_OK)
            return rc;
    }
    int persist = 1;
    *name = "persistent journal";
    return read_only ? SQLITE_OK
                     : sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
}

int sqlite_setup_describe(struct sqlite3 *db, struct buffer *out) {
    (void)buffer_printf(out, "sqlite=%s\n", sqlite3_libversion());
    for (int i = 0; i < SWITCHES; i++) {
        int got = -1;
        (void)sqlite3_db_config(db, switches[i].op, -1, &got);
        (void)buffer_printf(out, "%s=%d\n", switches[i].name, got);
    }
    for (int i = 0; i < SETTINGS; i++) {
        char got[32];
        int rc = sqlite_setup_read(db, settings[i].get, got, sizeof got);
        if (rc != SQLITE_OK)
            return rc;
        (void)buffer_printf(out, "%s=%s\n", settings[i].name, got);
    }
    return SQLITE_OK;
}
