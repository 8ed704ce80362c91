/* vrsctl selfcheck: what is set up as it must be, what is not, and — said, not failed — what cannot
 * be seen from here. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

#include "vrs-server/vrsctl/vrsctl.h"

static int faults;

static void say(const char *state, const char *what, const char *detail) {
    (void)printf("%-12s %s%s%s\n", state, what, detail[0] != '\0' ? ": " : "", detail);
}

static void check(bool ok, const char *what, const char *detail) {
    say(ok ? "ok" : "FAULT", what, detail);
    faults += !ok;
}

static const char *word(int argc, char **argv, const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return argv[i] + n + 1;
    }
    return NULL;
}

/* Nothing below a state folder may be open to group or others; sockets are judged by their folder.
 */
static void check_modes(const char *dir) {
    char path[512], detail[640] = "";
    struct stat st;
    bool ok = stat(dir, &st) == 0 && (st.st_mode & 077) == 0;
    DIR *d = opendir(dir);
    if (d == NULL) {
        say("not checked", dir, "cannot be read by this user");
        return;
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, "..") != 0 && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode) &&
            (st.st_mode & 077) != 0) {
            ok = false;
            (void)snprintf(detail, sizeof detail, "%s is open to others", path);
        }
    }
    (void)closedir(d);
    check(ok, dir, detail);
}

