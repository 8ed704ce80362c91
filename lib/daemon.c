#include "lib/daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/config.h"
#include "lib/log.h"
#include "lib/secret.h"

static struct {
    char program[32];
    void (*stop)(void *arg);
    void *arg;
    bool stopping;
} state;

static enum vrs_err limits(const struct daemon_options *o, struct vrs_fault *fault) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_fail(fault, ERR_IO, "read the limit of open files");
    if (o->max_files > 0 && files.rlim_cur < (rlim_t)o->max_files) {
        files.rlim_cur = (rlim_t)o->max_files;
        if (files.rlim_max < files.rlim_cur)
            files.rlim_max = files.rlim_cur;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0)
            return err_fail(fault, ERR_CONFIG, "open files: cannot raise the limit to %lld",
                            (long long)o->max_files);
    }
    if (o->dumpable)
        return VRS_OK;
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_fail(fault, ERR_IO, "forbid core dumps");
    return VRS_OK;
}

static enum vrs_err drop_uid(const struct daemon_options *o, struct vrs_fault *fault) {
    if (o->uid <= 0 || geteuid() != 0)
        return VRS_OK;
    uid_t uid = (uid_t)o->uid;
    gid_t gid = (gid_t)o->uid;
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_fail(fault, ERR_CONFIG, "cannot become uid %lld", (long long)o->uid);
    if (setuid(0) == 0 || geteuid() != uid)
        return err_fail(fault, ERR_CONFIG, "uid %lld can become root again", (long long)o->uid);
    return VRS_OK;
}

/* A supervisor that dies takes its daemons with it.  The kernel forgets the wish when the uid
 * changes, so this comes after drop_uid; a parent that ended before is seen by its id. */
static enum vrs_err die_with_parent(pid_t parent, struct vrs_fault *fault) {
    const char *wish = getenv("VRS_DIE_WITH_PARENT");
    if (wish == NULL || strcmp(wish, "1") != 0)
        return VRS_OK;
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return err_fail(fault, ERR_IO, "die with the parent");
    if (getppid() != parent)
        return err_fail(fault, ERR_IO, "the parent ended");
    return VRS_OK;
}

enum vrs_err daemon_start(const struct daemon_options *o, struct vrs_fault *fault) {
    (void)snprintf(state.program, sizeof state.program, "%s", o->program);
    pid_t parent = getppid();
    (void)umask(077);
    enum vrs_err e = limits(o, fault);
    if (e == VRS_OK)
        e = drop_uid(o, fault);
    if (e == VRS_OK)
        e = die_with_parent(parent, fault);
    /* Changing the uid resets it: last. */
    if (e == VRS_OK && prctl(PR_SET_DUMPABLE, o->dumpable ? 1 : 0) != 0)
        e = err_fail(fault, ERR_IO, "set dumpable");
    return e;
}

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)what;
    (void)arg;
    if (state.stopping)
        return;
    state.stopping = true;
    log_event(LOG_INFO, "daemon.stopping", LF_INT("signal", number));
    state.stop(state.arg);
}

enum vrs_err daemon_signals(struct event_base *base, void (*stop)(void *arg), void *arg) {
    static const int numbers[] = {SIGTERM, SIGINT};
    /* They live as long as the process; re-made when a test calls twice. */
    static struct event *events[2];
    state.stop = stop;
    state.arg = arg;
    state.stopping = false;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return ERR_IO;
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL)
            event_free(events[i]);
        events[i] = evsignal_new(base, numbers[i], on_signal, NULL);
        if (events[i] == NULL || event_add(events[i], NULL) != 0)
            return ERR_MEMORY;
    }
    return VRS_OK;
}

/* sd_notify(3) without libsystemd: one datagram to the socket that the supervisor named. */
static bool notify(const char *where) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(where);
    if ((where[0] != '/' && where[0] != '@') || n >= sizeof to.sun_path)
        return false;
    memcpy(to.sun_path, where, n);
    if (where[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    static const char ready[] = "READY=1";
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    bool ok = sendto(fd, ready, sizeof ready - 1, MSG_NOSIGNAL, (struct sockaddr *)&to, len) ==
              (ssize_t)sizeof ready - 1;
    (void)close(fd);
    return ok;
}

void daemon_ready(void) {
    const char *where = getenv("NOTIFY_SOCKET");
    if (where != NULL && !notify(where))
        log_event(LOG_WARN, "daemon.notify_failed", LF_INT("errno", errno));
    log_event(LOG_INFO, "daemon.ready", LF_INT("pid", getpid()));
}

int daemon_main(const char *program, int argc, char **argv, const struct config_key *keys,
                void *config, enum vrs_err (*serve)(void *arg, struct vrs_fault *fault),
                void *arg) {
    struct vrs_fault fault = {0};
    secret_install_allocators();
    log_init(program, LOG_INFO);
    int status = config_main(argc, argv, keys, config);
    if (status >= 0)
        return status;
    enum vrs_err e = serve(arg, &fault);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "daemon.failed", &fault);
    config_free(keys, config);
    return e == VRS_OK ? 0 : 1;
}
