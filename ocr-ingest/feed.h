/* A run: source → journal → post → journal, then the open outcomes, the report and a summary. */
#ifndef OCR_INGEST_FEED_H
#define OCR_INGEST_FEED_H

#include <signal.h>

#include "ocr-ingest/feed_options.h"

enum feed_exit {
    FEED_EXIT_DONE = 0,   /* all recorded */
    FEED_EXIT_PERSON = 1, /* some need a person */
    FEED_EXIT_OPEN = 2    /* not finished: run again with the same journal */
};

enum feed_exit feed_run(const struct feed_options *o, const volatile sig_atomic_t *stop);

#endif