static void check_pragmas(const char *facts) {
    static const char *const wanted[] = {
        "journal_mode=wal", "synchronous=2",    "secure_delete=1",
        "foreign_keys=1",   "trusted_schema=0", "cell_size_check=1",
        "temp_store=2",     "mmap_size=0",      "locking_mode=exclusive"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        check(strstr(facts, wanted[i]) != NULL, "PRAGMA read back", wanted[i]);
}

static void check_key_files(const json_t *files) {
    char detail[640] = "";
    bool ok = json_array_size(files) > 0;
    for (size_t i = 0; i < json_array_size(files); i++) {
        const char *path = json_string_value(json_array_get(files, i));
        struct stat st;
        if (stat(path, &st) != 0 || (st.st_mode & 077) != 0) {
            ok = false;
            (void)snprintf(detail, sizeof detail, "%s is open to others, or away", path);
        }
    }
    check(ok, "key files are 0600", detail);
}

/* Who listens on a unix socket; false: nobody that we may ask. */
static bool peer_of(const char *path, struct ucred *peer) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = sizeof *peer;
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
              getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* A field of /proc/<pid>/status as a number; -1 when it cannot be read. */
static long status_of(pid_t pid, const char *field) {
    char path[64], line[256];
    long value = -1;
    (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    }
    if (f != NULL)
        (void)fclose(f);
    return value;
}

/* Users of their own, none of them root, and what the kernel holds them in. */
static void check_processes(const char *control, const json_t *reply, bool production) {
    static const char *const names[] = {"vrs-server", "vrs-number", "vrs-signer"};
    const char *const sockets[] = {control,
                                   json_string_value(json_object_get(reply, "number_socket")),
                                   json_string_value(json_object_get(reply, "signer_socket"))};
    struct ucred peer;
    long uid[3] = {0};
    char what[64], detail[160];
    bool own = true, seen = true;
    for (size_t i = 0; i < 3; i++) {
        seen &= sockets[i] != NULL && peer_of(sockets[i], &peer);
        if (!seen)
            break;
        uid[i] = status_of(peer.pid, "Uid"); /* the socket may be older than the drop of rights */
        own &= uid[i] > 0;
        for (size_t k = 0; k < i; k++)
            own &= uid[i] != uid[k];
        long seccomp = status_of(peer.pid, "Seccomp"), nnp = status_of(peer.pid, "NoNewPrivs");
        (void)snprintf(what, sizeof what, "%s is under seccomp and gains no rights", names[i]);
        if (seccomp < 0)
            say("not checked", what, "its /proc cannot be read by this user");
        else
            check(seccomp == 2 && nnp == 1, what, "");
    }
    if (!seen) {
        say("not checked", "users of the daemons", "a socket that this user may not reach");
        return;
    }
    (void)snprintf(detail, sizeof detail, "uid %ld, %ld, %ld", uid[0], uid[1], uid[2]);
    if (production)
        check(own, "each daemon has a user of its own, none is root", detail);
    else
        say(own ? "ok" : "not checked", "each daemon has a user of its own, none is root", detail);
}

static void check_clock(bool production) {
    struct timex t = {.modes = 0};
    int state = adjtimex(&t);
    bool synchronised = state >= 0 && state != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
    if (production)
        check(synchronised, "the clock is synchronised", "see chronyc tracking");
    else
        say(synchronised ? "ok" : "not checked", "clock synchronisation",
            "ask the host: chronyc tracking");
}

int vrsctl_selfcheck(const char *socket_path, int argc, char **argv) {
    json_t *reply = NULL;
    const char *state = word(argc, argv, "state"), *numbers = word(argc, argv, "number_state");
    enum vrs_err e = vrsctl_call(socket_path, json_pack("{s:s}", "verb", "selfcheck"), &reply);
    check(e == VRS_OK && json_is_true(json_object_get(reply, "ok")), "vrs-server answers",
          socket_path);
    const char *facts = json_string_value(json_object_get(reply, "store"));
    if (facts != NULL)
        check_pragmas(facts);
    const char *number = json_string_value(json_object_get(reply, "number_state"));
    check(number != NULL && strcmp(number, "ok") == 0, "vrs-number answers",
          number != NULL ? number : "");
    char seconds[32] = "unknown";
    json_int_t since = json_integer_value(json_object_get(reply, "seconds_since_pull"));
    (void)snprintf(seconds, sizeof seconds, "%lld s since the last pull", (long long)since);
    check(reply != NULL && since < 120, "the line to tablet-api", seconds);
    json_int_t days = json_integer_value(json_object_get(reply, "certificate_days"));
    (void)snprintf(seconds, sizeof seconds, "%lld days left", (long long)days);
    check(reply != NULL && days > 14, "TLS: the LG-WAN certificate", seconds);
    json_int_t files = json_integer_value(json_object_get(reply, "open_files"));
    json_int_t needed = json_integer_value(json_object_get(reply, "open_files_needed"));
    (void)snprintf(seconds, sizeof seconds, "%lld", (long long)files);
    check(reply != NULL && files >= needed, "limit of open files", seconds);
    check(reply != NULL && json_is_false(json_object_get(reply, "core_dumps")),
          "core dumps are off", "");
    bool production = json_is_false(json_object_get(reply, "development"));
    if (production)
        check(json_is_false(json_object_get(reply, "dumpable")), "nobody may trace it", "");
    const char *weak = json_string_value(json_object_get(reply, "backup_weak"));
    if (production || (weak != NULL && weak[0] == '\0'))
        check(weak != NULL && weak[0] == '\0', "backups have two places off the data's device",
              weak != NULL ? weak : "");
    else
        say("not checked", "places of backups", "development: they may share the data's device");
    if (json_is_array(json_object_get(reply, "key_files")))
        check_key_files(json_object_get(reply, "key_files"));
    check_processes(socket_path, reply, production);
    say("not checked", "TLS protocol and suites as seen from outside", "sslscan ADDRESS:PORT");
    if (state != NULL)
        check_modes(state);
    else
        say("not checked", "file modes of vrs-server", "name its folder with state=DIR");
    if (numbers != NULL)
        check_modes(numbers);
    else
        say("not checked", "file modes of vrs-number", "name its folder with number_state=DIR");
    check_clock(production);
    say("not checked", "disk cache honours flush", "a property of the disk");
    json_decref(reply);
    (void)printf("%d fault%s\n", faults, faults == 1 ? "" : "s");
    return faults == 0 ? 0 : 1;
}
