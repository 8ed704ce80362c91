/* vrsctl selfcheck: what is set up as it must be, what is not, and — said, not failed — what cannot
 * be seen from here. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
    say("not checked", "TLS protocol and suites as seen from outside", "sslscan ADDRESS:PORT");
    if (state != NULL)
        check_modes(state);
    else
        say("not checked", "file modes of vrs-server", "name its folder with state=DIR");
    if (numbers != NULL)
        check_modes(numbers);
    else
        say("not checked", "file modes of vrs-number", "name its folder with number_state=DIR");
    say("not checked", "clock synchronisation", "ask the host: chronyc tracking");
    say("not checked", "disk cache honours flush", "a property of the disk");
    json_decref(reply);
    (void)printf("%d fault%s\n", faults, faults == 1 ? "" : "s");
    return faults == 0 ? 0 : 1;
}
