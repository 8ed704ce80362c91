/* vrs-signer: the only program that can sign heads of the access log, statements of the system and
 * certificates of terminals.  Order at start: allocators, configuration, the socket (root may have
 * to give it away), limits and uid, keys and memory, sandbox; there are no threads.  After the
 * sandbox it writes its own folder, reads its keys, and can connect to nothing. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/config.h"
#include "lib/daemon.h"
#include "lib/local.h"
#include "lib/sandbox.h"
#include "vrs-server/signer/serve.h"

struct config {
    char *socket;
    int64_t socket_gid;
    int64_t peer_uid;
    int64_t uid;
    char *state_dir;
    char *keys_dir;
    char *clock_file;
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
    STR(state_dir, NULL, "own folder: heads, 0700"),
    STR(keys_dir, NULL, "folder of log-<n>.key/.pub and ca-<kind>.key/.pem, 0700; only read"),
    STR(clock_file, "", "development only: file with an offset of the clock in seconds"),
    INT(max_connections, "64", 1, 1000, "connections of vrs-server at once"),
    FLAG(development, "false", "allows clock_file, and a kernel without Landlock"),
    FLAG(dumpable, "false", "tests of proofs only: core dumps allowed"),
    {0},
};

static enum vrs_err enter_sandbox(const struct config *c, struct vrs_fault *fault) {
    const struct sandbox box = {
        .read_only = {"/dev/urandom", c->keys_dir, c->clock_file[0] != '\0' ? c->clock_file : NULL},
        .read_write = {c->state_dir},
        .required = !c->development,
    };
    return sandbox_enter(&box, fault);
}

static enum vrs_err serve(void *arg, struct vrs_fault *fault) {
    const struct config *c = arg;
    struct log_keys log_keys = {0};
    struct heads *heads = NULL;
    char facts[LOCAL_FACTS];
    int listener = -1;
    const struct local_start o = {.program = "vrs-signer",
                                  .socket = c->socket,
                                  .socket_gid = c->socket_gid,
                                  .uid = c->uid,
                                  .dumpable = c->dumpable,
                                  .development = c->development,
                                  .clock_file = c->clock_file,
                                  .max_files = c->max_connections + 64};
    enum vrs_err e = local_start(&o, &listener, fault);
    if (e == VRS_OK)
        e = log_keys_read(c->keys_dir, &log_keys, fault);
    if (e == VRS_OK)
        e = heads_open(c->state_dir, &heads, fault);
    if (e == VRS_OK)
        e = enter_sandbox(c, fault);
    if (e == VRS_OK)
        e = local_signals(fault);
    if (e == VRS_OK) {
        const struct signer_serve s = {
            .peer_uid = c->peer_uid >= 0 ? (uid_t)c->peer_uid : geteuid(),
            .max_connections = (size_t)c->max_connections,
            .facts = facts,
            .keys_dir = c->keys_dir,
            .keys = &log_keys,
            .heads = heads,
        };
        local_facts(s.peer_uid, c->dumpable, facts);
        daemon_ready();
        int taken = listener;
        listener = -1;
        e = signer_serve(taken, &s, fault);
    }
    if (listener >= 0)
        (void)close(listener);
    heads_close(&heads);
    log_keys_fini(&log_keys);
    return e;
}

int main(int argc, char **argv) {
    struct config config = {0};
    return daemon_main("vrs-signer", argc, argv, keys, &config, serve, &config);
}
