/* vrs-number: the only program that holds 個人番号.  Order at start: allocators, configuration, the
 * socket (root may have to give it away), limits and uid, key-encryption key, sandbox; there are no
 * threads.  After the sandbox nothing but its own folder can be opened and nothing be connected to.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/config.h"
#include "lib/daemon.h"
#include "lib/local.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "vrs-server/number/serve.h"

struct config {
    char *socket;
    int64_t socket_gid;
    int64_t peer_uid;
    int64_t uid;
    char *state_dir;
    char *kek_source;
    char *kek_dir;
    char *backup_dir_2;
    char *clock_file;
    int64_t max_open;
    int64_t max_connections;
    bool development;
    bool dumpable;
};

#define CONFIG_OF struct config

static const struct config_key keys[] = {
    STR(socket, NULL, "path of the unix socket; 0660, its folder is the operator's"),
    INT(socket_gid, "-1", -1, 4294967294, "group that may reach the socket; -1 as made"),
    INT(peer_uid, "-1", -1, 4294967294, "uid of vrs-server, the only peer; -1 the own uid"),
    INT(uid, "0", 0, 4294967294, "uid to become when started as root; 0 stay"),
    STR(state_dir, NULL, "own folder: files/ keys/ backup/ stage/, 0700"),
    STR(kek_source, "credential",
        "where the number KEK comes from: credential (systemd) or file (development)"),
    STR(kek_dir, "", "folder of kek-numbers when kek_source is file"),
    STR(backup_dir_2, "",
        "second folder of backups, on another device; \"\" STATE/backup-2 (development)"),
    STR(clock_file, "", "development only: file with an offset of the clock in seconds"),
    INT(max_open, "2000", 1, 100000, "municipality files kept open"),
    INT(max_connections, "64", 1, 1000, "connections of vrs-server at once"),
    FLAG(development, "false", "allows key files, clock_file, and a kernel without Landlock"),
    FLAG(dumpable, "false", "tests of proofs only: core dumps allowed"),
    {0},
};

static enum vrs_err open_keys(const struct config *c, struct keyring **k, struct vrs_fault *fault) {
    char dir[512];
    const struct kek_source *source = &kek_credential;
    if (strcmp(c->kek_source, "file") == 0) {
        if (!c->development)
            return err_fail(fault, ERR_CONFIG, "kek_source file is for development only");
        source = &kek_file;
    } else if (strcmp(c->kek_source, "credential") != 0) {
        return err_fail(fault, ERR_CONFIG, "kek_source is credential or file");
    }
    (void)snprintf(dir, sizeof dir, "%s/keys", c->state_dir);
    if (mkdir(c->state_dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_IO, "make %s", c->state_dir);
    return keyring_open(dir, source, c->kek_dir, 1U << KEY_NUMBERS, k, fault);
}

/* C130: a copy on the device of the data would be lost with it. */
static enum vrs_err check_backups(const struct config *c, struct vrs_fault *fault) {
    struct stat data, second;
    bool named = c->backup_dir_2[0] != '\0';
    if (named && mkdir(c->backup_dir_2, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_CONFIG, "make %s", c->backup_dir_2);
    bool apart = named && stat(c->state_dir, &data) == 0 && stat(c->backup_dir_2, &second) == 0 &&
                 data.st_dev != second.st_dev;
    if (apart)
        return VRS_OK;
    if (!c->development)
        return err_fail(fault, ERR_CONFIG, "backup_dir_2 must be on another device than state_dir");
    log_plain(LOG_WARN, "backup.same_device");
    return VRS_OK;
}

static enum vrs_err enter_sandbox(const struct config *c, struct vrs_fault *fault) {
    const struct sandbox box = {
        .read_only = {"/dev/urandom", c->clock_file[0] != '\0' ? c->clock_file : NULL},
        .read_write = {c->state_dir, c->backup_dir_2[0] != '\0' ? c->backup_dir_2 : NULL},
        .required = !c->development,
    };
    return sandbox_enter(&box, fault);
}

struct rewrapping {
    struct keyring *keys;
    size_t wrapped;
};

static void rewrap_one(const char *municipality, void *arg) {
    struct rewrapping *r = arg;
    struct vrs_fault fault = {0};
    size_t wrapped = 0;
    if (keyring_rewrap(r->keys, municipality, &wrapped, &fault) != VRS_OK)
        log_fault(LOG_ERROR, "number.rewrap_failed", &fault);
    r->wrapped += wrapped;
}

/* With a previous KEK: its work is taken over before anything else, so a crash only repeats it. */
static void rewrap_all(struct keyring *ring) {
    struct rewrapping r = {.keys = ring};
    if (!keyring_has_previous_kek(ring))
        return;
    keyring_each(ring, rewrap_one, &r);
    log_event(LOG_INFO, "number.rewrapped", LF_INT("keys", r.wrapped));
}

static enum vrs_err serve(void *arg, struct vrs_fault *fault) {
    const struct config *c = arg;
    struct keyring *ring = NULL;
    struct area *area = NULL;
    char facts[LOCAL_FACTS];
    int listener = -1;
    const struct local_start o = {.program = "vrs-number",
                                  .socket = c->socket,
                                  .socket_gid = c->socket_gid,
                                  .uid = c->uid,
                                  .dumpable = c->dumpable,
                                  .development = c->development,
                                  .clock_file = c->clock_file,
                                  .max_files = 3 * c->max_open + c->max_connections + 64};
    enum vrs_err e = local_start(&o, &listener, fault);
    if (e == VRS_OK)
        e = open_keys(c, &ring, fault);
    if (e == VRS_OK)
        e = check_backups(c, fault);
    if (e == VRS_OK)
        e = enter_sandbox(c, fault);
    const struct area_options numbers = {.engine = &store_sqlite,
                                         .state_dir = c->state_dir,
                                         .second_backup_dir = c->backup_dir_2,
                                         .keys = ring,
                                         .max_open = (size_t)c->max_open};
    if (e == VRS_OK)
        e = area_open(&numbers, &area, fault);
    if (e == VRS_OK)
        rewrap_all(ring);
    if (e == VRS_OK)
        e = local_signals(fault);
    if (e == VRS_OK) {
        const struct serve_options s = {
            .peer_uid = c->peer_uid >= 0 ? (uid_t)c->peer_uid : geteuid(),
            .max_connections = (size_t)c->max_connections,
            .facts = facts,
        };
        local_facts(s.peer_uid, c->dumpable, facts);
        daemon_ready();
        int taken = listener;
        listener = -1;
        e = serve_run(taken, &s, area, fault);
    }
    if (listener >= 0)
        (void)close(listener);
    area_close(&area);
    if (ring != NULL)
        keyring_close(&ring);
    return e;
}

int main(int argc, char **argv) {
    struct config config = {0};
    return daemon_main("vrs-number", argc, argv, keys, &config, serve, &config);
}
