/* What the sandbox refuses and what it leaves, in children that cannot come back from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/csv.h"
#include "lib/sandbox.h"

#define DEMAND(ok)                                                                                 \
    do {                                                                                           \
        if (!(ok)) {                                                                               \
            (void)fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #ok, errno);       \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static char home[] = "/tmp/vrs-sandbox-XXXXXX";
static char allowed[64], readable[64], forbidden[64];

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

static bool has_landlock(void) {
    return sandbox_probe_fn().landlock_abi > 0;
}

static const char *file_in(const char *folder, const char *name) {
    static char path[4][128];
    static int at;
    at = (at + 1) % 4;
    (void)snprintf(path[at], sizeof path[at], "%s/%s", folder, name);
    return path[at];
}

static bool can_write(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, "x", 1) == 1;
    (void)close(fd);
    return ok;
}

static bool can_read(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* The call was refused by the filter. */
static bool refused(long rc) {
    return rc == -1 && errno == EPERM;
}

static void enter(const struct sandbox *s) {
    struct vrs_fault fault = {0};
    enum vrs_err e = sandbox_enter(s, &fault);
    if (e != VRS_OK)
        (void)fprintf(stderr, "%s\n", fault.text);
    DEMAND(e == VRS_OK);
}

static void paths_inside(void) {
    DEMAND(can_read(file_in(forbidden, "file")) && can_write(file_in(readable, "file")));
    enter(&(struct sandbox){.read_only = {readable}, .read_write = {allowed}});
    DEMAND(can_write(file_in(allowed, "new")) && can_read(file_in(allowed, "new")));
    DEMAND(rename(file_in(allowed, "new"), file_in(allowed, "newer")) == 0);
    DEMAND(truncate(file_in(allowed, "newer"), 0) == 0);
    DEMAND(mkdir(file_in(allowed, "folder"), 0700) == 0 && rmdir(file_in(allowed, "folder")) == 0);
    DEMAND(unlink(file_in(allowed, "newer")) == 0);
    DEMAND(can_read(file_in(readable, "file")));
    DEMAND(!can_write(file_in(readable, "file")) && errno == EACCES);
    DEMAND(!can_write(file_in(readable, "new")));
    DEMAND(unlink(file_in(readable, "file")) == -1);
    DEMAND(!can_read(file_in(forbidden, "file")) && errno == EACCES); /* though root owns it */
    DEMAND(!can_read("/etc/passwd"));
    DEMAND(!can_write(file_in(forbidden, "new")));
    DEMAND(symlink("/etc/passwd", file_in(allowed, "link")) == -1);
}

static void paths_are_closed(void **state) {
    (void)state;
    if (!has_landlock())
        skip();
    in_child(paths_inside);
}

static void a_single_file(void) {
    enter(&(struct sandbox){.read_only = {file_in(forbidden, "file")}});
    DEMAND(can_read(file_in(forbidden, "file")));
    DEMAND(!can_read(file_in(readable, "file")));
}

static void single_files_can_be_named(void **state) {
    (void)state;
    if (has_landlock())
        in_child(a_single_file);
}

