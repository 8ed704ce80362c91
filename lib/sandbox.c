#include "lib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/log.h"

/* Debian 12's header knows ABI 2; newer kernels get the rest (landlock(7)). */
#define FS_TRUNCATE (UINT64_C(1) << 14)        /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15)       /* ABI 5 */
#define NET_BIND_TCP (UINT64_C(1) << 0)        /* ABI 4 */
#define NET_CONNECT_TCP (UINT64_C(1) << 1)     /* ABI 4 */
#define SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0) /* ABI 6 */
#define SCOPE_SIGNAL (UINT64_C(1) << 1)        /* ABI 6 */

struct ruleset {
    uint64_t fs, net, scoped;
};

#define FS_FILE_READ ((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE)
#define FS_READ (FS_FILE_READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_FILE_WRITE (FS_FILE_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
#define FS_WRITE                                                                                   \
    (FS_READ | FS_FILE_WRITE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |    \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_REFER)

static struct sandbox_probe probe_kernel(void) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return (struct sandbox_probe){.landlock_abi = abi < 0 ? 0 : (int)abi,
                                  .seccomp = prctl(PR_GET_SECCOMP) >= 0};
}

struct sandbox_probe (*sandbox_probe_fn)(void) = probe_kernel;

static enum vrs_err allow_path(int ruleset, const char *path, bool write, uint64_t handled,
                               struct vrs_fault *fault) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return err_fail(fault, ERR_CONFIG, "sandbox: cannot open %s", path);
    enum vrs_err e = VRS_OK;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        e = err_fail(fault, ERR_IO, "sandbox: stat %s", path);
    } else {
        uint64_t rights = S_ISDIR(st.st_mode) ? (write ? FS_WRITE : FS_READ)
                                              : (write ? FS_FILE_WRITE : FS_FILE_READ);
        struct landlock_path_beneath_attr rule = {.allowed_access = rights & handled,
                                                  .parent_fd = fd};
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
            e = err_fail(fault, ERR_IO, "sandbox: allow %s", path);
    }
    (void)close(fd);
    return e;
}

static enum vrs_err landlock(const struct sandbox *s, int abi, struct vrs_fault *fault) {
    struct ruleset handled = {.fs = (UINT64_C(1) << 13) - 1};
    size_t size = sizeof handled.fs;
    if (abi >= 2)
        handled.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        handled.fs |= FS_TRUNCATE;
    if (abi >= 4) {
        handled.net =
            (s->may_connect_inet ? 0 : NET_CONNECT_TCP) | (s->may_accept_inet ? 0 : NET_BIND_TCP);
        size = 2 * sizeof handled.fs;
    }
    if (abi >= 5)
        handled.fs |= FS_IOCTL_DEV;
    if (abi >= 6) {
        handled.scoped = SCOPE_SIGNAL | SCOPE_ABSTRACT_UNIX;
        size = sizeof handled;
    }
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (ruleset < 0)
        return err_fail(fault, ERR_IO, "sandbox: create the Landlock rules");
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < SANDBOX_MAX_PATHS && s->read_only[i] != NULL && e == VRS_OK; i++)
        e = allow_path(ruleset, s->read_only[i], false, handled.fs, fault);
    for (size_t i = 0; i < SANDBOX_MAX_PATHS && s->read_write[i] != NULL && e == VRS_OK; i++)
        e = allow_path(ruleset, s->read_write[i], true, handled.fs, fault);
    if (e == VRS_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        e = err_fail(fault, ERR_IO, "sandbox: enter the Landlock rules");
    (void)close(ruleset);
    return e;
}

/* By name: a call that this machine's libseccomp does not know has no number to refuse. */
static const char *const refused[] = {
    "execve",
    "execveat", /* no other program */
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise", /* no other process */
    "pidfd_getfd",
    "kcmp",
    "perf_event_open",
    "bpf",
    "userfaultfd",
    "open_by_handle_at",
    "name_to_handle_at", /* no way round the paths */
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "acct",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "keyctl",
    "add_key",
    "request_key", /* the kernel's key rings */
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "iopl",
    "ioperm",
    "modify_ldt",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register", /* would go past this filter */
};

static bool refuse(scmp_filter_ctx filter, int error, const char *name, unsigned n,
                   const struct scmp_arg_cmp *cmp) {
    int number = seccomp_syscall_resolve_name(name);
    return number == __NR_SCMP_ERROR ||
           seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((uint16_t)error), number, n, cmp) == 0;
}

