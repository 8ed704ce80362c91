/* vrs-load: doses over TLS as fast as they are answered, or on time; keeps what was acknowledged,
 * and later asks for all of it.  See README.md. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/load/options.h"
#include "tests/load/post.h"
#include "tests/load/verify.h"

/* One a connection, and some. */
static enum vrs_err allow_files(size_t connections, struct vrs_fault *fault) {
    const rlim_t wanted = connections + 64;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_fail(fault, ERR_IO, "limit of open files");
    if (files.rlim_cur >= wanted)
        return VRS_OK;
    files.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &files) == 0
               ? VRS_OK
               : err_fail(fault, ERR_CONFIG, "%zu connections: more open files than allowed",
                          connections);
}

int main(int argc, char **argv) {
    struct load_options o;
    struct conn_target *target = NULL;
    struct vrs_fault fault = {0};
    bool ok = false;
    int status = load_options_read(argc, argv, &o);
    if (status >= 0)
        return status;
    (void)signal(SIGPIPE, SIG_IGN);
    enum vrs_err e = allow_files(o.connections, &fault);
    if (e == VRS_OK)
        e = conn_target_open(o.url, o.ca, o.cert, o.key, &target, &fault);
    if (e == VRS_OK)
        e = o.verify ? verify_run(&o, target, &ok, &fault) : post_run(&o, target, &ok, &fault);
    if (e != VRS_OK)
        (void)fprintf(stderr, "vrs-load: %s: %s\n", err_name(e), fault.text);
    conn_target_close(&target);
    return e != VRS_OK ? 2 : ok ? 0 : 1;
}
