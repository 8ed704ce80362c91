#include "vrs-server/operation/backup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/file.h"
#include "lib/log.h"

/* --- folders --- */

enum vrs_err backup_dirs_of(const struct server_config *c, struct backup_dirs *out,
                            struct vrs_fault *fault) {
    static const char *const usual[] = {"backup", "backup-2"};
    char list[BACKUP_DIRS_MAX * BACKUP_PATH / 2], *save = NULL;
    memset(out, 0, sizeof *out);
    const char *named = c->backup_dirs != NULL ? c->backup_dirs : "";
    if (named[strspn(named, " ")] == '\0') {
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
            (void)snprintf(out->dir[out->count++], sizeof out->dir[0], "%.200s/%s", c->state_dir,
                           usual[i]);
        return VRS_OK;
    }
    if ((size_t)snprintf(list, sizeof list, "%s", named) >= sizeof list)
        return err_fail(fault, ERR_CONFIG, "backup_dirs is too long");
    for (char *d = strtok_r(list, " ", &save); d != NULL; d = strtok_r(NULL, " ", &save)) {
        if (out->count == BACKUP_DIRS_MAX || strlen(d) >= sizeof out->dir[0])
            return err_fail(fault, ERR_CONFIG, "backup_dirs: at most %d folders of %d characters",
                            BACKUP_DIRS_MAX, BACKUP_PATH / 2 - 1);
        memcpy(out->dir[out->count++], d, strlen(d) + 1);
    }
    return VRS_OK;
}

struct checking {
    bool development;
    struct buffer *warnings;
    struct vrs_fault *fault;
};

static enum vrs_err weak(const struct checking *k, const char *dir, const char *why) {
    if (!k->development)
        return err_fail(k->fault, ERR_CONFIG, "backup_dirs: %s %s", dir, why);
    if (k->warnings != NULL)
        (void)buffer_printf(k->warnings, "backup=%s %s\n", dir, why);
    return VRS_OK;
}

enum vrs_err backup_check(const struct server_config *c, struct buffer *warnings,
                          struct vrs_fault *fault) {
    const struct checking k = {c->development, warnings, fault};
    struct backup_dirs dirs;
    struct stat data, st;
    enum vrs_err e = backup_dirs_of(c, &dirs, fault);
    if (e == VRS_OK && stat(c->state_dir, &data) != 0)
        e = err_fail(fault, ERR_CONFIG, "look at %s", c->state_dir);
    if (e == VRS_OK && dirs.count < 2)
        e = weak(&k, dirs.dir[0], "is the only one: a backup needs a second place");
    for (size_t i = 0; e == VRS_OK && i < dirs.count; i++) {
        if (mkdir(dirs.dir[i], 0700) != 0 && errno != EEXIST)
            return err_fail(fault, ERR_CONFIG, "make %s", dirs.dir[i]);
        if (stat(dirs.dir[i], &st) != 0 || !S_ISDIR(st.st_mode))
            return err_fail(fault, ERR_CONFIG, "%s is no folder", dirs.dir[i]);
        if (st.st_dev == data.st_dev)
            e = weak(&k, dirs.dir[i], "is on the device of the data: both would be lost at once");
        for (size_t n = 0; e == VRS_OK && n < i; n++) {
            struct stat other;
            if (stat(dirs.dir[n], &other) == 0 && other.st_dev == st.st_dev &&
                other.st_ino == st.st_ino)
                return err_fail(fault, ERR_CONFIG, "backup_dirs names %s twice", dirs.dir[i]);
        }
    }
    return e;
}

bool backup_name_valid(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n <= 64 && s[0] != '.' &&
           strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == n;
}

/* --- tombstones --- */

const char *backup_tombstones(const struct server *s, char dir[BACKUP_PATH]) {
    (void)snprintf(dir, BACKUP_PATH, "%.400s/tombstones", s->config.state_dir);
    return dir;
}

void backup_keep_tombstones(const struct server *s, const char *municipality) {
    struct backup_dirs dirs;
    struct vrs_fault fault = {0};
    char dir[BACKUP_PATH], from[BACKUP_PATH + 8], to[BACKUP_PATH];
    (void)snprintf(from, sizeof from, "%.500s/%.6s", backup_tombstones(s, dir), municipality);
    enum vrs_err e = backup_dirs_of(&s->config, &dirs, &fault);
    for (size_t i = 0; i < dirs.count; i++) {
        (void)snprintf(to, sizeof to, "%s/%.6s.tombstones", dirs.dir[i], municipality);
        if (e == VRS_OK)
            e = file_copy(from, to, &fault);
    }
    if (e != VRS_OK && e != ERR_NOT_FOUND)
        log_fault(LOG_ERROR, "backup.tombstones_not_kept", &fault);
}

enum vrs_err backup_fetch_tombstones(const struct server *s, const char *municipality,
                                     struct vrs_fault *fault) {
    struct backup_dirs dirs;
    struct stat st;
    char dir[BACKUP_PATH], to[BACKUP_PATH + 8], from[BACKUP_PATH], best[BACKUP_PATH] = "";
    off_t longest = 0;
    (void)snprintf(to, sizeof to, "%.500s/%.6s", backup_tombstones(s, dir), municipality);
    if (stat(to, &st) == 0)
        longest = st.st_size;
    enum vrs_err e = backup_dirs_of(&s->config, &dirs, fault);
    for (size_t i = 0; e == VRS_OK && i < dirs.count; i++) {
        (void)snprintf(from, sizeof from, "%s/%.6s.tombstones", dirs.dir[i], municipality);
        if (stat(from, &st) == 0 && st.st_size > longest) {
            longest = st.st_size;
            memcpy(best, from, sizeof best);
        }
    }
    if (e != VRS_OK || best[0] == '\0')
        return e;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", dir);
    return file_copy(best, to, fault);
}
