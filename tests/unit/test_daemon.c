/* A daemon changes its whole process, so each test runs in a child that reports by its exit status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/daemon.h"

/* In a child the line that failed is the exit status; 0 is success. */
#define DEMAND(ok)                                                                                 \
    do {                                                                                           \
        if (!(ok)) {                                                                               \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok);                         \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void in_child(void (*body)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void starts_hardened(void) {
    struct vrs_fault fault;
    struct daemon_options o = {.program = "unit", .max_files = 64};
    struct rlimit files = {32, 128}, core = {1000, 1000};
    DEMAND(setrlimit(RLIMIT_NOFILE, &files) == 0);
    (void)setrlimit(RLIMIT_CORE, &core);
    DEMAND(daemon_start(&o, &fault) == VRS_OK);
    DEMAND(getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 64);
    DEMAND(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
    DEMAND(prctl(PR_GET_DUMPABLE) == 0);
    DEMAND(umask(077) == 077);
}

static void starts_dumpable(void) {
    struct vrs_fault fault;
    struct daemon_options o = {.program = "unit", .dumpable = true};
    DEMAND(daemon_start(&o, &fault) == VRS_OK);
    DEMAND(prctl(PR_GET_DUMPABLE) == 1);
}

static void starts_as_another(void) {
    struct vrs_fault fault;
    struct daemon_options o = {.program = "unit", .uid = 61234};
    DEMAND(daemon_start(&o, &fault) == VRS_OK);
    DEMAND(getuid() == 61234 && geteuid() == 61234 && getgid() == 61234);
    DEMAND(getgroups(0, NULL) == 0);
    DEMAND(setuid(0) != 0);
    DEMAND(prctl(PR_GET_DUMPABLE) == 0);
}

static void limits_and_dumps(void **state) {
    (void)state;
    in_child(starts_hardened);
    in_child(starts_dumpable);
}

static void root_is_given_up(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip();
    in_child(starts_as_another);
}

static int stops;

static void stop(void *arg) {
    stops++;
    (void)event_base_loopexit(arg, NULL);
}

static void stops_once(void) {
    struct event_base *base = event_base_new();
    DEMAND(base != NULL && daemon_signals(base, stop, base) == VRS_OK);
    DEMAND(kill(getpid(), SIGPIPE) == 0); /* ignored */
    DEMAND(kill(getpid(), SIGTERM) == 0 && kill(getpid(), SIGINT) == 0);
    DEMAND(event_base_dispatch(base) == 0);
    (void)event_base_loop(base, EVLOOP_NONBLOCK);
    DEMAND(stops == 1);
}

static void signals_stop_it_once(void **state) {
    (void)state;
    in_child(stops_once);
}

static void readiness_is_told(void **state) {
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/tmp/vrs-notify-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", at.sun_path, 1), 0);
    daemon_ready();
    char text[16] = "";
    assert_int_equal(recv(fd, text, sizeof text, MSG_DONTWAIT), 7);
    assert_string_equal(text, "READY=1");
    (void)close(fd);
    assert_int_equal(unlink(at.sun_path), 0);
    daemon_ready(); /* nobody listens: a warning, no end */
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    daemon_ready();
}

/* A supervisor is killed; the daemon's end of the pipe closes when it ends too. */
static void the_daemon_dies_with_its_supervisor(void **state) {
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t supervisor = fork();
    assert_true(supervisor >= 0);
    if (supervisor == 0) {
        (void)close(pipes[0]);
        pid_t daemon = fork();
        if (daemon == 0) {
            struct vrs_fault fault;
            struct daemon_options o = {.program = "unit"};
            DEMAND(setenv("VRS_DIE_WITH_PARENT", "1", 1) == 0);
            DEMAND(daemon_start(&o, &fault) == VRS_OK);
            DEMAND(write(pipes[1], "r", 1) == 1);
            for (;;)
                (void)pause();
        }
        (void)close(pipes[1]);
        for (;;)
            (void)pause();
    }
    (void)close(pipes[1]);
    char c;
    assert_int_equal(read(pipes[0], &c, 1), 1);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
    struct pollfd end = {.fd = pipes[0], .events = POLLIN};
    assert_int_equal(poll(&end, 1, 10000), 1);
    assert_int_equal(read(pipes[0], &c, 1), 0);
    (void)close(pipes[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_and_dumps),
        cmocka_unit_test(root_is_given_up),
        cmocka_unit_test(signals_stop_it_once),
        cmocka_unit_test(readiness_is_told),
        cmocka_unit_test(the_daemon_dies_with_its_supervisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
