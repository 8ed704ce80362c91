/* Landlock and seccomp, entered before any thread.  Default deny: what is not named is refused. */
#ifndef VRS_LIB_SANDBOX_H
#define VRS_LIB_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

enum { SANDBOX_MAX_PATHS = 24 };

struct sandbox {
    const char *read_only[SANDBOX_MAX_PATHS];  /* files or folders, NULL-terminated */
    const char *read_write[SANDBOX_MAX_PATHS]; /* folders, NULL-terminated */
    bool may_connect_inet;                     /* connect(2) to AF_INET/AF_INET6: vrs-server only */
    bool may_connect_unix;                     /* connect(2) to AF_UNIX */
    bool may_accept_inet;                      /* socket/bind/listen/accept on AF_INET*/
    bool required; /* production: refuse to start where the kernel cannot do it */
};

/* Which kernel features exist; tests replace it to see the refusal and the degraded log line. */
struct sandbox_probe {
    int landlock_abi; /* 0: none */
    bool seccomp;
};
extern struct sandbox_probe (*sandbox_probe_fn)(void);

/* Always refused afterwards (EPERM): execve, ptrace, process_vm_readv/writev, open_by_handle_at,
 * mount, kexec, bpf, perf_event_open, userfaultfd, keyctl, module loading, io_uring, new name
 * spaces; socket families that are not needed; connect unless allowed.  A filter cannot see the
 * address that connect is given: for a process that accepts inet and may connect to unix only,
 * Landlock (ABI 4) refuses TCP. */
VRS_CHECK enum vrs_err sandbox_enter(const struct sandbox *s, struct vrs_fault *fault);

#endif