static bool refuse_if(scmp_filter_ctx filter, const char *name, struct scmp_arg_cmp cmp) {
    return refuse(filter, EPERM, name, 1, &cmp);
}

/* A filter cannot look behind the address that connect(2) is given, so families are refused where
 * sockets are made.  Values above the list are refused too: the kernel looks at 32 bits only. */
static bool refuse_families(scmp_filter_ctx filter, bool inet) {
    bool ok = refuse_if(filter, "socket", SCMP_A0(SCMP_CMP_GT, AF_INET6, 0));
    for (int family = 0; family <= AF_INET6 && ok; family++)
        if (family != AF_UNIX && !(inet && (family == AF_INET || family == AF_INET6)))
            ok = refuse_if(filter, "socket", SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
    return ok;
}

/* Who may not connect may not send without connecting either: datagrams, TCP fast open. */
static bool refuse_other_ways_out(scmp_filter_ctx filter) {
    static const int families[] = {AF_INET, AF_INET6};
    static const int types[] = {SOCK_DGRAM,     SOCK_RAW,  SOCK_RDM,
                                SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET};
    bool ok = true;
    for (size_t f = 0; f < 2; f++) {
        for (size_t t = 0; t < sizeof types / sizeof types[0] && ok; t++) {
            const struct scmp_arg_cmp both[] = {
                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[f], 0),
                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, (scmp_datum_t)types[t])};
            ok = refuse(filter, EPERM, "socket", 2, both);
        }
    }
    const scmp_datum_t fast = MSG_FASTOPEN;
    return ok && refuse_if(filter, "sendto", SCMP_A3(SCMP_CMP_MASKED_EQ, fast, fast)) &&
           refuse_if(filter, "sendmsg", SCMP_A2(SCMP_CMP_MASKED_EQ, fast, fast)) &&
           refuse_if(filter, "sendmmsg", SCMP_A3(SCMP_CMP_MASKED_EQ, fast, fast));
}

static bool fill(scmp_filter_ctx filter, const struct sandbox *s) {
    bool ok = true;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && ok; i++)
        ok = refuse(filter, EPERM, refused[i], 0, NULL);
    /* No new name spaces.  clone3 hides its flags behind a pointer; told that it does not exist,
     * libc takes clone. */
    ok = ok && refuse(filter, ENOSYS, "clone3", 0, NULL) &&
         refuse_if(filter, "clone",
                   SCMP_A0(SCMP_CMP_MASKED_EQ, (scmp_datum_t)CLONE_NEWUSER, CLONE_NEWUSER));
    if (!s->may_connect_inet && !s->may_connect_unix)
        ok = ok && refuse(filter, EPERM, "connect", 0, NULL);
    ok = ok && refuse_families(filter, s->may_connect_inet || s->may_accept_inet);
    if (!s->may_connect_inet && s->may_accept_inet)
        ok = ok && refuse_other_ways_out(filter);
    return ok;
}

static enum vrs_err seccomp(const struct sandbox *s, struct vrs_fault *fault) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    enum vrs_err e = VRS_OK;
    if (filter == NULL || !fill(filter, s))
        e = err_fail(fault, ERR_INTERNAL, "sandbox: make the seccomp filter");
    else if (seccomp_load(filter) != 0)
        e = err_fail(fault, ERR_IO, "sandbox: load the seccomp filter");
    seccomp_release(filter);
    return e;
}

enum vrs_err sandbox_enter(const struct sandbox *s, struct vrs_fault *fault) {
    struct sandbox_probe kernel = sandbox_probe_fn();
    if (s->required && (kernel.landlock_abi == 0 || !kernel.seccomp))
        return err_fail(fault, ERR_CONFIG, "sandbox: the kernel has no %s",
                        kernel.seccomp ? "Landlock" : "seccomp");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_fail(fault, ERR_IO, "sandbox: no new privileges");
    enum vrs_err e = VRS_OK;
    if (kernel.landlock_abi > 0)
        e = landlock(s, kernel.landlock_abi, fault);
    if (e == VRS_OK && kernel.seccomp)
        e = seccomp(s, fault);
    if (e != VRS_OK)
        return e;
    if (kernel.landlock_abi == 0 || !kernel.seccomp)
        log_event(LOG_WARN, "sandbox.degraded", LF_INT("landlock_abi", kernel.landlock_abi),
                  LF_INT("seccomp", kernel.seccomp));
    else
        log_event(LOG_INFO, "sandbox.entered", LF_INT("landlock_abi", kernel.landlock_abi));
    return VRS_OK;
}