static void calls_inside(void) {
    enter(&(struct sandbox){.read_write = {allowed}});
    char *const none[] = {NULL};
    char bytes[128] = {0};
    DEMAND(refused(syscall(SYS_execve, "/bin/true", none, none)));
    DEMAND(refused(syscall(SYS_execveat, -1, "/bin/true", none, none, 0)));
    DEMAND(refused(syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)));
    DEMAND(refused(syscall(SYS_process_vm_readv, getpid(), bytes, 0, bytes, 0, 0)));
    DEMAND(refused(syscall(SYS_process_vm_writev, getpid(), bytes, 0, bytes, 0, 0)));
    DEMAND(refused(syscall(SYS_open_by_handle_at, AT_FDCWD, bytes, O_RDONLY)));
    DEMAND(refused(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL)));
    DEMAND(refused(syscall(SYS_bpf, 0, bytes, sizeof bytes)));
    DEMAND(refused(syscall(SYS_perf_event_open, bytes, 0, -1, -1, 0)));
    DEMAND(refused(syscall(SYS_userfaultfd, 0)));
    DEMAND(refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0)));
    DEMAND(refused(syscall(SYS_add_key, "user", "a", "b", 1, -1)));
    DEMAND(refused(syscall(SYS_init_module, bytes, 0, "")));
    DEMAND(refused(syscall(SYS_finit_module, -1, "", 0)));
    DEMAND(refused(syscall(SYS_kexec_load, 0, 0, NULL, 0)));
    DEMAND(refused(syscall(SYS_io_uring_setup, 1, bytes)));
    DEMAND(refused(syscall(SYS_unshare, 0x10000000)));
    DEMAND(refused(syscall(SYS_clone, 0x10000000 | 17, NULL, NULL, NULL, 0)));
    DEMAND(syscall(SYS_clone3, bytes, 64) == -1 && errno == ENOSYS);
    DEMAND(refused(syscall(SYS_connect, -1, bytes, 16)));
}

static void dangerous_calls_are_refused(void **state) {
    (void)state;
    in_child(calls_inside);
}

static int connect_inet(int type) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int rc = connect(fd, (struct sockaddr *)&to, sizeof to), why = errno;
    (void)close(fd);
    return rc == 0 ? 0 : why;
}

static int connect_unix(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int rc = connect(fd, (struct sockaddr *)&to, sizeof to), why = errno;
    (void)close(fd);
    return rc == 0 ? 0 : why;
}

static bool can_listen(void) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool ok = bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0;
    (void)close(fd);
    return ok;
}

/* tablet-api: it is asked, it never asks. */
static void accepts_only(void) {
    enter(&(struct sandbox){.may_accept_inet = true});
    DEMAND(can_listen());
    DEMAND(connect_inet(SOCK_STREAM) == EPERM);
    DEMAND(connect_inet(SOCK_DGRAM) == EPERM);
    DEMAND(connect_unix() == EPERM);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    DEMAND(fd >= 0);
    DEMAND(refused(sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to)));
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to};
    DEMAND(refused(sendmsg(fd, &message, MSG_FASTOPEN)));
    DEMAND(refused(socket(AF_NETLINK, SOCK_RAW, 0)));
    DEMAND(refused(socket(AF_PACKET, SOCK_RAW, 0)));
    DEMAND(refused(syscall(SYS_socket, (1L << 32) | AF_INET, SOCK_DGRAM, 0)));
}

/* vrs-number: a unix socket, no network. */
static void local_only(void) {
    enter(&(struct sandbox){.may_connect_unix = true});
    DEMAND(!can_listen());
    DEMAND(connect_inet(SOCK_STREAM) == EPERM);
    DEMAND(refused(socket(AF_INET6, SOCK_STREAM, 0)));
    DEMAND(connect_unix() == ENOENT || connect_unix() == EACCES);
}

/* vrs-server: pulls the line. */
static void connects(void) {
    enter(&(struct sandbox){
        .may_connect_inet = true, .may_connect_unix = true, .may_accept_inet = true});
    DEMAND(can_listen());
    DEMAND(connect_inet(SOCK_STREAM) == ECONNREFUSED);
    DEMAND(connect_unix() == ENOENT || connect_unix() == EACCES);
}

static void network_by_role(void **state) {
    (void)state;
    DEMAND(connect_inet(SOCK_STREAM) == ECONNREFUSED); /* the control */
    in_child(accepts_only);
    in_child(local_only);
    in_child(connects);
}

static void *thread(void *arg) {
    return arg;
}

static enum vrs_err on_row(const struct csv_row *row, void *arg) {
    *(bool *)arg = strcmp(row->cell[0], "高橋") == 0;
    return VRS_OK;
}

/* What the programs need afterwards still works: threads, memory, the clock, the CP932 converter.
 */
