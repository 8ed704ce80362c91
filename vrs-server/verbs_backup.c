#include "vrs-server/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "partitions/access_log.h"

enum { PATH_BYTES = 512, COPY_BYTES = 1 << 16 };

static bool plain_name(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n <= 64 && s[0] != '.' &&
           strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == n;
}

static void backup_path(const struct control_call *c, const char *suffix, char out[PATH_BYTES]) {
    (void)snprintf(out, PATH_BYTES, "%s/backup/%s-%s%s", c->server->config.state_dir,
                   c->job.municipality, control_text(c, "name"), suffix);
}

static bool copy_all(int from, int to) {
    char bytes[COPY_BYTES];
    ssize_t n;
    while ((n = read(from, bytes, sizeof bytes)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, bytes + done, (size_t)(n - done));
            if (w <= 0)
                return false;
            done += w;
        }
    }
    return n == 0 && fsync(to) == 0;
}

static void sync_parent(const char *path) {
    char dir[PATH_BYTES];
    (void)snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* Copies beside `to` and renames: there is the old file or the new one, never half of one. */
static enum vrs_err copy_file(struct control_call *c, const char *from, const char *to) {
    char part[PATH_BYTES];
    (void)snprintf(part, sizeof part, "%s.part", to);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in >= 0 ? open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    bool ok = out >= 0 && copy_all(in, out);
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        ok = close(out) == 0 && ok;
    if (ok)
        ok = rename(part, to) == 0;
    if (!ok)
        return err_fail(&c->job.fault, ERR_IO, "cannot copy to %s", to);
    sync_parent(to);
    return VRS_OK;
}

enum vrs_err verb_backup_copy(struct control_call *c, struct partition *p) {
    char records[PATH_BYTES], keys[PATH_BYTES], from[PATH_BYTES];
    if (!plain_name(control_text(c, "name")))
        return ERR_BAD_FIELD;
    backup_path(c, ".db", records);
    backup_path(c, ".keys", keys);
    keyring_path(c->server->keys, c->job.municipality, from, sizeof from);
    enum vrs_err e = partition_engine(p)->backup(partition_store(p), records, &c->job.fault);
    if (e == VRS_OK)
        e = copy_file(c, from, keys);
    if (e == VRS_OK)
        e = number_backup(c->server->number[c->job.worker_index], c->job.municipality,
                          control_text(c, "name"));
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* a municipality without a number yet */
}

enum vrs_err verb_note_municipality(struct control_call *c, struct partition *registry) {
    return control_log(c, registry, control_text(c, "municipality_code"));
}

/* With the partition closed: its files are replaced. */
enum vrs_err verb_restore_files(struct control_call *c, struct partition *p) {
    char records[PATH_BYTES], keys[PATH_BYTES], live[PATH_BYTES], live_keys[PATH_BYTES];
    char journal[PATH_BYTES];
    (void)p;
    if (!plain_name(control_text(c, "name")))
        return ERR_BAD_FIELD;
    backup_path(c, ".db", records);
    backup_path(c, ".keys", keys);
    keyring_path(c->server->keys, c->job.municipality, live_keys, sizeof live_keys);
    (void)snprintf(live, sizeof live, "%.400s/partitions/%s.db", c->server->config.state_dir,
                   c->job.municipality);
    if (access(records, R_OK) != 0 || access(keys, R_OK) != 0)
        return ERR_NOT_FOUND;
    enum vrs_err e = copy_file(c, keys, live_keys);
    (void)snprintf(journal, sizeof journal, "%.500s-wal", live);
    if (e == VRS_OK && unlink(journal) != 0 && errno != ENOENT)
        e = ERR_IO;
    if (e == VRS_OK)
        e = copy_file(c, records, live);
    keyring_forget(c->server->keys, c->job.municipality);
    if (e == VRS_OK)
        e = number_restore(c->server->number[c->job.worker_index], c->job.municipality,
                           control_text(c, "name"));
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err verb_restore_epoch(struct control_call *c, struct partition *p) {
    const struct log_actor who = {.user = control_text(c, "by")[0] != '\0' ? control_text(c, "by")
                                                                           : "operator",
                                  .section = "operation",
                                  .terminal = "vrsctl",
                                  .source = "control"};
    return access_log_open_epoch(p, &who, control_text(c, "name"), NULL);
}
