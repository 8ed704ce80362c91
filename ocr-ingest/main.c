/* ocr-ingest: OCR lines and contractors' files into tablet-api.  See README.md. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/csv.h"
#include "lib/log.h"
#include "lib/secret.h"
#include "ocr-ingest/enrol.h"
#include "ocr-ingest/feed.h"

static volatile sig_atomic_t stop;

static void on_signal(int sig) {
    (void)sig;
    stop = 1;
}

int main(int argc, char **argv) {
    struct feed_options o;
    struct sigaction ask = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    const struct rlimit no_core = {0, 0};

    secret_install_allocators();
    log_init("ocr-ingest", LOG_WARN);
    (void)setrlimit(RLIMIT_CORE, &no_core); /* coupon numbers and a password are in memory */
    csv_prepare();
    (void)sigaction(SIGINT, &ask, NULL);
    (void)sigaction(SIGTERM, &ask, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    if (argc > 1 && enrol_named(argv[1]))
        return enrol_main(argc - 1, argv + 1);
    int status = feed_options_read(argc, argv, &o);
    if (status < 0)
        status = (int)feed_run(&o, &stop);
    feed_options_free(&o);
    return status;
}
