/* vrs-load: doses over TLS as fast as they are answered, or on time; keeps what was acknowledged,
 * and later asks for all of it.  See README.md. */
#include <signal.h>
#include <stdio.h>

#include "tests/load/options.h"
#include "tests/load/post.h"
#include "tests/load/verify.h"

int main(int argc, char **argv) {
    struct load_options o;
    struct conn_target *target = NULL;
    struct vrs_fault fault = {0};
    bool ok = false;
    int status = load_options_read(argc, argv, &o);
    if (status >= 0)
        return status;
    (void)signal(SIGPIPE, SIG_IGN);
    enum vrs_err e = conn_target_open(o.url, o.ca, o.cert, o.key, &target, &fault);
    if (e == VRS_OK)
        e = o.verify ? verify_run(&o, target, &ok, &fault) : post_run(&o, target, &ok, &fault);
    if (e != VRS_OK)
        (void)fprintf(stderr, "vrs-load: %s: %s\n", err_name(e), fault.text);
    conn_target_close(&target);
    return e != VRS_OK ? 2 : ok ? 0 : 1;
}