static void work_inside(void) {
    csv_prepare();
    enter(&(struct sandbox){.read_write = {allowed}, .may_accept_inet = true});
    pthread_t t;
    DEMAND(pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0);
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    DEMAND(p != MAP_FAILED && munmap(p, 1 << 20) == 0);
    bool read = false;
    struct csv_reader *r = csv_reader_open(on_row, &read);
    DEMAND(r != NULL);
    DEMAND(csv_feed(r, "\x8d\x82\x8b\xb4\n", 5) == VRS_OK && csv_end(r) == VRS_OK && read);
    csv_reader_close(&r);
    struct buffer b;
    buffer_init(&b, 100);
    size_t replaced = 0;
    DEMAND(csv_to_cp932("高橋", 6, &b, &replaced) == VRS_OK && b.len == 4);
    buffer_fini(&b);
}

static void the_rest_still_works(void **state) {
    (void)state;
    in_child(work_inside);
}

static struct sandbox_probe no_landlock(void) {
    return (struct sandbox_probe){.landlock_abi = 0, .seccomp = true};
}

static struct sandbox_probe nothing(void) {
    return (struct sandbox_probe){0};
}

/* Debian 12's own kernel. */
static struct sandbox_probe abi_two(void) {
    return (struct sandbox_probe){.landlock_abi = 2, .seccomp = true};
}

static void production_refuses(void) {
    struct vrs_fault fault;
    sandbox_probe_fn = no_landlock;
    DEMAND(sandbox_enter(&(struct sandbox){.required = true}, &fault) == ERR_CONFIG);
    DEMAND(strstr(fault.text, "Landlock") != NULL);
    sandbox_probe_fn = nothing;
    DEMAND(sandbox_enter(&(struct sandbox){.required = true}, &fault) == ERR_CONFIG);
}

static void development_degrades(void) {
    sandbox_probe_fn = no_landlock;
    enter(&(struct sandbox){.read_write = {allowed}});
    DEMAND(can_read(file_in(forbidden, "file")));
    DEMAND(connect_unix() == EPERM); /* seccomp is there */
}

static void abi_two_is_enough(void) {
    sandbox_probe_fn = abi_two;
    enter(&(struct sandbox){.read_write = {allowed}, .required = true});
    DEMAND(can_write(file_in(allowed, "two")) && !can_read(file_in(forbidden, "file")));
}

static void kernels_without_it(void **state) {
    (void)state;
    in_child(production_refuses);
    in_child(development_degrades);
    if (has_landlock())
        in_child(abi_two_is_enough);
}

static void missing_path(void) {
    struct vrs_fault fault;
    const struct sandbox s = {.read_only = {"/nonexistent/folder"}};
    DEMAND(sandbox_enter(&s, &fault) == ERR_CONFIG);
    DEMAND(strstr(fault.text, "/nonexistent/folder") != NULL);
}

static void a_path_that_is_not_there_refuses_the_start(void **state) {
    (void)state;
    if (has_landlock())
        in_child(missing_path);
}

static int setup(void **state) {
    (void)state;
    if (mkdtemp(home) == NULL)
        return -1;
    char *const folders[] = {allowed, readable, forbidden};
    static const char *const names[] = {"allowed", "readable", "forbidden"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(folders[i], sizeof allowed, "%s/%s", home, names[i]);
        if (mkdir(folders[i], 0700) != 0 || !can_write(file_in(folders[i], "file")))
            return -1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    (void)unlink(file_in(allowed, "two"));
    const char *const folders[] = {allowed, readable, forbidden};
    for (size_t i = 0; i < 3; i++)
        if (unlink(file_in(folders[i], "file")) != 0 || rmdir(folders[i]) != 0)
            return -1;
    return rmdir(home);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_closed),
        cmocka_unit_test(single_files_can_be_named),
        cmocka_unit_test(dangerous_calls_are_refused),
        cmocka_unit_test(network_by_role),
        cmocka_unit_test(the_rest_still_works),
        cmocka_unit_test(kernels_without_it),
        cmocka_unit_test(a_path_that_is_not_there_refuses_the_start),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
